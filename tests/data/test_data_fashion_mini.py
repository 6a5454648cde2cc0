import hashlib
import importlib.util
import io
from pathlib import Path

import numpy as np
import pytest

from gpunn.data import Dataset, fashion_mini, load
from gpunn.errors import DataError

SCRIPT = Path(__file__).parents[2] / "scripts" / "make_fashion_mini.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("make_fashion_mini", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("train", "each"), [(True, 1000), (False, 200)])
def test_shipped_images(train, each):
    dataset = load("fashion-mini", train=train)
    assert dataset.images.shape == (10 * each, 1, 28, 28) and dataset.images.dtype == np.uint8
    assert np.bincount(dataset.labels).tolist() == [each] * 10
    assert dataset.classes[9] == "Ankle boot"
    if train:  # the first training image of Fashion-MNIST is an ankle boot
        assert dataset.labels[:6].tolist() == [9, 0, 0, 3, 0, 2]


def test_shipped_images_are_unchanged():
    digest = hashlib.sha256()
    for train in (True, False):
        dataset = load("fashion-mini", train=train)
        digest.update(dataset.images.tobytes())
        digest.update(dataset.labels.astype(np.uint8).tobytes())
    assert digest.hexdigest() == "d5b91c929ef64cdf3fac6a13820932f698037ef77030a9584f3d6499a1ccee00"


def test_shipped_size_and_licence():
    assert fashion_mini.FILE.stat().st_size < 6_000_000
    licence = fashion_mini.FILE.with_suffix(".LICENSE").read_text()
    assert "Copyright (c) 2017 Zalando SE, https://tech.zalando.com" in licence


def test_missing_or_damaged_file(tmp_path, monkeypatch):
    monkeypatch.setattr(fashion_mini, "FILE", tmp_path / "x.npz")
    for content in (None, b"", b"PK\x03\x04 not an archive", b"text", fashion_mini_start()):
        if content is not None:
            fashion_mini.FILE.write_bytes(content)
        with pytest.raises(DataError, match=r"x.npz: missing or damaged"):
            fashion_mini.load()


def fashion_mini_start():
    return Path(fashion_mini.__file__).with_name("fashion_mini.npz").read_bytes()[:10_000]


def tiny(n, seed):
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (n, 1, 28, 28), dtype=np.uint8)
    return Dataset(images, random.integers(0, 3, n), "abc")


def test_packing_is_deterministic_and_lossless(script):
    train, test = tiny(20, 0), tiny(5, 1)
    content = script.pack(train, test)
    assert content == script.pack(train, test)
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        for part, dataset in (("train", train), ("test", test)):
            np.testing.assert_array_equal(arrays[f"{part}_images"], dataset.images[:, 0])
            np.testing.assert_array_equal(arrays[f"{part}_labels"], dataset.labels)
            assert arrays[f"{part}_labels"].dtype == np.uint8


def test_first_of_each_class(script):
    dataset = Dataset(np.arange(6, dtype=np.uint8).reshape(6, 1, 1, 1), np.array([1, 0, 1, 0, 1, 0]), "ab")
    chosen = script.first_of_each_class(dataset, 2)
    assert chosen.images.reshape(-1).tolist() == [0, 1, 2, 3]
    with pytest.raises(SystemExit, match="class a has 3 images; expected at least 4"):
        script.first_of_each_class(dataset, 4)
