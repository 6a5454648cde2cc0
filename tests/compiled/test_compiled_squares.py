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

TRANSFORMS = {
    "input_4": matrices.B_4,
    "input_6": matrices.B_6,
    "output_4": matrices.A_4,
    "output_6": matrices.A_6,
    "output_6_of_5": matrices.A_6_OF_5,
    "filter_4": matrices.G_4,
    "filter_6": matrices.G_6,
    "filter_6_of_5": matrices.G_6_OF_5,
}
NOTHING = 7.0  # in memory that nobody may write to


def kernel(transform: Intrinsic) -> Callable[..., None]:
    @numba.njit
    def apply(
        source: int, down: int, across: int, target: int, target_down: int, target_across: int, scratch: int
    ) -> None:
        transform(source, down, across, target, target_down, target_across, scratch)

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
    scratch = np.full(ins * outs * LANES + 16, NOTHING, np.float32)
    before = source.copy()
    kernel(transform)(
        source.ctypes.data, *source.strides[:2], target.ctypes.data, *target.strides[:2], scratch.ctypes.data
    )
    np.testing.assert_array_equal(source, before)
    assert (scratch[-16:] == NOTHING).all()
    inside = source[:ins, :ins, :LANES].astype(np.float64)
    expected = np.einsum("ai,ijl,bj->abl", matrix, inside, matrix)
    largest = np.einsum("ai,ijl,bj->abl", np.abs(matrix), np.abs(inside), np.abs(matrix))
    error = np.abs(target[:outs, :outs, :LANES] - expected)
    assert (error <= 2 * (ins + 1) * np.finfo("float32").eps * largest).all()
    target[:outs, :outs, :LANES] = NOTHING
    assert (target == NOTHING).all()


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms(name: str) -> None:
    check(TRANSFORMS[name], getattr(matrices, name))
    check(np.array(TRANSFORMS[name]).T, getattr(matrices, f"{name}_adjoint"))


def test_any_matrix() -> None:
    """Factors of every kind, also in the first place; a line of one element."""
    check([[-1, 0, 1], [0.3, -1, 0]], Intrinsic(square([[-1, 0, 1], [0.3, -1, 0]]), __name__))
    check([[0.5]], Intrinsic(square([[0.5]]), __name__))


def test_special_values_stay_in_their_lane() -> None:
    source, target = np.ones((6, 6, LANES), np.float32), np.empty((6, 6, LANES), np.float32)
    source[2, 3, [5, 40]] = np.nan, np.inf
    scratch = np.empty(36 * LANES, np.float32)
    steps = (6 * STEP, STEP)
    kernel(matrices.input_6)(source.ctypes.data, *steps, target.ctypes.data, *steps, scratch.ctypes.data)
    finite = np.isfinite(target).all(axis=(0, 1))
    assert np.flatnonzero(~finite).tolist() == [5, 40]


@pytest.mark.parametrize(
    ("inputs", "filters", "outputs"),
    [
        (matrices.B_4, matrices.G_4, matrices.A_4),
        (matrices.B_6, matrices.G_6, matrices.A_6),
        (matrices.B_6, matrices.G_6_OF_5, matrices.A_6_OF_5),
    ],
    ids=["F(2x2, 3x3)", "F(4x4, 3x3)", "F(2x2, 5x5)"],
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
