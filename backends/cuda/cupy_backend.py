"""`CupyBackend`: the array code of `Backend` over CuPy on one GPU."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend import Backend, label_error
from .probe import import_cupy


class CupyBackend(Backend):
    """One GPU. A primitive that has no kernel of its own yet is the inherited array code.

    Nothing here waits for the GPU except `to_numpy` and `synchronize`. An error that only the GPU can see (a label out of
    range) is kept in a flag on the device and raised by the next `to_numpy`, which is where the loss is read.
    """

    def __init__(self, index: int) -> None:
        super().__init__(import_cupy(), f"cuda:{index}")
        self.index = index
        # Of the label checks since the host last read something: (first wrong row or -1, its label, classes, ignored)
        self._label_checks: list[tuple[Any, Any, int, int | None]] = []

    def asarray(self, values: Any, dtype: Any = None) -> Any:
        with self.scope():
            return self.xp.asarray(values, dtype=dtype)

    def scope(self) -> Any:
        return self.xp.cuda.Device(self.index)  # kernels run there; a GPU gives no warnings

    def to_numpy(self, array: Any) -> Any:
        self._raise_label_errors()
        return self.xp.asnumpy(array)

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
        with self.scope():
            self.xp.cuda.get_current_stream().synchronize()

    def memory_used(self) -> int | None:
        with self.scope():
            return int(self.xp.get_default_memory_pool().used_bytes())

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
            row = int(np.asarray(flag.get()))
            if row >= 0:
                raise label_error(int(label.get()), row, classes, ignore_index)
