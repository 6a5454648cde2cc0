"""Work on all cores, in pieces that do not depend on how many there are.

NumPy lets other threads run while it computes. A primitive cuts its work into pieces by shape alone, each piece is done
by one thread, and sums over pieces are taken in their order, so its results are the same, bit for bit, on any number of
cores. (What NumPy's own products compute outside of them, as in `matmul` or in a linear layer that no kernel
serves, is OpenBLAS's matter, and may round otherwise.)

Two ways of sharing: `together` calls one compiled kernel that takes its pieces itself, at a cost of microseconds; `for_each`
calls Python for each piece, which pays from a tenth of a millisecond on. For a while after either, the other threads wait
without sleeping for what comes next, since to be woken takes longer than many a primitive.

While pieces run, the OpenBLAS that NumPy brings is told to use one thread for each product; where it cannot be told so,
pieces run one after the other and the products use all cores.
"""

from __future__ import annotations

import functools
import os
import threading
import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from contextvars import copy_context
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

import numpy as np

from . import blas
from .compiled import is_available, sharing
from .compiled.compiler import Kernel

PATIENCE = 4000  # turns without work before a thread sleeps: one or two milliseconds

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
    """The threads of this process that help the one that hands out work, and a lock so that one primitive at a time does so."""

    def __init__(self) -> None:
        self.cores = core_count()
        self.lock = threading.Lock()
        self.jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self.board = sharing.new_board()
        self.ready = threading.Event()  # the code in which helpers wait is compiled
        self.helpers = 0
        if blas.is_there():
            blas.set_threads(self.cores)
            self.helpers = self.cores - 1
        for number in range(self.helpers):
            name = f"gpunn-cpu-{number}"
            threading.Thread(target=_help, args=(self.jobs, self.board, self.ready), name=name, daemon=True).start()
        weakref.finalize(self, _dismiss, self.jobs, self.board, self.helpers).atexit = False

    def prepare(self) -> None:
        """Compile what helpers wait in. They do not do so themselves: this process may fork or end while they are at it."""
        if not self.ready.is_set() and is_available():
            sharing.serve(self.board, 0, 0)
            self.ready.set()

    def call(self, jobs: Iterable[Callable[[], None]]) -> None:
        """Let a helper do each job; those that wait without sleeping begin at once."""
        self.prepare()
        for job in jobs:
            self.jobs.put(job)
        self.board[sharing.CALLS] += 1

    def wake(self) -> None:
        """The helpers that sleep, so that they see what comes on the board."""
        self.prepare()
        for _ in range(self.helpers - int(self.board[sharing.LISTENING]) - self.jobs.qsize()):
            self.jobs.put(_nothing)


def _nothing() -> None:
    pass


def _help(jobs: SimpleQueue[Callable[[], None] | None], board: Any, ready: threading.Event) -> None:
    while True:
        called = int(board[sharing.CALLS])  # before the look at the jobs: none that comes after it is missed
        job: Callable[[], None] | None = _nothing
        with suppress(Empty):
            while job is _nothing:
                job = jobs.get_nowait()
        while job is _nothing and called == board[sharing.CALLS]:
            if ready.is_set() and is_available():
                sharing.serve(board, called, PATIENCE)
            if called == board[sharing.CALLS]:
                job = jobs.get()  # asleep; who is woken serves at once, and leaves to the others what is to wake them
        if job is None:
            return
        with suppress(Exception):  # whoever handed out the work meets it as well
            job()
        del job  # what it holds can be large


def _dismiss(jobs: SimpleQueue[Callable[[], None] | None], board: Any, helpers: int) -> None:
    for _ in range(helpers):
        jobs.put(None)
    board[sharing.CALLS] += 1


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


