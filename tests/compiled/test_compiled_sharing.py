"""Kernels that several threads share: every piece is done once, whoever comes, sleeps or fails."""

from __future__ import annotations

import _thread
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.cpu import blas, threads
from backends.cpu.compiled import sharing

pytest.importorskip("numba")
import sharing_work as work

TESTS = Path(__file__).parents[1]
needs_helpers = pytest.mark.skipif(
    not blas.is_there(), reason="no thread helps where OpenBLAS cannot be told its threads"
)
CORES = [1, 2, 4]  # more than there may be


@pytest.fixture
def crew_of(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], Any]]:
    """Makes a crew of so many threads, which end with the test."""
    made = []
    monkeypatch.setenv("GPUNN_COMPILED", "1")

    def make(cores: int) -> Any:
        monkeypatch.setenv("GPUNN_NUM_THREADS", str(cores))
        threads._forget_crew()
        made.append(threads.gather_crew())
        return made[-1]

    yield make
    threads._forget_crew()
    for crew in made:
        threads._dismiss(crew.jobs, crew.board, crew.helpers)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No helper falls asleep, as it might on a busy machine."""
    monkeypatch.setattr(threads, "PATIENCE", 1 << 60)


def comes(wanted: Callable[[], Any]) -> bool:
    """Whether something happens at all."""
    for _ in range(6000):
        if wanted():
            return True
        time.sleep(0.01)
    return False


def wake_all(crew: Any) -> None:
    """One may take what was to wake another; the next kernel wakes that."""

    def call() -> bool:
        doubled(numbers(5))
        return bool(crew.board[sharing.LISTENING] == crew.helpers)

    assert comes(call)


def numbers(count: int) -> Any:
    return np.random.default_rng(count).standard_normal(count)


def doubled(x: Any) -> Any:
    out = np.zeros_like(x)
    threads.together(work.double, x, out)
    return out


def mirrored(x: Any) -> Any:
    between, out = np.zeros_like(x), np.zeros_like(x)
    threads.together(work.mirror, x, between, out)
    return out


def assert_at_rest(crew: Any) -> None:
    """The board is as before the first kernel, and it can be used."""
    words = {name: int(crew.board[getattr(sharing, name)]) for name in ("JOB", "LED", "INSIDE", "FAILED")}
    assert words == dict.fromkeys(words, 0)
    assert not crew.board[sharing.COUNTERS : sharing.ARGUMENTS].any()
    assert not crew.lock.locked()
    x = numbers(50)
    np.testing.assert_array_equal(mirrored(x), 2 * x + 2 * x[::-1])


@pytest.mark.parametrize("cores", CORES)
@pytest.mark.parametrize("pieces", [0, 1, 2, 3, 64, 5000])
def test_every_piece_is_done(crew_of: Any, cores: int, pieces: int) -> None:
    crew = crew_of(cores)
    x = numbers(pieces)
    for _ in range(20):
        np.testing.assert_array_equal(doubled(x), 2 * x)
        np.testing.assert_array_equal(mirrored(x), 2 * x + 2 * x[::-1])
    assert_at_rest(crew)


@pytest.mark.parametrize(("cores", "calls"), [(1, 2000), (2, 40000), (4, 5000)])
def test_many_small_calls(crew_of: Any, cores: int, calls: int) -> None:
    """Each call has other numbers, so that a piece which is done late, twice or never is seen."""
    crew = crew_of(cores)
    x, between, out = np.zeros(7), np.zeros(7), np.zeros(7)
    ramp = np.arange(7.0)
    for call in range(calls):
        x[:] = ramp + call
        threads.together(work.double, x, out)
        assert out.tolist() == (2 * x).tolist()
        threads.together(work.mirror, x, between, out)
        assert out.tolist() == [4.0 * call + 12] * 7
    assert_at_rest(crew)


@needs_helpers
@pytest.mark.parametrize("cores", CORES)
@pytest.mark.usefixtures("patient")
def test_all_threads_come_and_have_the_same_arguments(crew_of: Any, cores: int) -> None:
    crew = crew_of(cores)
    wake_all(crew)
    table, small = np.arange(6, dtype=np.float32).reshape(2, 3), np.arange(7, dtype=np.uint8)
    small.flags.writeable = False
    for call in range(50):
        present, led = np.zeros(1, np.int64), np.zeros(cores, bool)
        words = np.zeros((cores, 8))
        arguments = (True, 1 << 40, 0.125 + call, (3, 4), table, small, np.empty((0, 9, 0, 0), np.float32))
        threads.together(work.gather, present, led, words, *arguments)
        assert present[0] == cores
        assert led.sum() == 1
        assert words.tolist() == [[1, 1 << 40, 0.125 + call, 3, 4, 5, 6, 9]] * cores
    assert_at_rest(crew)


@needs_helpers
def test_who_sleeps_is_woken(crew_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    crew = crew_of(4)
    for _ in range(10):
        monkeypatch.setattr(threads, "PATIENCE", 1)
        crew.call([])  # who waits without end sees no change of PATIENCE before that
        assert comes(lambda: crew.board[sharing.LISTENING] == 0)
        time.sleep(0.01)  # after the last look at the board
        monkeypatch.setattr(threads, "PATIENCE", 1 << 60)
        wake_all(crew)
        present, out = np.zeros(1, np.int64), np.zeros(10)
        threads.together(work.stumble, work.NOBODY, present, 4, out)
        assert present[0] == 4
        assert out.tolist() == [1] * 10
    assert_at_rest(crew)


def test_sleepers_are_not_called_twice(crew_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many kernels run before a helper gets the core to wake up."""
    crew = crew_of(1)
    monkeypatch.setattr(crew, "helpers", 3)  # who never come
    for _ in range(100):
        doubled(numbers(4))
    assert crew.jobs.qsize() == 3
    monkeypatch.setattr(crew, "helpers", 0)


