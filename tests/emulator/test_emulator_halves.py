"""The 16-bit floats of the dialect against NumPy's float16 and ml_dtypes' bfloat16."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from backends.emulator import memory
from backends.emulator.module import Module

TYPES = {
    "float16": ("__half", "cuda_fp16.h", np.dtype("float16")),
    "bfloat16": ("__nv_bfloat16", "cuda_bf16.h", np.dtype(ml_dtypes.bfloat16)),
}
KERNELS = """
#include HEADER
typedef long long i64;
#define EACH for (i64 i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
extern "C" __global__ void to_float(const HALF* x, float* out, i64 n) { EACH out[i] = (float)x[i]; }
extern "C" __global__ void implicitly(const HALF* x, float* out, i64 n) { EACH out[i] = x[i]; }
extern "C" __global__ void from_float(const float* x, HALF* out, i64 n) { EACH out[i] = x[i]; }
extern "C" __global__ void from_double(const double* x, HALF* out, i64 n) { EACH out[i] = HALF(x[i]); }
extern "C" __global__ void from_int(const int* x, HALF* out, i64 n) { EACH out[i] = (HALF)x[i]; }
extern "C" __global__ void of_every_type(HALF* out) {
  out[0] = HALF(true), out[1] = HALF((unsigned char)2), out[2] = HALF(3u), out[3] = HALF(4l), out[4] = HALF(5ul);
  out[5] = HALF(-6ll), out[6] = HALF(7ull), out[7] = HALF(8), out[8] = HALF(9.0f), out[9] = HALF(10.0);
}
extern "C" __global__ void arithmetic(const HALF* a, const HALF* b, HALF* out, i64 n) {
  EACH {
    out[4 * i] = a[i] + b[i];
    out[4 * i + 1] = a[i] - b[i];
    out[4 * i + 2] = a[i] * b[i];
    out[4 * i + 3] = a[i] / b[i];
  }
}
extern "C" __global__ void comparisons(const HALF* a, const HALF* b, bool* out, i64 n) {
  EACH {
    out[6 * i] = a[i] < b[i], out[6 * i + 1] = a[i] <= b[i], out[6 * i + 2] = a[i] > b[i];
    out[6 * i + 3] = a[i] >= b[i], out[6 * i + 4] = a[i] == b[i], out[6 * i + 5] = a[i] != b[i];
  }
}
extern "C" __global__ void negated(const HALF* x, HALF* out, i64 n) { EACH out[i] = -x[i]; }
"""


@pytest.fixture(params=TYPES)
def half(request: pytest.FixtureRequest) -> Any:
    """(dtype, run): run(kernel, inputs, dtype of the output, elements of it for each input); no output where it is None"""
    name, header, dtype = TYPES[request.param]
    module = Module(KERNELS, "halves.cu", (f"-DHALF={name}", f"-DHEADER=<{header}>"), checked=False)

    def run(kernel: str, *inputs: np.ndarray, to: Any, each: int = 1) -> np.ndarray:
        if to is None:
            module.get_function(kernel)((1,), (1,), inputs)
            return inputs[0]
        out = memory.output(inputs[0].size * each, to)
        module.get_function(kernel)((8,), (128,), (*inputs, out, inputs[0].size))
        return out

    return dtype, run


def all_patterns(dtype: Any) -> np.ndarray:
    return np.arange(1 << 16, dtype=np.uint16).view(dtype)


def assert_same(actual: np.ndarray, expected: np.ndarray) -> None:
    """Bit for bit, but any NaN is as good as another."""
    nan = np.isnan(expected)
    np.testing.assert_array_equal(np.isnan(actual), nan)
    bits = np.dtype(f"u{actual.itemsize}")
    np.testing.assert_array_equal(actual[~nan].view(bits), expected[~nan].view(bits))


def test_all_patterns_to_float(half: Any) -> None:
    dtype, run = half
    x = all_patterns(dtype)
    expected = x.astype(np.float32)
    assert_same(run("to_float", x, to="float32"), expected)
    assert_same(run("implicitly", x, to="float32"), expected)


def numbers() -> np.ndarray:
    """Floats of all magnitudes, and those next to where rounding turns."""
    patterns = np.random.default_rng(0).integers(0, 1 << 32, 200_000, dtype=np.uint32).view(np.float32)
    near = [all_patterns(dtype).astype(np.float32) for _, _, dtype in TYPES.values()]
    with np.errstate(all="ignore"):
        middles = [(a[:-1].astype(np.float64) + a[1:].astype(np.float64)) / 2 for a in near]
        close = [np.nextafter(m.astype(np.float32), np.float32(to)) for m in middles for to in (-np.inf, 0, np.inf)]
        return np.concatenate([patterns, *near, *(m.astype(np.float32) for m in middles), *close])


def test_rounding_of_floats(half: Any) -> None:
    dtype, run = half
    x = numbers()
    with np.errstate(all="ignore"):
        assert_same(run("from_float", x, to=dtype), x.astype(dtype))


def test_rounding_of_doubles_is_done_once(half: Any) -> None:
    """A double just above the middle of two halves goes up, although as a float it lies in the middle."""
    dtype, run = half
    halves = all_patterns(dtype)
    with np.errstate(all="ignore"):
        finite = np.unique(halves[np.isfinite(halves.astype(np.float64))].astype(np.float64))
        low, high = finite[:-1], finite[1:]
        middle = (low + high) / 2
        above, below = np.nextafter(middle, np.inf), np.nextafter(middle, -np.inf)
    for x, expected in ((above, high), (below, low)):
        np.testing.assert_array_equal(run("from_double", x, to=dtype).astype(np.float64), expected)
    even = run("from_double", middle, to=dtype)
    assert (even.view(np.uint16) & 1 == 0).all()


def test_whole_numbers(half: Any) -> None:
    dtype, run = half
    x = np.concatenate([np.arange(-70000, 70000, 7), [2**31 - 1, -(2**31)]]).astype(np.int32)
    with np.errstate(all="ignore"):
        assert_same(run("from_int", x, to=dtype), x.astype(np.float64).astype(dtype))


def test_made_of_every_type(half: Any) -> None:
    dtype, run = half
    out = np.zeros(10, dtype)
    run("of_every_type", out, to=None)
    assert out.astype(int).tolist() == [1, 2, 3, 4, 5, -6, 7, 8, 9, 10]


def test_arithmetic(half: Any) -> None:
    dtype, run = half
    a, b = np.random.default_rng(1).integers(0, 1 << 16, (2, 50_000), dtype=np.uint16).view(dtype)
    with np.errstate(all="ignore"):
        wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
        expected = np.stack([wide_a + wide_b, wide_a - wide_b, wide_a * wide_b, wide_a / wide_b], axis=1)
        # The quotient of two halves in float64 is never so close to a middle that rounding it there matters.
        assert_same(run("arithmetic", a, b, to=dtype, each=4), expected.astype(dtype).reshape(-1))


def test_comparisons(half: Any) -> None:
    dtype, run = half
    special = np.array([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan]).astype(dtype)
    a, b = (np.ascontiguousarray(m).reshape(-1) for m in np.meshgrid(special, special))
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    pairs = [wide_a < wide_b, wide_a <= wide_b, wide_a > wide_b, wide_a >= wide_b, wide_a == wide_b, wide_a != wide_b]
    np.testing.assert_array_equal(run("comparisons", a, b, to=bool, each=6).reshape(-1, 6), np.stack(pairs, axis=1))


def test_negation(half: Any) -> None:
    dtype, run = half
    x = all_patterns(dtype)
    np.testing.assert_array_equal(run("negated", x, to=dtype).view(np.uint16), x.view(np.uint16) ^ 0x8000)
