"""The IDX format of MNIST: a magic number, the sizes, then the values, big-endian, plain or gzip-compressed.

Source: Y. LeCun, C. Cortes and C. Burges, "The MNIST database of handwritten digits", file formats.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from gpunn.errors import DataError

# The third byte of the magic number names the type of the values.
DTYPES: dict[int, np.dtype] = {
    0x08: np.dtype(np.uint8),
    0x09: np.dtype(np.int8),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
MOST_DIMENSIONS = 8  # of an array that somebody means; the byte allows 255, NumPy 64
GZIP_MAGIC = b"\x1f\x8b"


def read(path: str | Path) -> np.ndarray:
    """The array in an IDX file, in the machine's byte order. Compression is known by the content.

    Raises:
        DataError: the file is missing, empty, not IDX, cut short, too long, or its compression is damaged.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            compressed = file.read(2) == GZIP_MAGIC
            file.seek(0)
            if not compressed:
                return _read(file, path)
            with gzip.GzipFile(fileobj=file) as unpacked:
                return _read(unpacked, path)  # type: ignore[arg-type]
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; expected an IDX file") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: damaged gzip data ({_one_line(error)}); remove it and download it again") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({_one_line(error)})") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _read(file: BinaryIO, path: Path) -> np.ndarray:
    magic = file.read(4)
    if not magic:
        raise DataError(f"{path}: empty file; expected an IDX file")
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in DTYPES or magic[3] > MOST_DIMENSIONS:
        codes = ", ".join(f"{code:02x}" for code in DTYPES)
        raise DataError(
            f"{path}: not an IDX file: starts with bytes {magic.hex(' ')}; "
            f"expected 00 00, a type code ({codes}) and the number of dimensions, up to {MOST_DIMENSIONS}"
        )
    dtype, dimensions = DTYPES[magic[2]], magic[3]
    header = file.read(4 * dimensions)
    if len(header) < 4 * dimensions:
        raise DataError(
            f"{path}: cut short: {4 + len(header)} bytes; "
            f"expected a header of {4 + 4 * dimensions} bytes for {dimensions} dimensions"
        )
    shape = struct.unpack(f">{dimensions}I", header)
    expected = math.prod(shape) * dtype.itemsize
    # Read to the end, not `expected` bytes: a damaged header may promise more than memory holds.
    content = file.read()
    if len(content) != expected:
        what = "cut short" if len(content) < expected else "too long"
        raise DataError(f"{path}: {what}: {len(content)} bytes after the header; expected {expected} for shape {shape}")
    return np.frombuffer(content, dtype).reshape(shape).astype(dtype.newbyteorder("="))


def read_images(images_path: str | Path, labels_path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 1, H, W) uint8 and labels (N,) int64 from a pair of files as MNIST has them."""
    images, labels = read(images_path), read(labels_path)
    if images.ndim != 3 or images.dtype != np.uint8:
        raise DataError(
            f"{images_path}: found {images.dtype} of shape {images.shape}; "
            f"expected images: uint8 of shape (N, height, width)"
        )
    if labels.ndim != 1 or labels.dtype != np.uint8:
        raise DataError(
            f"{labels_path}: found {labels.dtype} of shape {labels.shape}; expected labels: uint8 of shape (N,)"
        )
    if len(images) != len(labels):
        raise DataError(
            f"{labels_path}: {len(labels)} labels; expected {len(images)}, one for each image of {images_path}"
        )
    return images[:, np.newaxis], labels.astype(np.int64)