@needs_helpers
@pytest.mark.parametrize("cores", [2, 4])
@pytest.mark.parametrize(
    ("failing", "error"),
    [(work.BEFORE, ValueError), (work.LEADER, ValueError), (work.HELPER, MemoryError), (work.MEMORY, MemoryError)],
    ids=["before it is shared", "the leader", "the helpers", "memory"],
)
@pytest.mark.usefixtures("patient")
def test_a_thread_that_fails(crew_of: Any, cores: int, failing: int, error: type[Exception]) -> None:
    crew = crew_of(cores)
    wake_all(crew)
    for _ in range(50):
        with pytest.raises(error):
            threads.together(work.stumble, failing, np.zeros(1, np.int64), cores, np.zeros(cores + 3))
        assert_at_rest(crew)
    with pytest.raises(TypeError, match="arguments"):
        threads.together(work.stumble, failing)
    assert_at_rest(crew)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_a_kernel_that_is_not_left(crew_of: Any, error: type[BaseException]) -> None:
    crew = crew_of(2)

    def interrupted(board: Any) -> None:
        work.stay(board)
        raise error

    with pytest.raises(error):
        threads.together(interrupted)  # type: ignore[arg-type]
    assert_at_rest(crew)


def test_interrupted_by_the_user(crew_of: Any) -> None:
    crew_of(2)
    x, out = numbers(20), np.zeros(20)
    for turn in range(20):
        begun = threading.Event()

        def interrupt(begun: threading.Event = begun) -> None:
            begun.wait()
            _thread.interrupt_main()

        user = threading.Thread(target=interrupt)
        user.start()
        with pytest.raises(KeyboardInterrupt):
            begun.set()
            while True:
                threads.together(work.double, x, out)
        user.join()
        np.testing.assert_array_equal(mirrored(x + turn), 2 * (x + turn) + 2 * (x + turn)[::-1])


@pytest.mark.parametrize("cores", CORES)
def test_mixed_with_pieces_by_python(crew_of: Any, cores: int) -> None:
    """A piece that shares a kernel does it alone."""
    crew = crew_of(cores)
    x = numbers(30)
    for _ in range(200):
        assert threads.for_each(lambda i: float(mirrored(x + i)[i]), range(5)) == [
            2 * (x[i] + i) + 2 * (x[-1 - i] + i) for i in range(5)
        ]
        np.testing.assert_array_equal(mirrored(x), 2 * x + 2 * x[::-1])
        assert threads.one_core(lambda: doubled(x).tolist()) == (2 * x).tolist()
    assert_at_rest(crew)


def test_several_threads_of_the_user(crew_of: Any) -> None:
    crew = crew_of(2)
    wrong: list[int] = []

    def compute(user: int) -> None:
        x = numbers(40 + user)
        for call in range(500):
            if not np.array_equal(mirrored(x + call), 2 * (x + call) + 2 * (x + call)[::-1]):
                wrong.append(call)
            if threads.for_each(lambda i: i + user, range(3)) != [user, user + 1, user + 2]:
                wrong.append(call)

    users = [threading.Thread(target=compute, args=(user,)) for user in range(3)]
    for user in users:
        user.start()
    for user in users:
        user.join()
    assert wrong == []
    assert_at_rest(crew)


