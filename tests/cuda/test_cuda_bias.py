"""Kernels of the bias, alone and with ReLU, and the linear layer on them, on the emulator, against the reference in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cuda.kernel_cases import DTYPES, ORACLE, assert_close, numbers, rounded, wide

from backends.cuda import bias as bias_module
from backends.cuda import layout

ROWS = [(0, 3), (1, 1), (2, 8), (3, 7), (31, 33), (33, 32), (2, 1000), (257, 4), (300, 16)]


@pytest.fixture
def in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums in parts of 16 rows, or of 8 elements of a channel, but in 7 parts at most."""
    for name, number in (("LEAST_ROWS", 16), ("MOST_PARTS", 7), ("LEAST_ELEMENTS", 8)):
        monkeypatch.setattr(bias_module, name, number)


@pytest.mark.parametrize("dtype", DTYPES)
def test_linear(emulated: Any, dtype: str) -> None:
    with emulated.scope():
        for rows, features in ROWS:
            x, weight, bias, dout = (
                rounded(numbers(*shape, seed=seed), dtype)
                for seed, shape in enumerate([(rows, 5), (features, 5), (features,), (rows, features)])
            )
            out, saved = emulated.linear(x, weight, bias)
            wanted, kept = ORACLE.linear(wide(x), wide(weight), wide(bias))
            assert_close(out, wanted, terms=6)
            gradients = emulated.linear_backward(saved, dout)
            for gradient, oracle in zip(gradients, ORACLE.linear_backward(kept, wide(dout)), strict=True):
                assert gradient.dtype == x.dtype
                assert_close(gradient, oracle, terms=max(1, rows, features))
            assert emulated.linear_backward(saved, dout, (False, True, False))[::2] == (None, None)
        x = rounded(numbers(2, 3, 5), dtype)
        assert_close(emulated.linear(x, weight, bias)[0], ORACLE.linear(wide(x), wide(weight), wide(bias))[0], terms=6)
        assert_close(emulated.linear(x, weight, None)[0], ORACLE.linear(wide(x), wide(weight), None)[0], terms=5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_matmul(emulated: Any, dtype: str) -> None:
    """Vectors, matrices and stacks; half precision is added up in float32."""
    for shapes in (((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 4)), ((2, 3), (3, 4)), ((5, 1, 2, 3), (4, 3, 6))):
        a, b = (rounded(numbers(*shape), dtype) for shape in shapes)
        with emulated.scope():
            out, saved = emulated.matmul(a, b)
            wanted, kept = ORACLE.matmul(wide(a), wide(b))
            assert_close(out, wanted, terms=3)
            dout = rounded(np.asarray(numbers(*wanted.shape, seed=4)), dtype)
            gradients = emulated.matmul_backward(saved, dout)
        for gradient, oracle in zip(gradients, ORACLE.matmul_backward(kept, wide(dout)), strict=True):
            assert_close(gradient, oracle, terms=30)


@pytest.mark.usefixtures("in_parts")
@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_in_parts(in_every_order: Any, dtype: str) -> None:
    with in_every_order.scope():
        for rows, columns in ROWS:
            dout = rounded(numbers(rows, columns), dtype)
            sums = in_every_order._row_sums(dout)
            assert sums.dtype == dout.dtype
            assert_close(sums, wide(dout).sum(axis=0), terms=max(1, rows), what=f"{rows} x {columns}")
            assert in_every_order._row_sums(dout).tobytes() == sums.tobytes()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sums_of_half_precision_are_float32(emulated: Any, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In half precision a sum of ones ends at 2048, or at 256; here each of eight threads adds up 2,500."""
    monkeypatch.setattr(bias_module, "LEAST_ROWS", 20_000)
    with emulated.scope():
        assert_close(emulated._row_sums(rounded(np.ones((20_000, 2)), dtype)), np.full(2, 20_000.0), rounding=0.25)


def compare_bias_relu(backend: Any, x: np.ndarray, dout: np.ndarray, what: str) -> None:
    bias = rounded(numbers(x.shape[1], seed=7), x.dtype.name)
    with backend.scope():
        out, saved = backend.bias_relu(x, bias)
        dx, dbias = backend.bias_relu_backward(saved, dout)
    wanted, _ = ORACLE.bias_relu(wide(x), wide(bias))
    wanted_dx, wanted_dbias = ORACLE.bias_relu_backward(wide(saved), wide(dout))
    assert (out.dtype, dx.dtype, dbias.dtype) == (x.dtype,) * 3
    assert_close(out, wanted, what=what)
    assert_close(dx, wanted_dx, what=what)
    assert_close(dbias, wanted_dbias, terms=max(1, x.size // x.shape[1]), what=what)


@pytest.mark.usefixtures("in_parts")
@pytest.mark.parametrize("dtype", DTYPES)
def test_bias_relu(emulated: Any, dtype: str) -> None:
    """Rows, and images in both orders; packs within a row, of one channel, and neither."""
    shapes = [
        *ROWS,
        (2, 3, 5),
        (2, 8, 3, 3),
        (3, 4, 4, 4),
        (2, 5, 2, 8),
        (0, 4, 2, 2),
        (9, 2, 3, 1),
        (1, 300, 2, 2),
        (2, 2, 17, 19),
    ]
    for shape in shapes:
        x, dout = (rounded(numbers(*shape, seed=seed), dtype) for seed in (5, 6))
        compare_bias_relu(emulated, x, dout, f"{shape}")
        if len(shape) == 4:
            compare_bias_relu(
                emulated,
                np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
                dout,
                f"{shape}, channels last",
            )
            compare_bias_relu(emulated, x[:, :, ::-1], dout, f"{shape}, a view")


def test_bias_relu_of_nan(emulated: Any) -> None:
    x = np.array([[np.nan, 1.0], [-np.inf, np.inf], [-1.0, -2.0]], "float32")
    with emulated.scope():
        out, saved = emulated.bias_relu(x, np.ones(2, "float32"))
        dx, _ = emulated.bias_relu_backward(saved, np.full_like(x, 5))
    np.testing.assert_array_equal(out, np.array([[np.nan, 2], [0, np.inf], [0, 0]]))
    assert dx.tolist() == [[5, 5], [0, 5], [0, 0]]


@pytest.mark.usefixtures("in_parts")
def test_bias_relu_with_threads_in_any_order(in_every_order: Any) -> None:
    for shape in ((40, 40), (9, 3, 2, 3)):
        x, dout = (rounded(numbers(*shape, seed=seed), "float32") for seed in (5, 6))
        compare_bias_relu(in_every_order, x, dout, f"{shape}")


@pytest.mark.usefixtures("in_parts")
def test_bias_with_few_blocks(emulated: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "MOST_BLOCKS", 1)
    for shape in ((20, 100), (2, 400), (3, 5, 9, 8)):
        x, dout = (rounded(numbers(*shape, seed=seed), "float32") for seed in (5, 6))
        compare_bias_relu(emulated, x, dout, f"{shape}")


def test_bias_of_unaligned_memory(emulated: Any) -> None:
    memory = rounded(numbers(8 * 12 + 1), "float32")
    x = memory[1:].reshape(8, 12)
    compare_bias_relu(emulated, x, x, "rows")
    compare_bias_relu(emulated, x.reshape(2, 3, 4, 4), x.reshape(2, 3, 4, 4), "planes")
