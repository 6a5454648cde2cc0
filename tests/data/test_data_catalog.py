import gzip
import struct
import subprocess
import sys

import numpy as np
import pytest

from gpunn.data import cifar, load, names
from gpunn.errors import ConfigError, DataError


def write_idx(directory, prefix, n, suffix="", value=0):
    directory.mkdir(parents=True, exist_ok=True)
    for kind, shape in (("images-idx3", (n, 28, 28)), ("labels-idx1", (n,))):
        content = bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
        content += np.full(shape, value, np.uint8).tobytes()
        path = directory / f"{prefix}-{kind}-ubyte{suffix}"
        path.write_bytes(gzip.compress(content) if suffix else content)


def test_names():
    assert names() == ["fashion-mini", "mnist", "fashion-mnist", "cifar10", "folder:PATH"]


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize(("name", "home"), [("mnist", "MNIST/raw"), ("fashion-mnist", "FashionMNIST/raw")])
def test_idx_in_torchvision_folders_or_directly(tmp_path, name, home, suffix):
    write_idx(tmp_path / home, "train", 3, suffix, value=1)
    write_idx(tmp_path, "t10k", 2, suffix, value=2)
    train, test = load(name, tmp_path), load(name, str(tmp_path), train=False)
    assert train.images.shape == (3, 1, 28, 28) and (train.images == 1).all()
    assert test.images.shape == (2, 1, 28, 28) and test.labels.tolist() == [2, 2]
    assert len(train.classes) == 10 and train.name == name
    assert load(name, tmp_path, image_size=32).images.shape == (3, 1, 32, 32)


@pytest.mark.parametrize("home", ["cifar-10-batches-bin", "."])
def test_cifar_in_torchvision_folder_or_directly(tmp_path, home):
    (tmp_path / home).mkdir(exist_ok=True)
    for file in cifar.TRAIN_FILES:
        np.ones(2 * 3073, np.uint8).tofile(tmp_path / home / file)
    assert load("cifar10", tmp_path).images.shape == (10, 3, 32, 32)
    with pytest.raises(DataError, match=r"test_batch.bin not found"):
        load("cifar10", tmp_path, train=False)


def test_default_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_idx(tmp_path / "data" / "MNIST" / "raw", "train", 1)
    assert len(load("mnist")) == 1


def test_absent_files_say_what_where_and_how(tmp_path):
    with pytest.raises(DataError) as caught:
        load("mnist", tmp_path)
    message = str(caught.value)
    for part in (
        "train-images-idx3-ubyte, train-labels-idx1-ubyte not found",
        str(tmp_path / "MNIST" / "raw"),
        "--download",
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
    ):
        assert part in message
    assert "\n" not in message
    with pytest.raises(DataError, match=r"https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"):
        load("cifar10", tmp_path)


@pytest.mark.parametrize("home", ["FashionMNIST/raw", "."])
def test_partly_absent_files_are_named_alone(tmp_path, home):
    write_idx(tmp_path / home, "train", 1)
    (tmp_path / home / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match=r"^fashion-mnist: train-labels-idx1-ubyte not found"):
        load("fashion-mnist", tmp_path)


def test_labels_of_another_set(tmp_path):
    write_idx(tmp_path, "train", 3)
    with (tmp_path / "train-labels-idx1-ubyte").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x0a")
    with pytest.raises(DataError, match="mnist: label 10 at index 2; expected 0 to 9"):
        load("mnist", tmp_path)


@pytest.mark.parametrize(
    ("given", "nearest"),
    [
        ("cifar", "cifar10"),
        ("CIFAR-10", "cifar10"),
        ("Fashion_MNIST", "fashion-mnist"),
        ("fasion-mini", "fashion-mini"),
        ("minst", "mnist"),
        ("folder:", "folder:PATH"),
        ("zzz", None),
        ("", None),
    ],
)
def test_unknown_name(given, nearest):
    with pytest.raises(ConfigError, match="expected one of fashion-mini, mnist, fashion-mnist, cifar10") as caught:
        load(given)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(f"; did you mean {nearest}?") if nearest else "did you mean" not in message


def test_wrong_image_size_comes_before_the_work(tmp_path):
    for name in ("mnist", "fashion-mini", f"folder:{tmp_path}"):
        with pytest.raises(ValueError, match=r"image size|no folders"):
            load(name, tmp_path, image_size=0)


def test_data_dir_of_no_user():
    with pytest.raises(DataError, match="~nosuchuser: no home folder is known for it"):
        load("mnist", "~nosuchuser")


def test_image_size_that_memory_cannot_hold():
    with pytest.raises(DataError, match=r"image size: 10000 images of .* GiB, more than there is; give a smaller size"):
        load("fashion-mini", image_size=10**7)


def test_import_is_light():
    code = (
        "import sys, gpunn.data; "
        "print([m for m in ('PIL', 'pooch', 'tqdm', 'requests', 'cupy', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
