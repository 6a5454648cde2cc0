"""What the CUDA backend needs of a device: memory, kernels made of source text, and matrix products.

`CupyRuntime` is a GPU. The emulator has another one, over NumPy; everything that is written against `Runtime` runs on both.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .probe import import_cupy


class Runtime:
    """One device.

    Attributes:
        xp: the array module (cupy, or numpy for the emulator).
        device: its name, "cuda:0" or "cuda-emulated".
    """

    xp: Any
    device: str

    def scope(self) -> Any:
        """The context in which arrays are made and kernels launched."""
        raise NotImplementedError

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

    def pointer_table(self, arrays: Sequence[Any]) -> Any:
        """The addresses of ``arrays`` on the device: int64, (len(arrays),). The arrays must outlive its use."""
        raise NotImplementedError

    def matmul(self, a: Any, b: Any) -> Any:
        """The matrix product over the last two axes; half precision is added up in float32."""
        return self.xp.matmul(a, b)


class CupyRuntime(Runtime):
    """GPU number ``index`` through CuPy."""

    def __init__(self, index: int) -> None:
        self.xp = import_cupy()
        self.index = index
        self.device = f"cuda:{index}"

    def scope(self) -> Any:
        return self.xp.cuda.Device(self.index)  # kernels run there; a GPU gives no warnings

    def to_numpy(self, array: Any) -> Any:
        return self.xp.asnumpy(array)

    def synchronize(self) -> None:
        with self.scope():
            self.xp.cuda.get_current_stream().synchronize()

    def memory_used(self) -> int | None:
        with self.scope():
            return int(self.xp.get_default_memory_pool().used_bytes())

    def module(self, source: str, name: str, options: tuple[str, ...]) -> Any:
        # CuPy keeps what it compiled on disk, under a hash of text and options: a new process does not compile again.
        return self.xp.RawModule(code=source, options=(*options, *self._header_folders()), backend="nvrtc")

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

    def pointer_table(self, arrays: Sequence[Any]) -> Any:
        return self.xp.asarray([array.data.ptr for array in arrays], dtype="int64")

    def _header_folders(self) -> tuple[str, ...]:
        """Where cuda_fp16.h is, as compiler options."""
        root = self.xp.cuda.get_cuda_path()
        return (f"-I{Path(root) / 'include'}",) if root else ()
