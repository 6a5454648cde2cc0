"""`CudaBackend`: the primitives as CUDA kernels, over a `Runtime` (a GPU, or the emulator)."""

from __future__ import annotations

from typing import Any

from ..backend import Backend
from .activation import KernelActivations
from .bias import KernelBias
from .capture import Recording
from .clipping import KernelClipping
from .convolution import KernelConvolution
from .dropout import KernelDropout
from .labels import LabelFlag
from .linear_algebra import KernelLinearAlgebra
from .normalization import KernelNormalization
from .optimizer import KernelOptimizers
from .pooling import KernelPooling
from .program import Programs
from .runtime import Runtime
from .softmax import KernelSoftmax


class CudaBackend(
    KernelActivations,
    KernelBias,
    KernelClipping,
    KernelConvolution,
    KernelDropout,
    KernelLinearAlgebra,
    KernelNormalization,
    KernelOptimizers,
    KernelPooling,
    KernelSoftmax,
    Backend,
):
    """A family that has no kernel of its own is the inherited array code, over CuPy.

    Nothing here waits for the device except `to_numpy` and `synchronize`. An error that only the device can see (a label
    out of range) is kept in a flag there and raised by the next `to_numpy`, which is where the loss is read.
    """

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime.xp, runtime.device)
        self.runtime = runtime
        self.programs = Programs(runtime)
        self.recording: Recording | None = None  # of the step that is being captured, or run again
        self.label_flag = LabelFlag(runtime)

    def launch(
        self,
        file: str,
        kernel: str,
        dtype: Any,
        grid: int | tuple[int, ...],
        block: int | tuple[int, ...],
        arguments: tuple[Any, ...],
        shared: int = 0,
        **defines: Any,
    ) -> None:
        """Run a kernel of kernels/<file>.cu, compiled for ``dtype``, on ``grid`` blocks of ``block`` threads.

        Of a grid without blocks nothing is launched: an empty array has nothing to compute.
        """
        grid = (grid,) if isinstance(grid, int) else grid
        if 0 in grid:
            return
        block = (block,) if isinstance(block, int) else block
        if self.recording is not None and not self.recording.launches(
            file, kernel, dtype, grid, block, shared, defines, arguments=arguments
        ):
            return
        further = tuple(sorted(defines.items())) if defines else ()
        self.programs.kernel(file, kernel, dtype, further)(grid, block, arguments, shared)

    def rates(self, *values: float) -> Any:
        """Numbers that differ from step to step (a learning rate, Adam's corrections), on the device: float64, (n,).

        A kernel reads them from memory and not from its arguments, because those of a captured step never change.
        """
        return self.runtime.upload(values, "float64") if self.recording is None else self.recording.rates(values)

    def stream_base(self) -> Any:
        """What a kernel adds to the number of its random stream: an array u64, (1,), or None for nothing.

        In a captured step the number in a kernel's arguments counts from the step's first stream, which is in memory.
        """
        return None if self.recording is None else self.recording.stream_base()

    # Arrays and the device

    def asarray(self, values: Any, dtype: Any = None) -> Any:
        if dtype is None and self.runtime.holds(values):  # as the result of each operation is
            return values
        with self.scope():
            return self.xp.asarray(values, dtype=dtype)

    def scope(self) -> Any:
        return self.runtime.scope()

    def to_numpy(self, array: Any) -> Any:
        if self.recording is not None:
            self.recording.refuse_to_read()
        self.label_flag.raise_error()
        return self.runtime.to_numpy(array)

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        with self.scope():
            return super().empty(shape, dtype)

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Any:
        with self.scope():
            return super().zeros(shape, dtype)

    def ones(self, shape: tuple[int, ...], dtype: Any) -> Any:
        with self.scope():
            return super().ones(shape, dtype)

    def synchronize(self) -> None:
        self.runtime.synchronize()

    def memory_used(self) -> int | None:
        return self.runtime.memory_used()
