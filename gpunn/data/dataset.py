"""Images with labels, held in memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from backends import philox
from gpunn.errors import DataError
from gpunn.random import SHUFFLE, stream_of

# Splits draw from the shuffle streams far above any epoch: class c uses stream SPLIT + c.
SPLIT = 1 << 47
# Values looked at in one go in the search for NaN, so that the search needs little memory.
CHUNK = 1 << 22


class Dataset:
    """Labelled images of one size, with the names of the classes.

    Args:
        images: (N, C, H, W), uint8 in [0, 255] or floating point (which is used as it is, never rescaled).
        labels: (N,), integers in ``0 .. len(classes) - 1``; kept as int64.
        classes: the name of each label.
        name: what messages call the data set.

    Raises:
        DataError: for another shape or dtype, a label without a class, or a NaN or infinite value.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray, classes: Sequence[str], name: str = "") -> None:
        self.name = name
        self.classes = [str(label) for label in classes]
        self.images = self._checked_images(np.asarray(images))
        self.labels = self._checked_labels(np.asarray(labels))

    def _checked_images(self, images: np.ndarray) -> np.ndarray:
        if images.ndim != 4 or 0 in images.shape[1:]:
            raise DataError(f"{self}: expected images of shape (N, C, H, W), got {images.shape}")
        if images.dtype == np.uint8:
            return images
        if not np.issubdtype(images.dtype, np.floating):
            raise DataError(f"{self}: expected images of dtype uint8 or floating point, got {images.dtype}")
        step = max(1, CHUNK // images[:1].size) if len(images) else 1
        for start in range(0, len(images), step):
            finite = np.isfinite(images[start : start + step]).all(axis=(1, 2, 3))
            if not finite.all():
                index = start + int(np.argmin(finite))
                raise DataError(f"{self}: image {index} has a NaN or infinite value; repair or remove it")
        return images

    def _checked_labels(self, labels: np.ndarray) -> np.ndarray:
        if labels.shape != (len(self.images),):
            raise DataError(f"{self}: expected one label an image, shape ({len(self.images)},), got {labels.shape}")
        if labels.size and not np.issubdtype(labels.dtype, np.integer):
            raise DataError(f"{self}: expected integer labels, got {labels.dtype}")
        wrong = (labels < 0) | (labels >= len(self.classes))
        if wrong.any():
            index = int(np.argmax(wrong))
            raise DataError(
                f"{self}: label {labels[index]} at index {index}; expected 0 to {len(self.classes) - 1} "
                f"for {len(self.classes)} classes"
            )
        return labels.astype(np.int64, copy=False)

    def __str__(self) -> str:
        return self.name or "data set"

    def __repr__(self) -> str:
        channels, (height, width) = self.in_channels, self.image_size
        return f"Dataset({self.name!r}, {len(self)} images of {channels}x{height}x{width}, {len(self.classes)} classes)"

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        """The image (C, H, W), a view, and its label."""
        return self.images[index], int(self.labels[index])

    @property
    def in_channels(self) -> int:
        return self.images.shape[1]

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.images.shape[2], self.images.shape[3]

    def subset(self, indices: np.ndarray | Sequence[int] | slice) -> Dataset:
        """The images at ``indices`` in that order; a slice shares memory with this data set."""
        if not isinstance(indices, slice):
            # An empty list would become a float array, which cannot index.
            indices = np.asarray(indices, dtype=None if len(indices) else np.int64)
        return Dataset(self.images[indices], self.labels[indices], self.classes, self.name)

    def split(self, share: float, seed: int) -> tuple[Dataset, Dataset]:
        """(rest, held_out): ``share`` of each class held out, chosen by ``seed``. Both keep the order."""
        rest, held_out = stratified_split(self.labels, share, seed)
        if not len(held_out):
            raise DataError(f"{self}: nothing to hold out: no class has two images")
        return self.subset(rest), self.subset(held_out)


def stratified_split(labels: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sorted indices of (rest, held_out); a class with two images or more has at least one on each side.

    Args:
        labels: (N,), integers.
        share: of each class to hold out, 0 < share < 1.
        seed: of the choice. A class's choice depends on the seed, the label and how many there are.
    """
    if not 0 < share < 1:
        raise ValueError(f"split: expected 0 < share < 1, got {share}")
    held_out = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = int(np.clip(round(share * len(members)), 1, max(len(members) - 1, 0)))
        order = philox.permutation(seed, stream_of(SHUFFLE, SPLIT + int(label)), len(members))
        held_out[members[order[:count]]] = True
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)
