"""Ctrl-C and SIGTERM in training: finish the step, save, then stop."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any, Self


class TrainingInterrupted(KeyboardInterrupt):
    """Training was stopped by the user. ``checkpoint`` is the file it can go on from (None without a run directory).

    ``epoch``: how many are done. ``step``: steps done of the next one.
    """

    def __init__(self, checkpoint: Path | None, epoch: int, step: int) -> None:
        where = f"saved in {checkpoint}" if checkpoint else "not saved: the trainer has no run directory"
        when = f"in epoch {epoch + 1} after step {step}" if step else f"after epoch {epoch}"
        super().__init__(f"training stopped {when}; {where}")
        self.checkpoint = checkpoint
        self.epoch = epoch
        self.step = step


class StopRequest:
    """A context in which the first SIGINT or SIGTERM only sets ``requested``; the second acts as it always did.

    Outside the main thread Python allows no signal handlers: there the context does nothing.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in self.SIGNALS:
                # Ignored, as in a background job, or set by other than Python: it stays as it is.
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        self._restore()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        self._restore()
        # Not print: the handler may run in the middle of a write to the buffered stream.
        os.write(2, b"\ngpunn: stopping after this step; once more to stop at once\n")

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