@needs_helpers
@pytest.mark.usefixtures("patient")
def test_helpers_end_with_their_crew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those that wait in compiled code."""
    monkeypatch.setenv("GPUNN_COMPILED", "1")
    monkeypatch.setenv("GPUNN_NUM_THREADS", "4")
    threads._forget_crew()
    others = set(threading.enumerate())
    wake_all(threads.gather_crew())
    helpers = set(threading.enumerate()) - others
    assert len(helpers) == 3
    threads._forget_crew()
    for helper in helpers:
        helper.join(60)
        assert not helper.is_alive()


def test_without_kernels_nobody_waits_in_one(crew_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUNN_COMPILED", "0")
    crew = crew_of(3)
    assert threads.for_each(lambda i: i * i, range(9)) == [i * i for i in range(9)]
    assert not crew.ready.is_set()


def test_a_kernel_by_itself_is_called_with_a_board_of_its_own() -> None:
    x, out = numbers(9), np.zeros(9)
    board = sharing.new_board()
    assert board.ctypes.data % 64 == 0
    assert not board.any()
    for _ in range(3):
        work.double(x, out, board)
        np.testing.assert_array_equal(out, 2 * x)


def test_other_threads_hold_no_reference_to_an_array() -> None:
    """Numba's counter of references is gone when the leader has failed, though the array is not."""
    x, out, board = numbers(9), np.zeros(9), sharing.new_board()
    work.double(x, out, board)
    words = board[
        sharing.ARGUMENTS :
    ].tolist()  # counter, Python's object, elements, bytes of one, address, shape, strides
    assert words[:7] == [0, 0, 9, 8, x.ctypes.data, 9, 8]
    assert words[7:14] == [0, 0, 9, 8, out.ctypes.data, 9, 8]


PROLOGUE = """
import os, sys, threading
import numpy as np
import sharing_work as work
from backends.cpu import threads

def check():
    x, out = np.arange(40.0), np.zeros(40)
    for _ in range(20):
        out[:] = 0
        threads.together(work.double, x, out)
        assert out.tolist() == (2 * x).tolist()
    assert threads.for_each(lambda i: i * i, range(9)) == [i * i for i in range(9)]
"""
ENDS = """
check()
print("done")
"""
ENDS_BY_AN_ERROR = """
check()
threads.together(work.stumble, work.LEADER, np.zeros(1, np.int64), 1, np.zeros(9))
"""
FORKS = """
import time
check()
parent = threads.gather_crew()
at_work = True

def keep_busy():
    while at_work:
        check()

busy = threading.Thread(target=keep_busy)
for number in range(12):
    if number == 6:
        busy.start()  # from here on helpers may be within a kernel
    child = os.fork()
    if child == 0:
        try:
            check()
            assert threads.gather_crew() is not parent and threads.gather_crew().helpers == parent.helpers
        except BaseException as error:
            print(repr(error), flush=True)
            os._exit(1)
        os._exit(0)
    for _ in range(6000):
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        time.sleep(0.01)
    else:
        os.kill(child, 9)
        os.waitpid(child, 0)
        status = "hangs"
    assert status == 0, (number, status)
at_work = False
busy.join()
check()
assert threads.gather_crew() is parent
print("done")
"""
NOT_USED = """
import time
import backends
backends.get("cpu")
time.sleep(0.1)
print("numba" in sys.modules, threads.gather_crew().ready.is_set())
"""


def run(program: str, cores: int = 4) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    environment = {**os.environ, "PYTHONPATH": paths, "GPUNN_NUM_THREADS": str(cores), "GPUNN_COMPILED": "1"}
    command = [sys.executable, "-c", PROLOGUE + program]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize("cores", [2, 4])
def test_a_process_ends_while_helpers_wait(cores: int) -> None:
    for _ in range(2):
        ended = run(ENDS, cores)
        assert (ended.returncode, ended.stdout) == (0, "done\n"), ended.stderr
    failed = run(ENDS_BY_AN_ERROR, cores)
    assert failed.returncode == 1
    assert failed.stderr.rstrip().endswith("ValueError: with a piece in its hands")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_has_helpers_of_its_own() -> None:
    ended = run(FORKS)
    assert (ended.returncode, ended.stdout) == (0, "done\n"), ended.stdout + ended.stderr


def test_a_device_alone_compiles_nothing() -> None:
    """Helpers do not do so by themselves: a program that only opens the device would wait for Numba."""
    assert run(NOT_USED).stdout == "False False\n"
