"""ElementwiseKernel and ReductionKernel against NumPy."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from backends.emulator import memory
from backends.emulator.elementwise import ElementwiseKernel, ReductionKernel
from backends.emulator.error import EmulatorError
from backends.emulator.module import Module

DTYPES = ["float32", "float64", "float16", ml_dtypes.bfloat16, "int32", "int64", "uint8", "bool"]
AXPY = ElementwiseKernel("T x, T y, float64 a", "T out", "out = (T)(a * (double)x + (double)y)", "axpy")
SUM = ReductionKernel("T x", "T out", "x", "a + b", "out = a", "0", "sum")


def numbers(*shape: int, dtype: Any = "float32") -> np.ndarray:
    values = np.random.default_rng(list(shape)).integers(-8, 8, shape)
    kind = np.dtype(dtype).kind
    return (values > 0 if kind == "b" else abs(values) if kind == "u" else values).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: np.dtype(dtype).name)
def test_every_dtype(dtype: Any) -> None:
    x, y = numbers(4, 5, dtype=dtype), numbers(5, 4, dtype=dtype).T
    out = AXPY(x, y, 2)
    assert out.dtype == x.dtype
    np.testing.assert_array_equal(out, (2.0 * x.astype("float64") + y.astype("float64")).astype(dtype))


def test_views_of_any_strides() -> None:
    whole = numbers(6, 8, 10)
    spread, single = np.broadcast_to(whole[0, 0], (3, 10)), whole[0, 0, 0].reshape(())
    for x in (whole[::2, 1:, ::-3], whole.T, whole[:, :0], single, spread):
        np.testing.assert_array_equal(AXPY(x, x, -1), np.zeros(x.shape))
        out = np.full((2, *x.shape), 7, np.float32)[1, ...]
        assert AXPY(x, x, 3, out) is out
        np.testing.assert_array_equal(out, 4 * x)


def test_an_output_with_gaps() -> None:
    whole = np.zeros((4, 6), np.float32)
    AXPY(np.ones((4, 3), np.float32), np.float32(1), 1, whole[:, ::2])
    np.testing.assert_array_equal(whole, np.tile([2, 0], (4, 3)))


def test_broadcasting_and_numbers() -> None:
    x, row, column = numbers(3, 4), numbers(4), numbers(3, 1)
    np.testing.assert_array_equal(AXPY(row, column, 1), row + column)
    np.testing.assert_array_equal(AXPY(x, 2, 1), x + 2)
    np.testing.assert_array_equal(AXPY(x, np.float64(0.5), np.float32(2)), 2 * x + np.float32(0.5))
    assert AXPY(x, 1.5, 1).dtype == np.float32
    np.testing.assert_array_equal(AXPY(np.float64(0.5), x, 2), 1 + x)
    assert AXPY(1, np.float32(2), 3).dtype == np.float32
    assert AXPY(1, 2, 3).dtype == np.int64
    assert AXPY(1.0, 2, 3) == 5.0


def test_several_outputs_and_types() -> None:
    kernel = ElementwiseKernel("T x, int32 k", "T less, S more", "less = x - (T)k; more = x + (T)k", "two")
    x, k = numbers(7), numbers(7, dtype="int32")
    more = np.empty(7, np.float64)
    less, same = kernel(x, k, np.empty(7, np.float32), more)
    assert same is more
    np.testing.assert_array_equal(less, x - k)
    np.testing.assert_array_equal(more, x + k)


def test_raw_arrays_and_the_index() -> None:
    reverse = ElementwiseKernel("raw T x", "T out", "out = x[_ind.size() - 1 - i] + (T)(n - x.size())", "reverse")
    x = numbers(4, 5)
    np.testing.assert_array_equal(reverse(x.T, size=20), x.T.ravel()[::-1])
    np.testing.assert_array_equal(
        reverse(x[::2, ::-1], np.empty((2, 5), np.float32)), x[::2, ::-1].ravel()[::-1].reshape(2, 5)
    )
    scatter = ElementwiseKernel("int64 where, T x", "raw T out", "out[where] = x", "scatter")
    out = np.zeros(6, np.float32)
    scatter(np.array([4, 0]), np.float32([1, 2]), out)
    assert out.tolist() == [2, 0, 0, 0, 1, 0]


def test_preamble_and_options() -> None:
    preamble = "template <typename T> __device__ __forceinline__ T twice(T x) { return x * T(FACTOR); }"
    kernel = ElementwiseKernel("T x", "T out", "out = twice(x)", "twice", preamble=preamble, options=("-DFACTOR=2",))
    for dtype in ("float32", "int32"):
        np.testing.assert_array_equal(kernel(numbers(9, dtype=dtype)), 2 * numbers(9, dtype=dtype))


def test_loops_and_returns() -> None:
    kernel = ElementwiseKernel(
        "T x", "T out", "sum += x; out = sum", "prefix", loop_prep="T sum = 0", return_tuple=True
    )
    (out,) = kernel(numbers(9))
    np.testing.assert_array_equal(out, numbers(9).cumsum())
    silent = ElementwiseKernel("T x", "T out", "out = x", "silent", no_return=True)
    assert silent(numbers(3)) is None


def test_half_precision_computes_in_float() -> None:
    """As CuPy's float16: what an expression has between its operands is a float."""
    kernel = ElementwiseKernel("T x, T y, T z", "T out", "out = x * y - z", "fused")
    x = np.float16([1 + 2**-10])
    assert kernel(x, x, np.float16([1 + 2**-9]))[0] == np.float16(2.0**-20)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
