"""How a label out of range, which only the device can see, becomes an error on the host."""

from __future__ import annotations

from typing import Any

from ..backend import label_error
from .runtime import Runtime

FIELDS = 5  # row, label, classes, whether a label is ignored, which: as in kernels/labels.cuh
NOTHING = -1


class LabelFlag:
    """The note that kernels leave on the device about the first wrong label: one for each backend, at one place for ever.

    Launching a check never waits for the device, and needs no new memory, so that a captured step can do it. The note is
    read where the host reads something anyway, and only if a check was launched since.

    Attributes:
        pending: whether a check was launched since the note was last read. Who runs a captured step sets it.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.pending = False
        self._note: Any = None

    def allocate(self) -> Any:
        """The note: int64, (5,). Made when it is first asked for, which must not be while a step is captured."""
        if self._note is None:
            with self.runtime.scope():
                self._note = self.runtime.xp.full((FIELDS,), NOTHING, dtype="int64")
        return self._note

    def for_a_check(self) -> Any:
        """The note, for a kernel that checks labels and is launched now."""
        self.pending = True
        return self.allocate()

    def raise_error(self) -> None:
        """LabelError for the first wrong label since the last call, if there was one. Waits for the device."""
        if not self.pending:
            return
        self.pending = False
        row, label, classes, ignoring, ignore_index = (int(v) for v in self.runtime.to_numpy(self._note))
        if row == NOTHING:
            return
        with self.runtime.scope():
            self._note.fill(NOTHING)
        raise label_error(label, row, classes, ignore_index if ignoring else None)