class _Job(Generic[Piece, Result]):
    """Pieces that several threads take, one after the other, until none is left."""

    def __init__(self, work: Callable[[Piece], Result], pieces: list[Piece]) -> None:
        self.work, self.pieces = work, pieces
        self.results: list[Any] = [None] * len(pieces)
        self.errors: dict[int, BaseException] = {}
        self.taken = 0
        self.helping = np.zeros(1, np.int64)
        self.lock = threading.Lock()
        self.alone = threading.Lock()  # locked until the last helper has gone
        self.alone.acquire()

    def take_part(self) -> None:
        while True:
            with self.lock:
                number = self.taken
                self.taken += 1
            if number >= len(self.pieces):
                return
            try:
                self.results[number] = self.work(self.pieces[number])
            except BaseException as error:
                self.errors[number] = error
                if not isinstance(error, Exception):  # Ctrl-C
                    self.stop()

    def stop(self) -> None:
        """Hand out no more pieces."""
        with self.lock:
            self.taken = len(self.pieces)

    def help(self) -> None:
        """What another thread than the one that made the job does; it may come late."""
        with self.lock:
            if self.taken >= len(self.pieces):
                return
            self.helping[0] += 1
        try:
            self.take_part()
        finally:
            with self.lock:
                self.helping[0] -= 1
                if self.helping[0] == 0:
                    self.alone.release()

    def wait_for_helpers(self) -> None:
        self.stop()
        with self.lock:
            left = self.helping[0] > 0
        if left:
            if is_available():  # to be woken takes long
                sharing.wait_for_zero(self.helping.ctypes.data, PATIENCE)
            self.alone.acquire()


def for_each(work: Callable[[Piece], Result], pieces: Iterable[Piece]) -> list[Result]:
    """[work(piece) for piece in pieces], the pieces side by side; the first error is raised when all have ended.

    The calling thread works as well, so that little work is done before another thread has woken up.
    """
    todo = list(pieces)
    crew = gather_crew()
    job = _Job(work, todo) if len(todo) > 1 and crew.helpers > 0 else None
    # A second thread of the user's that comes along meanwhile does its work alone, and so does a single piece.
    if job is None or not crew.lock.acquire(blocking=False):
        return [work(piece) for piece in todo]
    try:
        blas.set_threads(1)
        # Each helper gets a copy of the context, because NumPy keeps its error settings there.
        helpers = min(crew.helpers, len(todo) - 1)
        crew.call(functools.partial(copy_context().run, job.help) for _ in range(helpers))
        job.take_part()
    finally:
        job.wait_for_helpers()  # also after Ctrl-C: nobody may write to an array that its owner took back
        blas.set_threads(crew.cores)
        crew.lock.release()
    if job.errors:
        raise job.errors[min(job.errors)]
    return job.results


def for_each_product(work: Callable[[Piece], Result], pieces: Iterable[Piece]) -> list[Result]:
    """`for_each` for NumPy's products: a single piece takes one core as any other; on several it may be rounded otherwise."""
    todo = list(pieces)
    return [one_core(lambda: work(todo[0]))] if len(todo) == 1 else for_each(work, todo)


def one_core(work: Callable[[], Result]) -> Result:
    """work(), whose products take one thread each: what OpenBLAS computes may depend on their number."""
    crew = gather_crew()
    if crew.helpers == 0 or not crew.lock.acquire(blocking=False):
        return work()
    try:
        blas.set_threads(1)
        return work()
    finally:
        blas.set_threads(crew.cores)
        crew.lock.release()


def together(kernel: Kernel, *arguments: Any) -> None:
    """``kernel(*arguments, board)`` in all threads at once: a kernel that shares itself out (see compiled/sharing.py)."""
    crew = gather_crew()
    if crew.helpers == 0 or not crew.lock.acquire(blocking=False):
        kernel(*arguments, sharing.new_board())
        return
    board = crew.board
    try:
        if board[sharing.LISTENING] < crew.helpers:
            crew.wake()
        kernel(*arguments, board)
        if board[sharing.FAILED]:
            raise MemoryError("a thread had no memory for its part of a kernel's work")
    except BaseException:
        sharing.abandon(board)  # if this is interrupted as well, the lock is kept: nobody shares the board any more
        crew.lock.release()
        raise
    crew.lock.release()


def slices(length: int, step: int) -> list[slice]:
    """0..length in pieces of ``step``, at least 1."""
    step = max(1, step)
    return [slice(first, min(first + step, length)) for first in range(0, length, step)]
