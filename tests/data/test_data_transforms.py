"""Every transform against a slow reference that treats one image and one random word at a time."""

import numpy as np
import pytest

from backends import philox
from gpunn.data import Cutout, Dataset, Normalize, RandomCrop, RandomHorizontalFlip
from gpunn.errors import DataError

RANDOM = np.random.default_rng(0)
SEED, STREAM = 11, (2 << 48) | 5
SHAPES = [(7, 3, 8, 8), (1, 1, 1, 1), (5, 1, 6, 9), (4, 2, 2, 3), (0, 3, 8, 8)]


def batch_of(shape, dtype=np.uint8):
    values = RANDOM.integers(0, 256, shape)
    return values.astype(dtype) if dtype == np.uint8 else (values / 100 - 1).astype(dtype)


def word(element):
    return int(philox.random_bits(SEED, STREAM, 1, element)[0])


def below(high, element):
    return (word(element) * high) >> 32


def mirrored(index, length):
    """The index into a line of ``length`` pixels that a reflected index stands for."""
    while not 0 <= index < length:
        index = -index if index < 0 else 2 * (length - 1) - index
        if length == 1:
            return 0
    return index


def slow_crop(image, position, size, padding, mode):
    _, height, width = image.shape
    size = size or (height, width)
    top = below(height + 2 * padding - size[0] + 1, 2 * position) - padding
    left = below(width + 2 * padding - size[1] + 1, 2 * position + 1) - padding
    out = np.zeros((len(image), *size), image.dtype)
    for i in range(size[0]):
        for j in range(size[1]):
            row, column = top + i, left + j
            if mode == "reflect":
                out[:, i, j] = image[:, mirrored(row, height), mirrored(column, width)]
            elif 0 <= row < height and 0 <= column < width:
                out[:, i, j] = image[:, row, column]
    return out


def slow_flip(image, position, p):
    return image[..., ::-1] if (word(position) >> 8) * 2.0**-24 < p else image


def slow_cutout(image, position, side):
    _, height, width = image.shape
    top, left = below(height, 2 * position) - side // 2, below(width, 2 * position + 1) - side // 2
    out = image.copy()
    out[:, max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)] = 0
    return out


def assert_each_image(transform, slow, batch, start=6):
    before = batch.copy()
    out = transform(batch, SEED, STREAM, start)
    np.testing.assert_array_equal(batch, before)
    assert not np.shares_memory(out, batch) and out.dtype == batch.dtype
    expected = [slow(image, start + i) for i, image in enumerate(batch)]
    assert len(out) == len(expected)
    for image, wanted in zip(out, expected, strict=True):
        np.testing.assert_array_equal(image, wanted)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("mode", ["reflect", "constant"])
@pytest.mark.parametrize("padding", [0, 1, 4, 7, 9])
@pytest.mark.parametrize("shape", SHAPES)
def test_crop(shape, padding, mode, dtype):
    transform = RandomCrop(None, padding, mode)
    assert_each_image(transform, lambda x, i: slow_crop(x, i, None, padding, mode), batch_of(shape, dtype))


@pytest.mark.parametrize("padding", [0, 1, 2, 3, 4, 5, 6, 7])
def test_reflection_is_that_of_numpy(padding):
    batch = batch_of((3, 2, 6, 7))
    sides = ((0, 0), (0, 0), (padding, padding), (padding, padding))
    padded = RandomCrop(None, padding)._padded(batch)
    np.testing.assert_array_equal(padded, np.pad(batch, sides, mode="reflect"))


@pytest.mark.parametrize("size", [(3, 5), (8, 8), (12, 10)])
def test_crop_to_another_size(size):
    assert_each_image(RandomCrop(size, 2), lambda x, i: slow_crop(x, i, size, 2, "reflect"), batch_of((9, 3, 8, 8)))
    assert RandomCrop(5)(batch_of((2, 1, 8, 8)), 0, 0, 0).shape == (2, 1, 5, 5)


def test_crop_reaches_every_place():
    image = np.arange(9, dtype=np.uint8).reshape(1, 1, 3, 3)
    out = RandomCrop(1, 0)(np.repeat(image, 300, 0), SEED, STREAM, 0)
    assert (np.bincount(out.reshape(-1), minlength=9) > 15).all()


