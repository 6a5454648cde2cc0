"""Matrix products of half precision that stay float32, on a stand-in for CuPy: what cuBLAS is asked for."""

from __future__ import annotations

import ctypes
import sys
import types
from typing import Any

import cupy_stand_in
import ml_dtypes
import numpy as np
import pytest
from cuda.kernel_cases import numbers, rounded, wide

from backends.cuda.runtime import CupyRuntime

HANDLE = 4711
TYPES = {2: np.dtype("float16"), 14: np.dtype(ml_dtypes.bfloat16), 0: np.dtype("float32")}  # cudaDataType_t


def in_columns(address: int, kind: int, rows: int, columns: int, lead: int) -> np.ndarray:
    """The (rows, columns) matrix whose columns begin ``lead`` elements apart."""
    assert lead >= rows, f"a column of {rows} elements does not fit into {lead}"
    dtype = TYPES[kind]
    memory = (ctypes.c_char * (lead * columns * dtype.itemsize)).from_address(address)
    return np.frombuffer(memory, dtype).reshape(columns, lead).T[:rows]


def number(address: int) -> float:
    return ctypes.c_float.from_address(address).value


class Cublas:
    """cublasGemmEx as NVIDIA's manual has it: C = alpha op(A) op(B) + beta C, all in columns."""

    CUBLAS_OP_N, CUBLAS_OP_T, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT = 0, 1, 68, -1

    def __init__(self) -> None:
        self.calls = 0

    def gemmEx(
        self, handle: int, turn_a: int, turn_b: int, m: int, n: int, k: int,
        alpha: int, a: int, kind_a: int, lead_a: int, b: int, kind_b: int, lead_b: int,
        beta: int, c: int, kind_c: int, lead_c: int, compute: int, algorithm: int,
    ) -> None:  # fmt: skip
        assert (handle, compute, algorithm, kind_c) == (HANDLE, 68, -1, 0)
        assert kind_a == kind_b
        assert (number(alpha), number(beta)) == (1, 0)
        left = in_columns(a, kind_a, *((k, m) if turn_a else (m, k)), lead_a).astype("float32")
        right = in_columns(b, kind_b, *((n, k) if turn_b else (k, n)), lead_b).astype("float32")
        in_columns(c, kind_c, m, n, lead_c)[...] = (left.T if turn_a else left) @ (right.T if turn_b else right)
        self.calls += 1


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> CupyRuntime:
    cupy = cupy_stand_in.make()
    cupy.cuda.cublas = Cublas()
    cupy.cuda.device = types.SimpleNamespace(get_cublas_handle=lambda: HANDLE)
    for name, kind in (("CUDA_R_16F", 2), ("CUDA_R_16BF", 14), ("CUDA_R_32F", 0)):
        setattr(cupy.cuda.runtime, name, kind)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    return CupyRuntime(0)


ORDERS: dict[str, Any] = {
    "rows": lambda x: x,
    "columns": lambda x: np.asfortranarray(x),
    "gaps": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
}


def on_device(runtime: CupyRuntime, values: np.ndarray) -> Any:
    """The very same memory as an array of the stand-in."""
    return values.view(runtime.xp.ndarray)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("order_b", ORDERS)
@pytest.mark.parametrize("order_a", ORDERS)
def test_products_of_matrices(runtime: CupyRuntime, dtype: str, order_a: str, order_b: str) -> None:
    for m, k, n in ((3, 5, 4), (1, 5, 4), (3, 1, 4), (3, 5, 1), (1, 1, 1), (2, 300, 7)):
        a, b = ORDERS[order_a](rounded(numbers(m, k), dtype)), ORDERS[order_b](rounded(numbers(k, n), dtype))
        out = runtime.matmul(on_device(runtime, a), on_device(runtime, b), "float32")
        assert (out.shape, out.dtype) == ((m, n), np.float32)
        np.testing.assert_allclose(out.get(), wide(a) @ wide(b), rtol=1e-5, atol=1e-5)
    assert runtime.xp.cuda.cublas.calls == 6


def test_products_of_nothing(runtime: CupyRuntime) -> None:
    for m, k, n in ((0, 2, 3), (2, 0, 3), (2, 3, 0)):
        a, b = (on_device(runtime, np.ones(shape, "float16")) for shape in ((m, k), (k, n)))
        assert runtime.matmul(a, b, "float32").get().tolist() == np.zeros((m, n)).tolist()
    assert runtime.xp.cuda.cublas.calls == 0  # which refuses empty matrices


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_stacks_of_matrices(runtime: CupyRuntime, dtype: str) -> None:
    """1 + 2^-12, which half precision does not have, is kept on request alone."""
    a, b = rounded(np.array([[[1.0, 2**-6]]]), dtype), rounded(np.array([[[1.0], [2**-6]]]), dtype)
    a, b = on_device(runtime, a), on_device(runtime, b)
    assert runtime.matmul(a, b, "float32").get().tolist() == [[[1 + 2**-12]]]
    assert runtime.matmul(a, b).dtype == a.dtype
    assert runtime.matmul(a[0], b[0], "float32").get().tolist() == [[1 + 2**-12]]