@pytest.mark.parametrize("axis", [None, 0, 1, -1, (0, 2), (2, 1), (0, 1, 2), ()])
@pytest.mark.parametrize("keepdims", [False, True])
def test_sums(dtype: str, axis: Any, keepdims: bool) -> None:
    for x in (numbers(3, 7, 5, dtype=dtype), numbers(5, 7, 3, dtype=dtype).T, numbers(6, 7, 5, dtype=dtype)[::2]):
        out = SUM(x, axis=axis, keepdims=keepdims)
        np.testing.assert_array_equal(out, x.sum(axis, keepdims=keepdims))
        assert (out.dtype, out.shape) == (x.dtype, x.sum(axis, keepdims=keepdims).shape)


@pytest.mark.parametrize("length", [0, 1, 2, 511, 512, 513, 5000])
def test_lengths(length: int) -> None:
    x = numbers(3, length, dtype="float64")
    np.testing.assert_array_equal(SUM(x, axis=1), x.sum(1))
    largest = ReductionKernel("T x", "T out", "x", "a > b ? a : b", "out = a", "-100", "largest")
    np.testing.assert_array_equal(largest(x, axis=1), x.max(1, initial=-100))


def test_maps_before_and_after() -> None:
    mean = "out = sqrt(a / (_in_ind.size() / _out_ind.size()))"
    kernel = ReductionKernel("T x, T y", "T out", "(x - y) * (x - y)", "a + b", mean, "0", "rms")
    x, y = numbers(4, 10), numbers(10)
    np.testing.assert_allclose(kernel(x, y, axis=1), np.sqrt(np.square(x - y).mean(1)), rtol=1e-6)


def test_the_output_says_what_is_added_up_in() -> None:
    """CuPy's pitfall: halves added up in halves lose what floats keep."""
    wide = ReductionKernel("T x", "A out", "(A)x", "a + b", "out = a", "0", "wide")
    x = np.ones(8192, np.float16)
    x[0] = 2048
    out = np.empty((), np.float32)
    assert wide(x, out) == wide(x, out=out) == 2048 + 8191
    ulps = np.full(1500, 2.0**-11, np.float16)
    ulps[0] = 1
    exact = 1 + 1499 * 2.0**-11
    assert wide(ulps, out) == exact
    assert SUM(ulps) != np.float16(exact)
    typed = ReductionKernel("T x", "T out", "x", "a + b", "out = a", "0", "typed", reduce_type="float")
    assert typed(ulps) == np.float16(exact)