@pytest.mark.parametrize("p", [0.0, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_flip(shape, p):
    assert_each_image(RandomHorizontalFlip(p), lambda x, i: slow_flip(x, i, p), batch_of(shape))


def test_flip_share():
    batch = np.tile(np.array([0, 1], np.uint8), (4000, 1, 1, 1))
    flipped = RandomHorizontalFlip(0.3)(batch, SEED, STREAM, 0)[..., 0].mean()
    assert abs(flipped - 0.3) < 0.03


@pytest.mark.parametrize("side", [1, 2, 3, 5, 30])
@pytest.mark.parametrize("shape", SHAPES)
def test_cutout(shape, side):
    assert_each_image(Cutout(side), lambda x, i: slow_cutout(x, i, side), batch_of(shape, np.float32))


@pytest.mark.parametrize("transform", [RandomCrop(), RandomHorizontalFlip(), Cutout(3)], ids=repr)
@pytest.mark.parametrize("size", [1, 3, 5])
def test_what_happens_depends_on_the_position_and_not_on_the_batch(transform, size):
    batch = batch_of((13, 3, 8, 8), np.float32)
    whole = transform(batch, SEED, STREAM, 0)
    parts = [transform(batch[i : i + size], SEED, STREAM, i) for i in range(0, 13, size)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    for seed, stream, start in ((SEED + 1, STREAM, 0), (SEED, STREAM + 1, 0), (SEED, STREAM, 13)):
        assert (transform(batch, seed, stream, start) != whole).any()


@pytest.mark.parametrize("transform", [RandomCrop(), RandomHorizontalFlip(), Cutout(3)], ids=repr)
def test_views_in_any_memory_order(transform):
    batch = batch_of((6, 3, 8, 8), np.float32)
    view = np.ascontiguousarray(batch.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(transform(view, 1, 2, 3), transform(batch, 1, 2, 3))


@pytest.mark.parametrize("shape", SHAPES)
def test_normalize(shape):
    channels = shape[1]
    mean, std = np.linspace(0.2, 0.6, channels), np.linspace(0.1, 0.3, channels)
    for dtype, unit in ((np.uint8, 255.0), (np.float32, 1.0), (np.float64, 1.0)):
        batch = batch_of(shape, dtype)
        before = batch.copy()
        out = Normalize(mean, std)(batch, 0, 0, 0)
        assert out.dtype == np.float32 and out.shape == shape
        exact = (batch / unit - mean.reshape(-1, 1, 1)) / std.reshape(-1, 1, 1)
        # Two roundings of numbers of the size of x / std and mean / std.
        largest = np.abs(batch / unit / std.reshape(-1, 1, 1)).max(initial=0) + 6
        np.testing.assert_allclose(out, exact, rtol=0, atol=2 * np.finfo(np.float32).eps * largest)
        np.testing.assert_array_equal(batch, before)


def test_statistics_of_a_dataset():
    images = batch_of((2500, 3, 4, 5))
    images[:, 2] = 9
    for data, unit in ((images, 255), (images / 49.0, 1)):
        normalize = Normalize.of(Dataset(data, np.zeros(2500, int), ["a"]))
        np.testing.assert_allclose(normalize.mean, data.mean((0, 2, 3)) / unit, rtol=1e-12)
        np.testing.assert_allclose(normalize.std[:2], data.std((0, 2, 3))[:2] / unit, rtol=1e-12)
        assert normalize.std[2] == 1.0
        out = normalize(data, 0, 0, 0).astype(np.float64)
        np.testing.assert_allclose(out[:, :2].mean((0, 2, 3)), 0, atol=1e-5)
        np.testing.assert_allclose(out[:, :2].std((0, 2, 3)), 1, atol=1e-5)
        np.testing.assert_allclose(out[:, 2], 0, atol=1e-6)
    with pytest.raises(DataError, match="no images"):
        Normalize.of(Dataset(images[:0], np.zeros(0, int), ["a"]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Normalize((0.5,), (0.5, 0.5)), "one mean and one std a channel, got 1 and 2"),
        (lambda: Normalize((), ()), "got 0 and 0"),
        (lambda: Normalize((0.5,), (0.0,)), r"std > 0, got \(0.0,\)"),
        (lambda: Normalize((0.5,), (float("nan"),)), "finite std > 0"),
        (lambda: Normalize((float("inf"),), (1,)), "finite means"),
        (
            lambda: Normalize((0.5,), (1,))(batch_of((2, 3, 4, 4)), 0, 0, 0),
            r"1 channels, got a batch of shape \(2",
        ),
        (lambda: RandomCrop(0), "image size: expected a positive"),
        (lambda: RandomCrop(padding=-1), "padding >= 0, got -1"),
        (lambda: RandomCrop(padding_mode="wrap"), "'reflect' or 'constant', got 'wrap'"),
        (
            lambda: RandomCrop(9, 0)(batch_of((2, 3, 8, 8)), 0, 0, 0),
            "window 9x9 is larger than images of 8x8",
        ),
        (lambda: RandomHorizontalFlip(1.5), "0 <= p <= 1, got 1.5"),
        (lambda: RandomHorizontalFlip(float("nan")), "got nan"),
        (lambda: Cutout(0), "size >= 1, got 0"),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_reprs():
    assert repr(Normalize((0.4914, 0.5), (0.247, 0.25))) == "Normalize(mean=(0.4914, 0.5), std=(0.247, 0.25))"
    assert repr(RandomCrop()) == "RandomCrop(size=None, padding=4, padding_mode='reflect')"
    assert repr(RandomHorizontalFlip()) == "RandomHorizontalFlip(p=0.5)"
    assert repr(Cutout(8)) == "Cutout(size=8)"
