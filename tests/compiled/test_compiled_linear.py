"""The compiled products of linear layers against the reference in float64, in pieces and with the ends of all loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from operations.harness import assert_within_budget

import backends
from backends.cpu import linear_algebra, threads

pytest.importorskip("numba")
CPU, ORACLE = backends.get("cpu"), backends.get("reference")
SHAPES = [
    # rows, in, out
    (1, 1, 3),
    (1, 5, 3),
    (2, 16, 10),
    (5, 100, 97),  # rows and outputs that fill no block, columns that fill no vector
    (7, 31, 50),
    (9, 512, 64),  # rows whose distance is a power of two
    (16, 1100, 49),  # scalar products in two parts
    (23, 90, 20),
    (24, 90, 30),  # rows from which on a product is by panels
    (64, 84, 120),
    (80, 1100, 49),  # terms in two parts
    (130, 65, 49),
    (128, 128, 448),  # whole panels, and pieces of both sizes
    (300, 17, 130),  # rows in two parts
    (300, 34, 5),
]
NEEDS = [(True, True, True), (True, False, False), (False, True, False), (False, False, True), (False, False, False)]


@pytest.fixture(autouse=True)
def everything_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUNN_COMPILED", "1")
    monkeypatch.setattr(linear_algebra, "WORK", 0.5)  # however small it is


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def operands(rows: int, ins: int, outs: int) -> tuple[np.ndarray, ...]:
    return draw(rows, ins), draw(outs, ins, seed=1), draw(outs, seed=2), draw(rows, outs, seed=3)


def assert_gradients(saved: Any, expected: Any, dout: np.ndarray, shape: Any, operation: str) -> None:
    rows, _, outs = shape
    oracles = getattr(ORACLE, operation)(expected, dout.astype("float64"), (True, True, True))
    for needs in NEEDS:
        found = getattr(CPU, operation)(saved, dout, needs)
        for gradient, oracle, terms, wanted in zip(found, oracles, (outs, rows, rows), needs, strict=True):
            assert (gradient is not None) == wanted
            if wanted:
                assert gradient.dtype == np.float32
                assert_within_budget(gradient, oracle, terms, 1, f"{operation} {needs}", 1.0)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_agrees_with_the_reference(shape: tuple[int, int, int]) -> None:
    x, weight, bias, dout = operands(*shape)
    wide = [a.astype("float64") for a in (x, weight, bias)]
    expected, kept = ORACLE.linear(*wide)
    out, saved = CPU.linear(x, weight, bias)
    assert_within_budget(out, expected, shape[1], 1, "linear", 1.0)
    assert_gradients(saved, kept, dout, shape, "linear_backward")
    rectified, saved = CPU.linear_relu(x, weight, bias)
    np.testing.assert_array_equal(rectified, np.maximum(out, 0))
    expected, (product, _) = ORACLE.linear_relu(*wide)
    assert_gradients(saved, (product, rectified.astype("float64")), dout, shape, "linear_relu_backward")


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_rectified_gradients_are_those_of_two_layers(shape: tuple[int, int, int]) -> None:
    """Bit for bit."""
    x, weight, bias, dout = operands(*shape)
    out, saved = CPU.linear(x, weight, bias)
    masked = CPU.relu_backward(CPU.relu(out)[0], dout)[0]
    _, fused = CPU.linear_relu(x, weight, bias)
    for one, two in zip(
        CPU.linear_relu_backward(fused, dout), CPU.linear_backward(saved, masked), strict=True
    ):  # the sign of a zero may differ
        np.testing.assert_array_equal(one, two)


def test_any_layout_and_number_of_axes() -> None:
    x, weight, _, _ = operands(30, 33, 40)
    expected = CPU.linear(x, weight, None)
    _, grad_weight, grad_bias = CPU.linear_backward(expected[1], expected[0])
    assert grad_bias is None
    for view in (x.reshape(5, 6, 33), np.repeat(x, 2, axis=1)[:, ::2], np.asfortranarray(x)):
        out, saved = CPU.linear(view, np.asfortranarray(weight), None)
        assert out.shape == (*view.shape[:-1], 40)
        np.testing.assert_array_equal(out.reshape(30, 40), expected[0])
        dx, dw, _ = CPU.linear_backward(saved, out)
        assert dx.shape == view.shape
        np.testing.assert_array_equal(dw, grad_weight)
    vector, _ = CPU.linear(x[3], weight, None)
    assert vector.shape == (40,)
    assert_within_budget(vector, expected[0][3].astype("float64"), 33, 1, "a vector", 1.0)


def test_a_rectified_layer_takes_any_number_of_axes() -> None:
    x, weight, bias, dout = operands(30, 33, 40)
    _, saved = CPU.linear_relu(x, weight, bias)
    expected = CPU.linear_relu_backward(saved, dout)
    for axes in ((5, 6), (1, 2, 15)):
        out, saved = CPU.linear_relu(x.reshape(*axes, 33), weight, bias)
        found = CPU.linear_relu_backward(saved, dout.reshape(out.shape))
        assert found[0].shape == (*axes, 33)
        for one, two in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one.reshape(two.shape), two)


def test_what_is_not_a_number_stays_in_its_row() -> None:
    for value in (np.nan, np.inf, -np.inf):
        x, weight, bias, _ = operands(20, 50, 21)
        x[7, 49] = value
        for operation in ("linear", "linear_relu"):
            out, _ = getattr(CPU, operation)(x, weight, bias)
            with np.errstate(invalid="ignore"):
                expected, _ = getattr(ORACLE, operation)(x, weight, bias)
            np.testing.assert_array_equal(np.isnan(out), np.isnan(expected))
            np.testing.assert_array_equal(np.isinf(out), np.isinf(expected))
        _, dw, _ = CPU.linear_backward((x, weight, True), np.ones((20, 21), "float32"))
        assert np.isfinite(dw[:, :49]).all() and not np.isfinite(dw[:, 49]).any()


def test_a_rectified_nan_is_one() -> None:
    x, weight, bias, _ = operands(3, 20, 18)
    bias[5] = np.nan
    out, saved = CPU.linear_relu(x, weight, bias)
    assert np.isnan(out[:, 5]).all() and np.isfinite(np.delete(out, 5, axis=1)).all()
    _, _, grad_bias = CPU.linear_relu_backward(saved, np.ones((3, 18), "float32"))
    assert grad_bias[5] == 3


@pytest.mark.parametrize("columns", [64, 80, 65])
def test_gradients_beside_the_caches(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    """The same numbers, whether the caches are written to or not."""
    x, weight, bias, dout = operands(19, columns, 101)
    found = []
    for limit in (1 << 30, 1000):
        monkeypatch.setattr(linear_algebra, "LAST_CACHE_BYTES", limit)
        found.append(CPU.linear_backward(CPU.linear(x, weight, bias)[1], dout)[1].tobytes())
    assert found[0] == found[1]


@pytest.mark.parametrize("work", [0.5, 1e9], ids=["in pieces", "by NumPy"])
@pytest.mark.parametrize("shape", [(37, 90, 70), (128, 400, 300)], ids=str)
def test_the_number_of_threads_changes_no_bit(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int, int], work: float
) -> None:
    for name in ("WORK", "WORK_OF_A_THREAD"):
        monkeypatch.setattr(linear_algebra, name, work)
    x, weight, bias, dout = operands(*shape)
    found = []
    for cores in ("1", "2", "5"):
        monkeypatch.setenv("GPUNN_NUM_THREADS", cores)
        threads._forget_crew()
        out, saved = CPU.linear(x, weight, bias)
        rectified, kept = CPU.linear_relu(x, weight, bias)
        arrays = (out, rectified, *CPU.linear_backward(saved, dout), *CPU.linear_relu_backward(kept, dout))
        found.append([a.tobytes() for a in arrays])
    threads._forget_crew()
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("operation", ["linear", "linear_relu"])
def test_many_rows_are_taken_in_turn(monkeypatch: pytest.MonkeyPatch, operation: str) -> None:
    """Their outputs are the same, the gradients up to rounding."""
    x, weight, bias, dout = operands(150, 70, 90)
    out, saved = getattr(CPU, operation)(x, weight, bias)
    expected = getattr(CPU, f"{operation}_backward")(saved, dout)
    monkeypatch.setattr(linear_algebra, "MOST_ROWS", 64)
    again, saved = getattr(CPU, operation)(x, weight, bias)
    found = getattr(CPU, f"{operation}_backward")(saved, dout)
    np.testing.assert_array_equal(again, out)
    for one, two in zip(found, expected, strict=True):
        assert_within_budget(one, two.astype("float64"), 150, 1, operation, 1.0)


@pytest.mark.parametrize("length", [1, 10, 16, 47, 48, 120, 192, 193, 1000, 1024, 4096])
def test_pieces(length: int) -> None:
    """They cover everything once, in whole groups and at the end smaller ones."""
    for least, group, most in (linear_algebra.ROWS, linear_algebra.COLUMNS):
        bounds = linear_algebra._bounds(length, least, group, most)
        sizes = list(np.diff(bounds))
        assert bounds[0] == 0 and bounds[-1] == length and min(sizes) > 0
        assert sizes == sorted(sizes, reverse=True) and sizes[0] <= most
        assert all(size % group == 0 or size == least for size in sizes[:-1])