def test_outputs_of_a_reduction() -> None:
    both = ReductionKernel("T x", "T sum, T negated", "x", "a + b", "sum = a; negated = -a", "0", "both")
    total, negated = both(numbers(3, 4), axis=0)
    np.testing.assert_array_equal(total, -negated)
    out = np.zeros((2, 4), np.float32)
    assert SUM(numbers(3, 4), out[1], axis=0).base is out
    np.testing.assert_array_equal(out, [np.zeros(4), numbers(3, 4).sum(0)])


def test_raw_in_a_reduction() -> None:
    parameters = "T x, int64 which, raw T weight", "T out"
    weighted = ReductionKernel(*parameters, "x * weight[which]", "a + b", "out = a", "0", "weighted")
    x, which, weight = numbers(3, 4), np.array([3, 1, 0, 2]), numbers(5)
    np.testing.assert_array_equal(weighted(x, which, weight, axis=1), (x * weight[which]).sum(1))
    with pytest.raises(EmulatorError, match=r"weighted: out of bounds: weight\[8\] of 5 elements"):
        weighted(x, which + 5, weight)


def test_fresh_outputs_are_known_to_be_written() -> None:
    out = memory.output((3, 4), "float32")
    with pytest.raises(EmulatorError, match="axpy: uninitialized: nobody has written to x"):
        AXPY(out, 1, 1)
    AXPY(numbers(3, 4), 0, 1, out)
    np.testing.assert_array_equal(AXPY(out, 0, 1), numbers(3, 4))
    read = Module('extern "C" __global__ void read(const float* x, float* y) { *y = *x; }', "read.cu").get_function(
        "read"
    )
    read((1,), (1,), (out, np.zeros(1, np.float32)))
    total = memory.output(4, "float32")
    SUM(numbers(3, 4), total, axis=0)
    assert not memory.is_unwritten(total)


X = np.zeros((3, 4), np.float32)
WRONG = {
    "count": (lambda: AXPY(X), "axpy: expected 3 or 4 arguments, got 1"),
    "dtype": (lambda: AXPY(X, X.astype("float64"), 1), "axpy: expected y (T) of dtype float32, got float64"),
    "named dtype": (lambda: AXPY(X, X, X), "axpy: expected a (float64) of dtype float64, got float32"),
    "shapes": (lambda: AXPY(X, X.T, 1), "axpy: expected shapes that broadcast, got [(3, 4), (4, 3), ()]"),
    "shape of the output": (lambda: AXPY(X, X, 1, X[0]), "axpy: expected out of shape (3, 4), got (4,)"),
    "no output": (lambda: AXPY(X, X, 1, 2.0), "axpy: expected output out to be an array, got a float"),
    "unknown letter": (
        lambda: ReductionKernel("T x", "A out", "x", "a + b", "out = a", "0", "sum")(X),
        "sum: no argument tells what A is; give the output out",
    ),
    "unknown dtype": (lambda: AXPY(X.astype("complex64"), 1, 1), "axpy: expected T to be one of bool, int8,"),
    "all raw": (lambda: ElementwiseKernel("raw T x", "raw T y", "", "f")(X, X), "f: expected size, as all arrays are raw"),
    "size and arrays": (lambda: AXPY(X, X, 1, size=3), "axpy: expected size only where all arrays are raw, got 3"),
    "axis": (lambda: SUM(X, axis=2), "sum: expected different axes of 2, got 2"),
    "axis twice": (lambda: SUM(X, axis=(1, -1)), "sum: expected different axes of 2, got (1, -1)"),
    "output of a reduction": (lambda: SUM(X, X, axis=0), "sum: expected out of shape (4,), got (3, 4)"),
    "raw index": (
        lambda: ElementwiseKernel("raw T x", "T y", "y = x[i - 2]", "shifted")(X, np.zeros(5, np.float32)),
        "shifted: out of bounds: x[-2] of 12 elements",
    ),
    "text": (
        lambda: ElementwiseKernel("T x", "T y", "y = nowhere", "lost")(X),
        "lost cannot be compiled: lost:",
    ),
    "parameter": (
        lambda: ElementwiseKernel("floot x", "T y", "y = x", "f"),
        "expected a parameter as in 'T x', 'float32 x' or 'raw T x', got 'floot x'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_wrong_use(what: str) -> None:
    call, says = WRONG[what]
    with pytest.raises(EmulatorError) as caught:
        call()
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
