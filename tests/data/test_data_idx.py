import gzip
import struct

import numpy as np
import pytest

from gpunn.data import idx
from gpunn.errors import DataError

CODES = {"u1": 0x08, "i1": 0x09, ">i2": 0x0B, ">i4": 0x0C, ">f4": 0x0D, ">f8": 0x0E}


def encode(array, code="u1"):
    array = np.asarray(array, dtype=code)
    header = bytes([0, 0, CODES[code], array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


def write(path, content, compress=False):
    path.write_bytes(gzip.compress(content) if compress else content)
    return path


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (2, 3, 4), (1, 2, 1, 2), (0, 28, 28)])
@pytest.mark.parametrize("code", CODES)
def test_every_type_and_number_of_dimensions(tmp_path, code, shape, compress):
    array = (np.arange(np.prod(shape)).reshape(shape) - 3).astype(code)
    read = idx.read(write(tmp_path / "x", encode(array, code), compress))
    np.testing.assert_array_equal(read, array)
    assert read.shape == shape
    assert read.dtype == np.dtype(code).newbyteorder("=")
    assert read.dtype.isnative and read.flags.writeable


def test_compression_is_seen_from_the_content(tmp_path):
    content = encode([1, 2, 3])
    np.testing.assert_array_equal(idx.read(write(tmp_path / "plain.gz", content)), [1, 2, 3])
    np.testing.assert_array_equal(idx.read(write(tmp_path / "packed", content, True)), [1, 2, 3])


GOOD = encode(np.arange(12).reshape(3, 2, 2))
PACKED = gzip.compress(GOOD)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty file"),
        (gzip.compress(b""), "empty file"),
        (b"\x89PNG\r\n\x1a\n", "not an IDX file: starts with bytes 89 50 4e 47; expected 00 00"),
        (b"\0\0\x08", "not an IDX file: starts with bytes 00 00 08"),
        (b"\0\0\x07\x01\0\0\0\0", "not an IDX file: starts with bytes 00 00 07 01"),
        (b"\0\0\x08\x41" + b"\0\0\0\x01" * 65 + b"x", "not an IDX file.*number of dimensions, up to 8"),
        (GOOD[:10], "cut short: 10 bytes; expected a header of 16 bytes for 3 dimensions"),
        (GOOD[:-1], r"cut short: 11 bytes after the header; expected 12 for shape \(3, 2, 2\)"),
        (GOOD + b"\0\0", "too long: 14 bytes after the header; expected 12"),
        (gzip.compress(GOOD[:-1]), "cut short: 11 bytes"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "cut short: 0 bytes after the header"),
        (PACKED[:-9], "damaged gzip data"),
        (PACKED[:5], "damaged gzip data"),
        (PACKED[:-8] + b"\0" * 8, "damaged gzip data"),
        (PACKED[:14] + b"\xff" * 8 + PACKED[22:], "damaged gzip data"),
        (b"\x1f\x8b garbage", "damaged gzip data"),
    ],
)
def test_broken_file_is_named_in_one_line(tmp_path, content, message):
    path = write(tmp_path / "broken-file", content)
    with pytest.raises(DataError, match=message) as caught:
        idx.read(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        idx.read(tmp_path / "nothing")
    with pytest.raises(DataError, match="cannot be read"):
        idx.read(tmp_path)


def test_read_images(tmp_path):
    images, labels = idx.read_images(write(tmp_path / "i", GOOD), write(tmp_path / "l", encode([2, 0, 1]), True))
    assert images.shape == (3, 1, 2, 2) and images.dtype == np.uint8
    np.testing.assert_array_equal(images.reshape(-1), np.arange(12))
    assert labels.dtype == np.int64
    np.testing.assert_array_equal(labels, [2, 0, 1])


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (GOOD, encode([1, 2]), "l: 2 labels; expected 3, one for each image"),
        (encode([1, 2]), GOOD, r"i: found uint8 of shape \(2,\); expected images"),
        (GOOD, GOOD, r"l: found uint8 of shape \(3, 2, 2\); expected labels"),
        (encode(np.zeros((3, 2, 2)), ">f4"), encode([1, 2, 3]), "i: found float32"),
    ],
)
def test_files_that_do_not_fit(tmp_path, images, labels, message):
    with pytest.raises(DataError, match=message):
        idx.read_images(write(tmp_path / "i", images), write(tmp_path / "l", labels))
