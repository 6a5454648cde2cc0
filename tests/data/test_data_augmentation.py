"""Rotation, shift, blur and noise: against slow code and SciPy, and by hand; in their range, and by position alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from backends import philox
from gpunn.data import DataLoader, Dataset, GaussianNoise, RandomBlur, RandomRotation, RandomShift

SEED, STREAM, START = 11, (2 << 48) | 5, 6
EACH = [RandomRotation(40, fill=3), RandomShift(2.5, fill=3), RandomBlur(0.3, 1.2), GaussianNoise(0.1)]


def batch_of(shape: tuple[int, ...], dtype: Any = np.float32) -> np.ndarray:
    return np.random.default_rng(sum(shape)).integers(0, 256, shape).astype(dtype)


def share(element: int) -> float:
    """The number in [0, 1) that image by image is drawn."""
    return float(philox.uniform(SEED, STREAM, 1, element)[0])


def pixel(image: np.ndarray, row: float, column: float, fill: float) -> float:
    """Of a plane, at a place between pixels."""
    total = 0.0
    for i in (math.floor(row), math.floor(row) + 1):
        for j in (math.floor(column), math.floor(column) + 1):
            inside = 0 <= i < image.shape[0] and 0 <= j < image.shape[1]
            total += (image[i, j] if inside else fill) * (1 - abs(row - i)) * (1 - abs(column - j))
    return total


@pytest.mark.parametrize("shape", [(5, 3, 8, 8), (4, 1, 6, 9), (2, 2, 1, 1), (0, 1, 4, 4)])
def test_rotation_and_shift_pixel_by_pixel(shape: tuple[int, ...]) -> None:
    batch = batch_of(shape, np.float64)
    _, channels, height, width = shape
    turned = RandomRotation(40, fill=3)(batch, SEED, STREAM, START)
    moved = RandomShift(2.5, fill=3)(batch, SEED, STREAM, START)
    for n in range(shape[0]):
        angle = math.radians(-40 + 80 * share(START + n))
        down, right = (-2.5 + 5 * share(2 * (START + n) + k) for k in range(2))
        for c in range(channels):
            for i in range(height):
                for j in range(width):
                    y, x = i - (height - 1) / 2, j - (width - 1) / 2
                    row = math.cos(angle) * y + math.sin(angle) * x + (height - 1) / 2
                    column = math.cos(angle) * x - math.sin(angle) * y + (width - 1) / 2
                    assert turned[n, c, i, j] == pytest.approx(pixel(batch[n, c], row, column, 3), rel=1e-9)
                    assert moved[n, c, i, j] == pytest.approx(pixel(batch[n, c], i - down, j - right, 3), rel=1e-9)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_a_quarter_turn_by_hand(monkeypatch: pytest.MonkeyPatch, dtype: Any) -> None:
    """Counterclockwise: what was on the right is at the top."""
    monkeypatch.setattr(philox, "uniform", lambda seed, stream, shape, start: np.ones(shape, np.float32))
    image = np.array([[[[1, 2], [3, 4]]]], dtype)
    out = RandomRotation(90)(image, 0, 0, 0)
    np.testing.assert_allclose(out, [[[[2, 4], [1, 3]]]], atol=1e-6)
    np.testing.assert_allclose(RandomRotation(180)(image, 0, 0, 0), [[[[4, 3], [2, 1]]]], atol=1e-6)
    np.testing.assert_allclose(RandomShift(1, fill=9)(image, 0, 0, 0), [[[[9, 9], [9, 1]]]])
    np.testing.assert_allclose(RandomShift(0.5)(image, 0, 0, 0)[0, 0, 1], [1, 2.5 if dtype != np.uint8 else 2])
    assert out.dtype == dtype


@pytest.mark.parametrize("transform", [RandomRotation(0), RandomShift(0), GaussianNoise(0)], ids=repr)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_nothing_is_nothing(transform: Any, dtype: Any) -> None:
    batch = batch_of((3, 2, 5, 6), dtype)
    out = transform(batch, SEED, STREAM, 0)
    np.testing.assert_array_equal(out, batch)
    assert out.dtype == dtype
    assert not np.shares_memory(out, batch)


def test_blur_against_scipy() -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    batch = batch_of((4, 2, 12, 9), np.float64)
    low, high = 0.3, 1.2
    out = RandomBlur(low, high)(batch, SEED, STREAM, START)
    for n, image in enumerate(batch):
        sigma = low + (high - low) * share(START + n)
        radius = math.ceil(3 * high)
        expected = ndimage.gaussian_filter(image, (0, sigma, sigma), mode="nearest", truncate=radius / sigma)
        np.testing.assert_allclose(out[n], expected, rtol=1e-9)


def test_blur_by_hand() -> None:
    """A point becomes the product of two Gaussians; a plain image stays as it is."""
    image = np.zeros((1, 1, 9, 9))
    image[0, 0, 4, 4] = 1
    out = RandomBlur(1.0, 1.0)(image, 0, 0, 0)[0, 0]
    weights = np.exp(-0.5 * np.arange(-3, 4) ** 2)
    weights /= weights.sum()
    np.testing.assert_allclose(out[1:8, 1:8], np.outer(weights, weights), rtol=1e-12)
    assert out.sum() == pytest.approx(1)
    np.testing.assert_array_equal(RandomBlur()(np.full((2, 3, 5, 5), 77, np.uint8), 0, 0, 0), 77)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_noise(dtype: Any) -> None:
    """std is on the scale of [0, 1] for uint8."""
    unit = 255 if dtype == np.uint8 else 1
    batch = np.full((40, 1, 30, 30), 128, dtype)
    difference = GaussianNoise(0.1)(batch, SEED, STREAM, 0).astype(np.float64) - 128
    assert difference.std() == pytest.approx(0.1 * unit, rel=0.02)
    assert abs(difference.mean()) < 4 * 0.1 * unit / 36_000**0.5
    assert GaussianNoise(5.0)(np.full((2, 1, 9, 9), 128, np.uint8), 0, 0, 0).max() == 255  # cut off, not wrapped around


def test_the_drawn_numbers_fill_their_range() -> None:
    """By what they do to a ramp: a shift lowers it by its size, in pixels."""
    ramp = np.tile(np.arange(9.0), (2000, 1, 9, 1))
    moved = 4 - RandomShift(3)(ramp, SEED, STREAM, 0)[:, 0, 4, 4]
    assert -3 <= moved.min() < -2.95
    assert 2.95 < moved.max() <= 3
    assert abs(moved.mean()) < 0.2
    # A ramp that is turned rises to the right by cos(angle).
    turned = RandomRotation(60)(ramp, SEED, STREAM, 0)[:, 0, 4]
    rise = turned[:, 5] - turned[:, 4]
    assert 0.5 - 1e-9 <= rise.min() < 0.52
    assert 0.999 < rise.max() <= 1 + 1e-9


@pytest.mark.parametrize("transform", EACH, ids=repr)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_what_happens_depends_on_the_position_and_not_on_the_batch(transform: Any, dtype: Any) -> None:
    batch = batch_of((13, 3, 8, 7), dtype)
    before = batch.copy()
    whole = transform(batch, SEED, STREAM, 0)
    np.testing.assert_array_equal(batch, before)
    assert whole.dtype == dtype
    assert whole.shape == batch.shape
    for size in (1, 5):
        parts = [transform(batch[i : i + size], SEED, STREAM, i) for i in range(0, 13, size)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)
    for seed, stream, start in ((SEED + 1, STREAM, 0), (SEED, STREAM + 1, 0), (SEED, STREAM, 13)):
        assert (transform(batch, seed, stream, start) != whole).any()


@pytest.mark.parametrize("transform", EACH, ids=repr)
def test_views_in_any_memory_order(transform: Any) -> None:
    batch = batch_of((6, 3, 8, 8))
    view = np.ascontiguousarray(batch.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(transform(view, 1, 2, 3), transform(batch, 1, 2, 3))


def test_in_a_loader() -> None:
    images = Dataset(batch_of((10, 1, 8, 8), np.uint8), np.arange(10), [str(i) for i in range(10)])
    batches = [list(DataLoader(images, 4, transforms=EACH, prefetch=depth)) for depth in (0, 2)]
    for (without, _), (ahead, _) in zip(*batches, strict=True):
        np.testing.assert_array_equal(without, ahead)
        assert without.dtype == np.float32
        assert 0 <= without.min() <= without.max() <= 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomRotation(181), "0 <= degrees <= 180, got 181"),
        (lambda: RandomRotation(float("nan")), "got nan"),
        (lambda: RandomRotation("90"), "0 <= degrees <= 180, got '90'"),  # type: ignore[arg-type]
        (lambda: RandomRotation(9, fill="black"), "fill to be a number, got 'black'"),  # type: ignore[arg-type]
        (lambda: RandomShift(-1), "pixels >= 0, got -1"),
        (lambda: RandomBlur(0, 1), "0 < low <= high, both finite, got 0 and 1"),
        (lambda: RandomBlur(2, 1), "got 2 and 1"),
        (lambda: GaussianNoise(math.inf), "finite std >= 0, got inf"),
    ],
)
def test_errors(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_reprs() -> None:
    assert [repr(transform) for transform in EACH] == [
        "RandomRotation(degrees=40.0, fill=3.0)", "RandomShift(pixels=2.5, fill=3.0)", "RandomBlur(low=0.3, high=1.2)",
        "GaussianNoise(std=0.1)",
    ]  # fmt: skip
