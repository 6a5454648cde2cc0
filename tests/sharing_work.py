"""Kernels that several threads share, for the tests of sharing; in a module, by whose text compiled code is kept."""

from __future__ import annotations

from typing import Any

import numpy as np

from backends.cpu.compiled import compiled
from backends.cpu.compiled.sharing import add, done, leave, pause, read_now, share, take, wait

NOBODY, BEFORE, LEADER, HELPER, MEMORY = range(5)  # who fails
TURNS = 20_000_000  # seconds: only a thread that never comes takes so long


@compiled
def double(x: Any, out: Any, board: Any) -> None:
    """A piece an element."""
    leads = share(board)
    i = take(board, 0)
    while i < len(out):
        out[i] = 2 * x[i]
        i = take(board, 0)
    leave(board, leads)


@compiled
def mirror(x: Any, between: Any, out: Any, board: Any) -> None:
    """out[i] = 2 x[i] + 2 x[-1 - i], whose second phase needs what other threads made in the first."""
    leads = share(board)
    i = take(board, 0)
    while i < len(x):
        between[i] = 2 * x[i]
        done(board, 0)
        i = take(board, 0)
    wait(board, 0, len(x))
    i = take(board, 1)
    while i < len(x):
        out[i] = between[i] + between[len(x) - 1 - i]
        i = take(board, 1)
    leave(board, leads)


@compiled
def meet(present: Any, wanted: int) -> None:
    """Wait for so many threads."""
    place, turns = present.ctypes.data, 0
    add(place, 1)
    while read_now(place) < wanted and turns < TURNS:
        pause(turns)
        turns += 1


@compiled
def gather(
    present: Any, led: Any, words: Any, yes: bool, number: int, factor: float, pair: Any, table: Any, small: Any,
    nothing: Any, board: Any,
) -> None:  # fmt: skip
    """Each thread gets one piece, if as many come as there are pieces; its line of ``words`` tells what arguments it had."""
    leads = share(board)
    i = take(board, 0)
    meet(present, len(led))
    while i < len(led):
        led[i] = leads
        words[i, 0] = yes
        words[i, 1] = number
        words[i, 2] = factor
        words[i, 3], words[i, 4] = pair
        words[i, 5] = table[1, 2]
        words[i, 6] = small[-1]
        words[i, 7] = nothing.size + nothing.shape[1]
        i = take(board, 0)
    leave(board, leads)


@compiled
def stumble(failing: int, present: Any, wanted: int, out: Any, board: Any) -> None:
    """All that come hold a piece; then one kind of thread fails, and the others wait for its piece."""
    if failing == BEFORE:
        raise ValueError("before it is shared")
    leads = share(board)
    i = take(board, 0)
    meet(present, wanted)
    if (leads and failing == LEADER) or (not leads and failing == HELPER):
        raise ValueError("with a piece in its hands")
    if leads and failing == MEMORY:
        out[0] = np.empty(1 << 50, np.float64)[0]
    while i < len(out):
        out[i] += 1
        done(board, 0)
        i = take(board, 0)
    wait(board, 0, len(out))
    leave(board, leads)


@compiled
def stay(board: Any) -> None:
    """A kernel that is shared and never left."""
    share(board)
    take(board, 0)
