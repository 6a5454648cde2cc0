"""Images to another height and width, by Pillow's bilinear filter (which averages where it shrinks)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gpunn.data.dataset import Dataset
from gpunn.errors import DataError


def checked_size(size: int | Sequence[int]) -> tuple[int, int]:
    """(height, width) from one number for a square or from a pair."""
    pair = (size, size) if isinstance(size, int | np.integer) else tuple(size)
    if len(pair) != 2 or not all(isinstance(side, int | np.integer) and side >= 1 for side in pair):
        raise ValueError(f"image size: expected a positive integer or (height, width), got {size!r}")
    return int(pair[0]), int(pair[1])


def empty_images(count: int, channels: int, size: tuple[int, int]) -> np.ndarray:
    """Room for uint8 images (count, channels, height, width). DataError where memory has not so much."""
    height, width = size
    try:
        return np.empty((count, channels, height, width), dtype=np.uint8)
    except (MemoryError, ValueError) as error:  # ValueError: more bytes than a 64-bit number counts
        needed = count * channels * height * width / 2**30
        raise DataError(
            f"image size: {count} images of {channels}x{height}x{width} need {needed:,.1f} GiB, more than there is; "
            "give a smaller size"
        ) from error


def resize(dataset: Dataset, size: int | tuple[int, int]) -> Dataset:
    """The data set with uint8 images of (height, width) ``size``; itself where they have that size already.

    Proportions are not kept: an image of another shape is stretched.
    """
    from PIL import Image

    height, width = checked_size(size)
    if dataset.image_size == (height, width):
        return dataset
    if dataset.images.dtype != np.uint8:
        raise DataError(f"{dataset}: expected uint8 images to resize, got {dataset.images.dtype}")
    images = empty_images(len(dataset), dataset.in_channels, (height, width))
    for source, target in zip(dataset.images, images, strict=True):
        # Plane by plane: any number of channels, and no change of memory order.
        for plane, resized in zip(source, target, strict=True):
            resized[:] = Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR)
    return Dataset(images, dataset.labels, dataset.classes, dataset.name)
