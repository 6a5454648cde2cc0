"""Work on all cores, in pieces that do not depend on how many there are.

NumPy lets other threads run while it computes. A primitive cuts its work into pieces by shape alone, each piece is done
by one thread, and sums over pieces are taken in their order, so its results are the same, bit for bit, on any number of
cores. (A single matrix product, as in a linear layer, is OpenBLAS's own matter, and may round otherwise.)

While pieces run, the OpenBLAS that NumPy brings is told to use one thread for each product; where it cannot be told so,
pieces run one after the other and the products use all cores.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from pathlib import Path
from typing import Any, TypeVar

from . import blas

Piece = TypeVar("Piece")
Result = TypeVar("Result")


def core_count() -> int:
    """GPUNN_NUM_THREADS, else OPENBLAS_NUM_THREADS or OMP_NUM_THREADS, else the cores that this process may use.

    These are the cores of its affinity, bounded by the quota of its control group.
    """
    for name in ("GPUNN_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        asked = os.environ.get(name, "")
        if asked.isdecimal() and int(asked) > 0:
            return int(asked)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(cores, -(-int(quota) // int(period))))
    except (OSError, ValueError):  # no such file, or "max": no quota
        return cores


class _Crew:
    """The threads of this process, and a lock so that one primitive at a time hands out pieces."""

    def __init__(self) -> None:
        self.cores = core_count()
        self.lock = threading.Lock()
        self.pool = None
        if blas.is_there():
            blas.set_threads(self.cores)
            self.pool = ThreadPoolExecutor(self.cores - 1, "gpunn-cpu") if self.cores > 1 else None


_crew: _Crew | None = None


def _forget_crew() -> None:
    global _crew
    _crew = None  # a forked child has the object but none of its threads


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_crew)


def gather_crew() -> _Crew:
    """The threads of this process; OpenBLAS is told their number when they are first asked for."""
    global _crew
    if _crew is None:
        _crew = _Crew()
    return _crew


def for_each(work: Callable[[Piece], Result], pieces: Iterable[Piece]) -> list[Result]:
    """[work(piece) for piece in pieces], the pieces side by side; the first error is raised when all have ended."""
    todo = list(pieces)
    crew = gather_crew()
    # A second thread of the user's that comes along meanwhile does its work alone, and so does a single piece.
    if len(todo) < 2 or crew.pool is None or not crew.lock.acquire(blocking=False):
        return [work(piece) for piece in todo]
    waiting = deque(range(len(todo)))
    results: list[Any] = [None] * len(todo)
    errors: dict[int, BaseException] = {}

    def take() -> None:
        """One piece after the other, as long as there are any: whoever is free does the next."""
        while True:
            try:
                number = waiting.popleft()
            except IndexError:
                return
            try:
                results[number] = work(todo[number])
            except BaseException as error:
                errors[number] = error
                if not isinstance(error, Exception):
                    waiting.clear()  # Ctrl-C

    helpers: list[Future[None]] = []
    try:
        blas.set_threads(1)
        # Each helper gets a copy of the context, because NumPy keeps its error settings there.
        helpers += [crew.pool.submit(copy_context().run, take) for _ in range(min(crew.cores, len(todo)) - 1)]
        take()
    finally:
        waiting.clear()
        wait(helpers)  # also after Ctrl-C: nobody may write to an array that its owner took back
        blas.set_threads(crew.cores)
        crew.lock.release()
    if errors:
        raise errors[min(errors)]
    return results


def slices(length: int, step: int) -> list[slice]:
    """0..length in pieces of ``step``, at least 1."""
    step = max(1, step)
    return [slice(first, min(first + step, length)) for first in range(0, length, step)]
