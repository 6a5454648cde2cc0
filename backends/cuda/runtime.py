"""What the CUDA backend needs of a device: memory, kernels made of source text, and matrix products.

`CupyRuntime` is a GPU. The emulator has another one, over NumPy; everything that is written against `Runtime` runs on both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from .options import options
from .probe import import_cupy

HALF = ("float16", "bfloat16")


class Runtime:
    """One device.

    Attributes:
        xp: the array module (cupy, or numpy for the emulator).
        device: its name, "cuda:0" or "cuda-emulated".
        null: what a kernel is given for a pointer to nothing.
    """

    xp: Any
    device: str
    null: Any = None

    def scope(self) -> Any:
        """The context in which arrays are made and kernels launched."""
        raise NotImplementedError

    def holds(self, values: Any) -> bool:
        """Whether ``values`` is an array of this device."""
        return type(values) is self.xp.ndarray

    def to_numpy(self, array: Any) -> Any:
        """A NumPy array on the host; waits for the device."""
        raise NotImplementedError

    def synchronize(self) -> None:
        raise NotImplementedError

    def memory_used(self) -> int | None:
        """Bytes of the device's memory in use by this process; None where the device is the host."""
        raise NotImplementedError

    def module(self, source: str, name: str, options: tuple[str, ...]) -> Any:
        """Compile CUDA C. ``.get_function(kernel)`` of the result is called as (grid, block, arguments, shared_mem=bytes).

        ``name`` is the file's, for messages.
        """
        raise NotImplementedError

    def elementwise(self, in_params: str, out_params: str, operation: str, name: str, preamble: str = "") -> Any:
        """`cupy.ElementwiseKernel` of the same arguments."""
        raise NotImplementedError

    def reduction(
        self,
        in_params: str,
        out_params: str,
        map_expr: str,
        reduce_expr: str,
        post_map_expr: str,
        identity: str,
        name: str,
        preamble: str = "",
    ) -> Any:
        """`cupy.ReductionKernel` of the same arguments."""
        raise NotImplementedError

    def output(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """Memory that the next kernel fills wholly. The emulator checks that it does, and that nobody reads it before."""
        return self.xp.empty(shape, dtype=dtype)

    def output_like(self, array: Any) -> Any:
        """The same, of the shape, dtype and memory order of ``array``."""
        return self.xp.empty_like(array)

    def address(self, array: Any) -> int:
        """Where the first element lies."""
        raise NotImplementedError

    def pointer_table(self, arrays: Sequence[Any]) -> Any:
        """The addresses of ``arrays`` on the device: int64, (len(arrays),). The arrays must outlive its use."""
        raise NotImplementedError

    def upload(self, values: Sequence[float], dtype: Any) -> Any:
        """An array of a few numbers of the host: (len(values),). Within a captured step it holds them for ever."""
        return self.xp.asarray(values, dtype=dtype)

    def capture(self, work: Callable[[], None]) -> Any:
        """Record what ``work`` asks of the device. ``.launch()`` of the result lets the device do it; nobody waits."""
        raise NotImplementedError

    def matmul(self, a: Any, b: Any, dtype: Any = None) -> Any:
        """The matrix product over the last two axes; half precision is added up in float32.

        ``dtype`` is the result's, by default that of the operands: "float32" leaves sums of half precision as they are added
        up, for who adds up several products.
        """
        raise NotImplementedError


class CapturedWork:
    """A CUDA graph and the memory that it works in."""

    def __init__(self, runtime: Runtime, graph: Any, memory: Any) -> None:
        self.runtime, self.graph, self.memory = runtime, graph, memory

    def launch(self) -> None:
        """Let the device do the work, behind whatever it was asked for before."""
        with self.runtime.scope():
            self.graph.launch()


class CupyRuntime(Runtime):
    """GPU number ``index`` through CuPy."""

    null = np.uint64(0)  # eight bytes of zero: not every CuPy takes None for a pointer

    def __init__(self, index: int) -> None:
        self.xp = import_cupy()
        self.index = index
        self.device = f"cuda:{index}"
        self._scope = self.xp.cuda.Device(index)
        self._uploads: list[tuple[Any, Sequence[float]]] | None = None  # those of the step that is being captured
        self._tf32: bool | None = None  # what CuPy was told; before, it may have another rule from its environment

    def scope(self) -> Any:
        return self._scope  # kernels run there; a GPU gives no warnings

    def holds(self, values: Any) -> bool:
        return super().holds(values) and values.data.device_id == self.index

    def to_numpy(self, array: Any) -> Any:
        return self.xp.asnumpy(array)

    def synchronize(self) -> None:
        with self.scope():
            self.xp.cuda.get_current_stream().synchronize()

    def memory_used(self) -> int | None:
        with self.scope():
            return int(self.xp.get_default_memory_pool().used_bytes())

    def module(self, source: str, name: str, options: tuple[str, ...]) -> Any:
        # CuPy finds the headers of its CUDA version by itself. It keeps what it compiled on disk, under a hash of text and
        # options: a new process does not compile again.
        return self.xp.RawModule(code=source, options=options, backend="nvrtc")

    def elementwise(self, in_params: str, out_params: str, operation: str, name: str, preamble: str = "") -> Any:
        return self.xp.ElementwiseKernel(in_params, out_params, operation, name, preamble=preamble)

    def reduction(
        self,
        in_params: str,
        out_params: str,
        map_expr: str,
        reduce_expr: str,
        post_map_expr: str,
        identity: str,
        name: str,
        preamble: str = "",
    ) -> Any:
        return self.xp.ReductionKernel(
            in_params, out_params, map_expr, reduce_expr, post_map_expr, identity, name, preamble=preamble
        )

    def address(self, array: Any) -> int:
        return int(array.data.ptr)

    def pointer_table(self, arrays: Sequence[Any]) -> Any:
        return self.upload([self.address(array) for array in arrays], "int64")

    def upload(self, values: Sequence[float], dtype: Any) -> Any:
        if self._uploads is None:
            return super().upload(values, dtype)
        # A graph would repeat the copy from the host, whose memory is another's by then: it is made once, afterwards. The
        # graph's own pool gives memory in which earlier kernels of the graph work, and would again, over these numbers.
        with self.xp.cuda.using_allocator(self.xp.get_default_memory_pool().malloc):
            array = self.xp.empty(len(values), dtype=dtype)
        self._uploads.append((array, values))
        return array

    def capture(self, work: Callable[[], None]) -> Any:
        """A CUDA graph. Its memory comes from a pool of its own, from which nobody else is given any."""
        cuda = self.xp.cuda
        with self.scope():
            pool, stream = cuda.MemoryPool(), cuda.Stream(non_blocking=True)
            uploads: list[tuple[Any, Sequence[float]]] = []
            self._uploads = uploads
            try:
                with cuda.using_allocator(pool.malloc), stream:
                    stream.begin_capture()
                    try:
                        work()
                    except BaseException:
                        with suppress(Exception):  # what broke off the work matters, not that the capture is no whole
                            stream.end_capture()
                        raise
                    graph = stream.end_capture()
            finally:
                self._uploads = None
            for array, values in uploads:
                array[...] = self.xp.asarray(values, dtype=array.dtype)
        return CapturedWork(self, graph, (pool, uploads, stream))

    def matmul(self, a: Any, b: Any, dtype: Any = None) -> Any:
        xp = self.xp
        is_half = a.dtype.name in HALF
        if is_half and dtype == "float32" and a.ndim == b.ndim == 2:
            return self._float32_product(a, b)
        if options.allow_tf32_matmul != self._tf32:
            # CuPy's own switch; it belongs to the process and not to one product.
            linalg = xp._core._routines_linalg
            self._tf32 = options.allow_tf32_matmul
            linalg.set_compute_type("f", linalg.COMPUTE_TYPE_TF32 if self._tf32 else linalg.COMPUTE_TYPE_FP32)
        is_number = a.size == b.size == a.shape[-1]
        if is_half and (dtype == "float32" or max(a.ndim, b.ndim) > 2 or is_number):
            # CuPy 14 computes batched products of float16 in float32 anyway, and fails for bfloat16; a product of one
            # number it makes of products that it rounds each.
            return xp.matmul(a.astype("float32"), b.astype("float32")).astype(dtype or a.dtype, copy=False)
        return xp.matmul(a, b)

    def _float32_product(self, a: Any, b: Any) -> Any:
        """a (m, k) and b (k, n) of half precision: float32 (m, n), by cuBLAS, since `cupy.matmul` would round it.

        cuBLAS counts in columns, to which an array in rows is its own transpose; so it is asked for b^T a^T. As CuPy's own
        `tensordot_core_v11` (cupy/_core/_routines_linalg.pyx) calls it, but for the result's dtype.
        """
        xp, cuda = self.xp, self.xp.cuda
        (m, k), n = a.shape, b.shape[1]
        if not m * k * n:
            return xp.zeros((m, n), "float32")
        blas, out = cuda.cublas, xp.empty((m, n), "float32")
        (a, lead_a, turn_a), (b, lead_b, turn_b) = _in_columns(xp, a), _in_columns(xp, b)
        turns = {False: blas.CUBLAS_OP_N, True: blas.CUBLAS_OP_T}
        half = cuda.runtime.CUDA_R_16F if a.dtype.name == "float16" else cuda.runtime.CUDA_R_16BF
        one, zero = np.ones((), "float32"), np.zeros((), "float32")  # read on the host before the call returns
        blas.gemmEx(
            cuda.device.get_cublas_handle(), turns[turn_b], turns[turn_a], n, m, k,
            one.ctypes.data, b.data.ptr, half, lead_b, a.data.ptr, half, lead_a,
            zero.ctypes.data, out.data.ptr, cuda.runtime.CUDA_R_32F, n,
            blas.CUBLAS_COMPUTE_32F, blas.CUBLAS_GEMM_DEFAULT,
        )  # fmt: skip
        return out


def _in_columns(xp: Any, matrix: Any) -> tuple[Any, int, bool]:
    """A matrix for cuBLAS to take as the transpose of ``matrix``: memory, elements a column, and whether to transpose it."""
    if matrix.flags.f_contiguous and not matrix.flags.c_contiguous:
        return matrix, matrix.shape[0], True
    return xp.ascontiguousarray(matrix), matrix.shape[1], False
