"""Squares of pixels that lie anywhere, times small matrices, against plain products in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from backends.cpu.compiled import pixel_squares
from backends.cpu.compiled.compiler import Intrinsic
from backends.cpu.compiled.squares import LANES, STEP

numba = pytest.importorskip("numba")

MATRIX = [[1, 2, 0, 1], [1, -2, 0, 1], [0, 0.5, -3, 0]]  # 4 x 4 pixels become 3 x 3 places, or the other way round
TURNED = np.array(MATRIX).T.tolist()
INSIDE = slice(8, 8 + LANES)  # of the channels
OFFSET = 4 * INSIDE.start


def intrinsic(make: Any, matrix: Any) -> Any:
    return Intrinsic(make(matrix), __name__)


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def table_of(pixels: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    return pixels.ctypes.data + pixels.strides[0] * numbers.astype(np.int64)


def product(matrix: Any, square: np.ndarray) -> np.ndarray:
    return np.einsum("ai,ijl,bj->abl", matrix, square.astype(np.float64), matrix)


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * float(np.abs(expected).max()))


NUMBERS = np.random.default_rng(3).permutation(40)[:16]  # of the pixels in a square, row by row


def test_gathered() -> None:
    apply = intrinsic(pixel_squares.gathered, MATRIX)

    @numba.njit
    def run(table: Any, offset: int, target: int, down: int, across: int) -> None:
        apply(table.ctypes.data, offset, target, down, across)

    pixels, target = draw(40, LANES + 16), np.empty((3, 3, LANES), np.float32)
    run(table_of(pixels, NUMBERS), OFFSET, target.ctypes.data, 3 * STEP, STEP)
    assert_close(target, product(MATRIX, pixels[NUMBERS, INSIDE].reshape(4, 4, LANES)))


def test_let_through() -> None:
    """Zero where the output is not positive, but not where it is NaN; the sums are of what got through."""
    apply = intrinsic(pixel_squares.let_through, MATRIX)

    @numba.njit
    def run(table: Any, others: Any, offset: int, totals: Any, target: int, down: int, across: int) -> None:
        apply(table.ctypes.data, others.ctypes.data, offset, totals.ctypes.data, target, down, across)

    pixels, outs, before = draw(40, LANES + 16), draw(40, LANES + 16, seed=1), draw(LANES, seed=2)
    outs[NUMBERS[5], 9:12] = np.nan, 0, -0.0
    totals, target = before.copy(), np.empty((3, 3, LANES), np.float32)
    run(table_of(pixels, NUMBERS), table_of(outs, NUMBERS), OFFSET, totals, target.ctypes.data, 3 * STEP, STEP)
    passed = np.where(outs <= 0, 0, pixels)[NUMBERS, INSIDE]
    assert passed[5, 1] == pixels[NUMBERS[5], 9]
    assert_close(target, product(MATRIX, passed.reshape(4, 4, LANES)))
    assert_close(totals, before + passed.sum(axis=0, dtype=np.float64))


@pytest.mark.parametrize("floor", [0.0, -np.inf])
def test_finished(floor: float) -> None:
    """The bits of a sum, and then a ReLU; nothing beside the channels is written."""
    apply = intrinsic(pixel_squares.finished, TURNED)

    @numba.njit
    def run(source: int, down: int, across: int, table: Any, offset: int, bias: Any, floor: Any) -> None:
        apply(source, down, across, table.ctypes.data, offset, bias.ctypes.data, floor.ctypes.data)

    source, pixels, bias = draw(3, 3, LANES), np.zeros((40, LANES + 16), np.float32), draw(LANES, seed=1)
    source[..., 7], least = np.nan, np.array([floor], np.float32)
    run(source.ctypes.data, 3 * STEP, STEP, table_of(pixels, NUMBERS), OFFSET, bias, least)
    expected = np.maximum(product(TURNED, source) + bias, floor)
    assert_close(pixels[NUMBERS, INSIDE].reshape(4, 4, LANES)[..., 8:], expected[..., 8:])
    np.testing.assert_array_equal(
        np.isnan(pixels[NUMBERS, INSIDE].reshape(4, 4, LANES)), np.isnan(np.maximum(expected, floor))
    )
    pixels[NUMBERS, INSIDE] = 0
    assert not pixels.any()


def test_added() -> None:
    """To what is read, which may lie elsewhere."""
    apply = intrinsic(pixel_squares.added, TURNED)

    @numba.njit
    def run(source: int, down: int, across: int, before: Any, table: Any, offset: int) -> None:
        apply(source, down, across, before.ctypes.data, table.ctypes.data, offset)

    source, pixels = draw(3, 3, LANES), draw(40, LANES + 16, seed=1)
    old = pixels.copy()
    before = table_of(old, NUMBERS)
    nothing = np.zeros(LANES + 16, np.float32)
    before[[0, 5]] = nothing.ctypes.data
    run(source.ctypes.data, 3 * STEP, STEP, before, table_of(pixels, NUMBERS), OFFSET)
    expected = (
        product(TURNED, source).reshape(16, LANES) + old[NUMBERS, INSIDE] * (~np.isin(np.arange(16), [0, 5]))[:, None]
    )
    assert_close(pixels[NUMBERS, INSIDE], expected)
    pixels[NUMBERS, INSIDE] = old[NUMBERS, INSIDE]
    np.testing.assert_array_equal(pixels, old)
