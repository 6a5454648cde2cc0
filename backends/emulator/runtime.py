"""`EmulatedRuntime`: what the CUDA backend needs of a device, on this machine's processor."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..cuda.runtime import Runtime
from . import memory
from .elementwise import ElementwiseKernel, ReductionKernel
from .module import Module

HALF = ("float16", "bfloat16")


class RepeatedWork:
    """What stands for a CUDA graph. NumPy's operations cannot be recorded, so that each launch carries the work out anew.

    To record it, it was carried out once; that was the first launch.
    """

    def __init__(self, work: Callable[[], None]) -> None:
        self.work = work
        self.is_done = True
        work()

    def launch(self) -> None:
        if not self.is_done:
            self.work()
        self.is_done = False


class EmulatedRuntime(Runtime):
    """NumPy arrays, and kernels run by `Module`.

    Arguments:
        checked: watch every access to memory (slow); else only compute.
        order: in which order threads run: 0 ascending, 1 descending, others at random with this seed.

    GPUNN_EMULATOR=fast makes fast mode the default.
    """

    def __init__(self, checked: bool | None = None, order: int = 0) -> None:
        self.xp = np
        self.device = "cuda-emulated"
        self.checked = os.environ.get("GPUNN_EMULATOR", "checked") != "fast" if checked is None else checked
        self.order = order

    def scope(self) -> Any:
        return np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore")

    def to_numpy(self, array: Any) -> Any:
        return array

    def synchronize(self) -> None:
        pass  # a launch returns when its last thread has ended

    def memory_used(self) -> int | None:
        return None

    def module(self, source: str, name: str, options: tuple[str, ...]) -> Any:
        return Module(source, name, options, checked=self.checked, order=self.order)

    def elementwise(self, in_params: str, out_params: str, operation: str, name: str, preamble: str = "") -> Any:
        return ElementwiseKernel(in_params, out_params, operation, name, preamble=preamble)

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
        return ReductionKernel(
            in_params, out_params, map_expr, reduce_expr, post_map_expr, identity, name, preamble=preamble
        )

    def output(self, shape: tuple[int, ...], dtype: Any) -> Any:
        return memory.output(shape, dtype)

    def output_like(self, array: Any) -> Any:
        return memory.output_like(array)

    def address(self, array: Any) -> int:
        return memory.address(array)

    def pointer_table(self, arrays: Sequence[Any]) -> Any:
        return memory.pointer_table(arrays)

    def capture(self, work: Callable[[], None]) -> Any:
        return RepeatedWork(work)

    def matmul(self, a: Any, b: Any, dtype: Any = None) -> Any:
        if a.dtype.name in HALF:  # as cuBLAS does: add up in float32, round once
            return np.matmul(a.astype(np.float32), b.astype(np.float32)).astype(dtype or a.dtype, copy=False)
        return np.matmul(a, b)
