import numpy as np
import pytest

from gpunn.data import cifar
from gpunn.errors import DataError

RANDOM = np.random.default_rng(0)


def records(n):
    content = RANDOM.integers(0, 256, (n, 3073), dtype=np.uint8)
    content[:, 0] = np.arange(n) % 10
    return content


@pytest.fixture
def directory(tmp_path):
    for name in (*cifar.TRAIN_FILES, *cifar.TEST_FILES):
        records(3).tofile(tmp_path / name)
    (tmp_path / "batches.meta.txt").write_text("\n".join(cifar.CLASSES) + "\n\n")
    return tmp_path


def test_training_set_is_the_five_batches_in_order(directory):
    dataset = cifar.read(directory)
    assert dataset.images.shape == (15, 3, 32, 32)
    assert dataset.images.flags.c_contiguous
    np.testing.assert_array_equal(dataset.labels, [0, 1, 2] * 5)
    raw = np.fromfile(directory / "data_batch_4.bin", np.uint8).reshape(3, 3073)
    np.testing.assert_array_equal(dataset.images[11], raw[2, 1:].reshape(3, 32, 32))
    # Red plane first, rows of 32 pixels.
    assert dataset.images[11, 1, 2, 3] == raw[2, 1 + 1024 + 2 * 32 + 3]


def test_test_set(directory):
    dataset = cifar.read(directory, train=False)
    assert len(dataset) == 3
    assert dataset.classes == list(cifar.CLASSES)


@pytest.mark.parametrize(("size", "found"), [(0, "0 bytes"), (3072, "3072 bytes"), (2 * 3073 + 1, "6147 bytes")])
def test_size_that_is_no_multiple_of_a_record(directory, size, found):
    path = directory / "data_batch_2.bin"
    path.write_bytes(bytes(size))
    with pytest.raises(DataError, match=f"data_batch_2.bin: {found}; expected a multiple of 3073"):
        cifar.read(directory)


def test_label_above_nine(directory):
    content = records(4)
    content[2, 0] = 10
    content.tofile(directory / "test_batch.bin")
    with pytest.raises(DataError, match=r"test_batch.bin: label 10 in record 2; expected 0 to 9"):
        cifar.read(directory, train=False)


def test_missing_batch(directory):
    (directory / "data_batch_3.bin").unlink()
    with pytest.raises(DataError, match=r"data_batch_3.bin: no such file"):
        cifar.read(directory)
    (directory / "data_batch_3.bin").mkdir()
    with pytest.raises(DataError, match=r"data_batch_3.bin: cannot be read"):
        cifar.read(directory)


def test_names(directory):
    path = directory / "batches.meta.txt"
    path.write_text("\r\n".join(f"class {i}" for i in range(10)))
    assert cifar.read(directory).classes[3] == "class 3"
    path.unlink()
    assert cifar.read(directory).classes == list(cifar.CLASSES)
    path.write_text("cat\ndog\n")
    with pytest.raises(DataError, match=r"batches.meta.txt: 2 names; expected 10"):
        cifar.read(directory)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="cannot be read as text"):
        cifar.read(directory)
