"""`CudaBackend`: the primitives as CUDA kernels, over a `Runtime` (a GPU, or the emulator)."""

from __future__ import annotations

from typing import Any

from ..backend import Backend, label_error
from .activation import KernelActivations
from .program import Programs
from .runtime import Runtime


class CudaBackend(KernelActivations, Backend):
    """A family that has no kernel of its own is the inherited array code, over CuPy.

    Nothing here waits for the device except `to_numpy` and `synchronize`. An error that only the device can see (a label
    out of range) is kept in a flag there and raised by the next `to_numpy`, which is where the loss is read.
    """

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime.xp, runtime.device)
        self.runtime = runtime
        self.programs = Programs(runtime)
        # Of the label checks since the host last read something: (first wrong row or -1, its label, classes, ignored)
        self._label_checks: list[tuple[Any, Any, int, int | None]] = []

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
        self.programs.kernel(file, kernel, dtype, tuple(sorted(defines.items())))(grid, block, arguments, shared)

    def rates(self, *values: float) -> Any:
        """Numbers that differ from step to step (a learning rate, Adam's corrections), on the device: float64, (n,).

        A kernel reads them from memory and not from its arguments, because those of a captured step never change.
        """
        return self.xp.asarray(values, dtype="float64")

    def stream_base(self) -> Any:
        """What a kernel adds to the number of its random stream: an array u64, (1,), or None for nothing.

        In a captured step the number in a kernel's arguments counts from the step's first stream, which is in memory.
        """
        return None

    # Arrays and the device

    def asarray(self, values: Any, dtype: Any = None) -> Any:
        with self.scope():
            return self.xp.asarray(values, dtype=dtype)

    def scope(self) -> Any:
        return self.runtime.scope()

    def to_numpy(self, array: Any) -> Any:
        self._raise_label_errors()
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

    # Labels out of range

    def check_labels(self, labels: Any, classes: int, ignore_index: int | None) -> None:
        if labels.size == 0:
            return
        wrong = (labels < 0) | (labels >= classes)
        if ignore_index is not None:
            wrong &= labels != ignore_index
        row = wrong.argmax()
        self._label_checks.append((self.xp.where(wrong.any(), row, -1), labels[row], classes, ignore_index))
        if len(self._label_checks) > 1000:  # a program that never reads a result shall not hoard flags
            self._raise_label_errors()

    def _raise_label_errors(self) -> None:
        checks, self._label_checks = self._label_checks, []
        for flag, label, classes, ignore_index in checks:
            row = int(self.runtime.to_numpy(flag))
            if row >= 0:
                raise label_error(int(self.runtime.to_numpy(label)), row, classes, ignore_index)
