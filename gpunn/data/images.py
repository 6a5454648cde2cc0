"""Images from files, decoded by Pillow."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from gpunn.errors import DataError

GRAY_MODES = frozenset(("1", "L", "LA", "La"))


def read_image(path: str | Path, channels: int | None = None, image_size: tuple[int, int] | None = None) -> np.ndarray:
    """The image in a file: (channels, height, width) of uint8, turned as its orientation tag says.

    Of 16 bits a channel the upper eight are kept; alpha is dropped.

    Args:
        path: the file, of any format that Pillow reads.
        channels: 1 for gray or 3 for RGB; without it as in the file.
        image_size: (height, width) to which the image is resized, stretched where its shape differs; without it
            the image keeps its own.

    Raises:
        DataError: no such file, no image, a damaged one, or one of more than 16 bits a channel.
    """
    from PIL import Image

    image = _as_bytes(_open(path), path)
    if channels is None:
        channels = 1 if image.mode in GRAY_MODES else 3
    if image.mode == "P":
        image = image.convert("RGBA")  # Pillow warns of a palette with transparency that is converted otherwise
    image = image.convert("L" if channels == 1 else "RGB")
    if image_size is not None:
        image = image.resize(image_size[::-1], Image.Resampling.BILINEAR)
    pixels = np.asarray(image, dtype=np.uint8)
    return pixels.reshape(image.height, image.width, channels).transpose(2, 0, 1)


@contextmanager
def without_warnings() -> Iterator[None]:
    """Pillow keeps quiet about large images and odd tags: what it cannot read is an error.

    Around all reading rather than in `read_image`, since the filters of warnings belong to all threads together.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _open(path: str | Path) -> Any:
    """The decoded Pillow image, upright."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            image.load()
            return ImageOps.exif_transpose(image)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; give the path of an image file") from None
    except Exception as error:  # a damaged file makes Pillow raise errors of many types
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: not a readable image ({reason}); repair or remove it") from error


def _as_bytes(image: Any, path: str | Path) -> Any:
    """The image with 8 bits a channel. Pillow's own conversion would clip at 255, and make [0, 1] black."""
    from PIL import Image

    if image.mode == "I" or image.mode.startswith("I;16"):
        pixels = np.asarray(image)
        if pixels.min() >= 0 and pixels.max() < 1 << 16:
            return Image.fromarray((pixels >> 8).astype(np.uint8))
    elif image.mode != "F":
        return image
    raise DataError(
        f"{path}: expected 8 or 16 bits a channel, got 32 (mode {image.mode}); convert it, to an 8-bit PNG, say"
    )
