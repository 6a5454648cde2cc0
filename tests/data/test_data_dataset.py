import numpy as np
import pytest

from gpunn.data import Dataset
from gpunn.data.dataset import stratified_split
from gpunn.data.resize import resize
from gpunn.errors import DataError


def images(n=6, channels=1, height=2, width=3, dtype=np.uint8):
    return np.arange(n * channels * height * width).reshape(n, channels, height, width).astype(dtype)


def test_properties():
    dataset = Dataset(images(6, 3), np.array([0, 1, 0, 1, 0, 1], dtype=np.uint8), ("cat", "dog"), "pets")
    assert len(dataset) == 6
    assert dataset.in_channels == 3
    assert dataset.image_size == (2, 3)
    assert dataset.labels.dtype == np.int64
    assert dataset.classes == ["cat", "dog"]
    image, label = dataset[-1]
    assert label == 1 and type(label) is int
    np.testing.assert_array_equal(image, images(6, 3)[5])
    assert repr(dataset) == "Dataset('pets', 6 images of 3x2x3, 2 classes)"


def test_float_images_stay_as_they_are():
    dataset = Dataset(images(dtype=np.float64), np.zeros(6, int), ["a"])
    assert dataset.images.dtype == np.float64
    np.testing.assert_array_equal(dataset.images, images(dtype=np.float64))


@pytest.mark.parametrize(
    ("data", "labels", "message"),
    [
        (np.zeros((4, 2, 2), np.uint8), [0] * 4, r"\(N, C, H, W\), got \(4, 2, 2\)"),
        (np.zeros((4, 1, 0, 2), np.uint8), [0] * 4, r"got \(4, 1, 0, 2\)"),
        (np.zeros((4, 1, 2, 2), np.int32), [0] * 4, "got int32"),
        (np.zeros((4, 1, 2, 2), bool), [0] * 4, "got bool"),
        (images(), [0] * 5, r"shape \(6,\), got \(5,\)"),
        (images(), np.zeros((6, 1), int), r"got \(6, 1\)"),
        (images(), [0.0] * 6, "integer labels, got float64"),
        (images(), [0, 1, 2, 0, 1, 2], "label 2 at index 2; expected 0 to 1"),
        (images(), [0, 0, 0, -1, 0, 0], "label -1 at index 3"),
    ],
)
def test_wrong_input_is_named_in_one_line(data, labels, message):
    with pytest.raises(DataError, match=message) as caught:
        Dataset(data, np.asarray(labels), ["a", "b"], "mine")
    assert str(caught.value).startswith("mine: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("chunk", [1, 1 << 22])
def test_non_finite_image_is_named(value, chunk, monkeypatch):
    monkeypatch.setattr("gpunn.data.dataset.CHUNK", chunk)
    data = images(dtype=np.float32)
    data[4, 0, 1, 2] = value
    with pytest.raises(DataError, match="image 4 has a NaN or infinite value"):
        Dataset(data, np.zeros(6, int), ["a"])


def test_subset_keeps_the_order_asked_for():
    dataset = Dataset(images(), np.array([0, 1, 2, 0, 1, 2]), "abc", "x")
    part = dataset.subset([5, 0])
    np.testing.assert_array_equal(part.labels, [2, 0])
    np.testing.assert_array_equal(part.images, images()[[5, 0]])
    assert part.classes == list("abc") and part.name == "x"
    assert len(dataset.subset([])) == 0
    assert np.shares_memory(dataset.subset(slice(1, 3)).images, dataset.images)


def test_split_is_stratified_seeded_and_complete():
    labels = np.repeat([0, 1, 2], [50, 20, 10])
    labels = labels[np.random.default_rng(0).permutation(80)]
    data = np.arange(80, dtype=np.uint8).reshape(80, 1, 1, 1)
    dataset = Dataset(data, labels, "abc")
    rest, held_out = dataset.split(0.2, seed=3)
    np.testing.assert_array_equal(np.bincount(held_out.labels), [10, 4, 2])
    both = np.concatenate([rest.images, held_out.images]).reshape(-1)
    np.testing.assert_array_equal(np.sort(both), np.arange(80))
    for part in (rest, held_out):
        assert (np.diff(part.images.reshape(-1).astype(int)) > 0).all()
        np.testing.assert_array_equal(part.labels, labels[part.images.reshape(-1)])
    again = dataset.split(0.2, seed=3)[1]
    np.testing.assert_array_equal(again.images, held_out.images)
    other = dataset.split(0.2, seed=4)[1]
    assert (other.images != held_out.images).any()


def test_split_leaves_something_of_each_class_on_both_sides():
    labels = np.array([0, 1, 1, 2, 2, 2])
    for share in (0.01, 0.99):
        rest, held_out = stratified_split(labels, share, 0)
        assert set(labels[rest]) == {0, 1, 2}
        assert set(labels[held_out]) == {1, 2}


def test_split_errors():
    dataset = Dataset(images(2), np.array([0, 1]), "ab")
    for share in (0, 1, -0.5, 1.5, float("nan")):
        with pytest.raises(ValueError, match="0 < share < 1"):
            dataset.split(share, 0)
    with pytest.raises(DataError, match="no class has two images"):
        dataset.split(0.5, 0)


def test_resize():
    dataset = Dataset(np.full((2, 3, 4, 4), 7, np.uint8), np.array([0, 1]), "ab", "x")
    bigger = resize(dataset, (6, 9))
    assert bigger.images.shape == (2, 3, 6, 9)
    assert (bigger.images == 7).all()
    assert resize(dataset, 4) is dataset
    assert resize(dataset, 1).image_size == (1, 1)
    with pytest.raises(DataError, match="uint8 images to resize, got float32"):
        resize(Dataset(np.zeros((1, 1, 2, 2), np.float32), np.array([0]), "a"), 4)
    for size in (0, -1, (3,), (3, 0), (2.5, 2)):
        with pytest.raises(ValueError, match="image size: expected"):
            resize(dataset, size)
