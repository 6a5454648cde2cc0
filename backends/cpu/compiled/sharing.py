"""How several threads share the pieces of one kernel: each takes the next number from a counter in memory, without a lock.

A kernel that is called in several threads at once with the same ``counters``, zeros (phases, 2), does each piece of each
phase once, and returns when all are done:

    piece = take(counters, phase)
    while piece < count:
        ...
        done(counters, phase)
        piece = take(counters, phase)
    wait(counters, phase, count)
"""

from __future__ import annotations

import sys
from typing import Any

from .compiler import Intrinsic, compiled

PATIENCE = 1000  # turns of waiting before another thread gets the core


def _add(typing: Any, address: Any) -> Any:
    """Add 1 to the integer at ``address``, at once for all threads; the value before."""
    from llvmlite import ir
    from numba import types

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = builder.inttoptr(arguments[0], ir.IntType(64).as_pointer())
        return builder.atomic_rmw("add", place, ir.IntType(64)(1), "seq_cst")

    return types.int64(types.int64), generate


def _read(typing: Any, address: Any) -> Any:
    """The integer at ``address``, and with it all that was written before it was."""
    from llvmlite import ir
    from numba import types

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load_atomic(builder.inttoptr(arguments[0], ir.IntType(64).as_pointer()), "seq_cst", 8)

    return types.int64(types.int64), generate


def _yield(typing: Any) -> Any:
    """Let another thread have this core: perhaps it is the one that is waited for."""
    from llvmlite import ir
    from numba import types

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if sys.platform != "win32":
            name = "sched_yield"
            known = builder.module.globals.get(name)
            builder.call(known or ir.Function(builder.module, ir.FunctionType(ir.IntType(32), []), name), [])
        return context.get_dummy_value()

    return types.void(), generate


add_one, read_now, give_way = (Intrinsic(define, __name__) for define in (_add, _read, _yield))


@compiled
def take(counters: Any, phase: int) -> int:
    """The number of a piece that nobody has taken before."""
    return add_one(counters[phase].ctypes.data)


@compiled
def done(counters: Any, phase: int) -> None:
    add_one(counters[phase, 1:].ctypes.data)


@compiled
def wait(counters: Any, phase: int, count: int) -> None:
    """Until all pieces are done: no longer than another thread takes for one."""
    turns = 0
    while read_now(counters[phase, 1:].ctypes.data) < count:
        turns += 1
        if turns > PATIENCE:
            give_way()
