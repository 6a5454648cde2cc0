"""Squares of vectors times small matrices, transposition, and Winograd's matrices, against plain products in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from backends.cpu.compiled import winograd_matrices as matrices
from backends.cpu.compiled.compiler import Intrinsic
from backends.cpu.compiled.squares import LANES, STEP, square, transpose
from backends.cpu.compiled.vectors import vector_lanes

numba = pytest.importorskip("numba")

MATRICES = {name: getattr(matrices, name) for letter in "BAG" for name in (f"{letter}_4", f"{letter}_6", f"{letter}_8")}
NOTHING = 7.0  # in memory that nobody may write to


def kernel(transform: Intrinsic) -> Callable[..., None]:
    @numba.njit
    def apply(source: int, down: int, across: int, target: int, target_down: int, target_across: int) -> None:
        transform(source, down, across, target, target_down, target_across)

    return apply


def squares(count: int, across: int, rng: Any = None) -> np.ndarray:
    """count x count places of `LANES` floats, in rows of ``across`` places that are a little further apart than they are long."""
    memory = np.full((count + 1, across + 1, LANES + 16), NOTHING, np.float32)
    if rng is not None:
        memory[:count, :count, :LANES] = rng.standard_normal((count, count, LANES))
    return memory


def check(matrix: Any, transform: Intrinsic) -> None:
    matrix = np.array(matrix, np.float64)
    outs, ins = matrix.shape
    source, target = squares(ins, ins + 2, np.random.default_rng(1)), squares(outs, outs + 1)
    before = source.copy()
    kernel(transform)(source.ctypes.data, *source.strides[:2], target.ctypes.data, *target.strides[:2])
    np.testing.assert_array_equal(source, before)
    inside = source[:ins, :ins, :LANES].astype(np.float64)
    expected = np.einsum("ai,ijl,bj->abl", matrix, inside, matrix)
    largest = np.einsum("ai,ijl,bj->abl", np.abs(matrix), np.abs(inside), np.abs(matrix))
    error = np.abs(target[:outs, :outs, :LANES] - expected)
    assert (error <= 2 * (ins + 1) * np.finfo("float32").eps * largest).all()
    target[:outs, :outs, :LANES] = NOTHING
    assert (target == NOTHING).all()


@pytest.mark.parametrize("name", MATRICES)
def test_transforms(name: str) -> None:
    for matrix in (MATRICES[name], np.array(MATRICES[name]).T.tolist()):
        check(matrix, Intrinsic(square(matrix), __name__))


def test_any_matrix() -> None:
    """Factors of every kind, also in the first place; a line of one element."""
    check([[-1, 0, 1], [0.3, -1, 0]], Intrinsic(square([[-1, 0, 1], [0.3, -1, 0]]), __name__))
    check([[0.5]], Intrinsic(square([[0.5]]), __name__))
    # Rows and columns that differ in signs alone, also three in a row, and with a zero.
    signs = [[1, 2, -2, 0], [1, -2, 2, 0], [1, 2, 2, 0], [-1, -2, 2, 0]]
    check(signs, Intrinsic(square(signs), __name__))


def test_special_values_stay_in_their_lane() -> None:
    source, target = np.ones((6, 6, LANES), np.float32), np.empty((6, 6, LANES), np.float32)
    source[2, 3, [5, 40]] = np.nan, np.inf
    steps = (6 * STEP, STEP)
    kernel(Intrinsic(square(matrices.B_6), __name__))(source.ctypes.data, *steps, target.ctypes.data, *steps)
    finite = np.isfinite(target).all(axis=(0, 1))
    assert np.flatnonzero(~finite).tolist() == [5, 40]


@pytest.mark.parametrize(
    ("inputs", "filters", "outputs"),
    [
        (matrices.B_4, matrices.G_4, matrices.A_4),
        (matrices.B_6, matrices.G_6, matrices.A_6),
        (matrices.B_8, matrices.G_8, matrices.A_8),
    ],
    ids=["F(2x2, 3x3)", "F(4x4, 3x3)", "F(4x4, 5x5)"],
)
def test_the_matrices_make_a_convolution(inputs: Any, filters: Any, outputs: Any) -> None:
    b, g, a = (np.array(matrix, np.float64) for matrix in (inputs, filters, outputs))
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal(b.shape), rng.standard_normal((g.shape[1],) * 2)
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape)
    np.testing.assert_allclose(
        a @ ((g @ w @ g.T) * (b @ x @ b.T)) @ a.T, np.einsum("ijuv,uv->ij", windows, w), rtol=0, atol=1e-12
    )


def test_transposition() -> None:
    """A square of as many rows as a vector has lanes, out of a larger matrix and into one."""

    @numba.njit
    def turn(source: int, source_step: int, target: int, target_step: int) -> int:
        transpose(source, source_step, target, target_step)
        return vector_lanes()

    source = np.arange(20 * 37, dtype=np.float32).reshape(20, 37)
    target = np.full((21, 29), NOTHING, np.float32)
    side = turn(source[1:, 3:].ctypes.data, source.strides[0], target[2:, 5:].ctypes.data, target.strides[0])
    assert side in (8, 16)
    inside = target[2 : 2 + side, 5 : 5 + side]
    np.testing.assert_array_equal(inside, source[1 : 1 + side, 3 : 3 + side].T)
    inside[...] = NOTHING
    assert (target == NOTHING).all()
