"""One call of a kernel that several threads work on, without Python's lock: its pieces are taken from counters in memory.

A kernel that is shared has a ``board`` as its last argument, and this form:

    leads = share(board)
    piece = take(board, 0)
    while piece < count:
        ...
        piece = take(board, 0)
    leave(board, leads)

A second phase that needs all of the first has counters of its own: `done` counts the first's pieces, `wait` waits for them.

`share` writes the kernel's own address and arguments to the board, where threads that `serve` it find them and call the
kernel as well, within a microsecond. Each does what it gets; who comes late gets nothing. `leave` returns when all others have
left. A board that nobody serves is that of a kernel which one thread works on alone. Who calls a kernel keeps its arrays
until the kernel has been left: the others hold no reference to them. A kernel that fails before it has left is abandoned.

The board is an array of int64, with a line of the cache for each word that several threads use.
"""

from __future__ import annotations

import platform
import sys
import time
from typing import Any

import numpy as np

from .compiler import Intrinsic, compiled

LINE = 8  # words
# Where the lines begin. JOB: the number of the open job, else 0. CALLS: how often Python has asked for the helpers.
JOB, FUNCTION, LED, INSIDE, LISTENING, CALLS, FAILED, LAST, COUNTERS = range(0, 9 * LINE, LINE)
PHASES = 3
ARGUMENTS = COUNTERS + 2 * LINE * PHASES
MOST_ARGUMENTS = 512  # words: an array has 5 and 2 a dimension
SIZE = ARGUMENTS + MOST_ARGUMENTS

FOREVER = 1 << 60
TURNS = 1000  # of waiting before another thread gets the core
HANDOVER = 300  # turns in which a thread that has rung puts away Python's lock


def new_board() -> Any:
    """For a kernel that one thread calls alone, or for all that a crew will share."""
    room = np.zeros(SIZE + LINE, np.int64)
    start = -room.ctypes.data % (8 * LINE) // 8
    return room[start : start + SIZE]


def abandon(board: Any) -> None:
    """What `leave` does, for a kernel that failed before it came to that: by Python alone, since memory may be short."""
    board[FAILED] = 1  # nobody waits for pieces that are not done
    board[JOB] = 0
    time.sleep(0)  # lets another thread run, hence all see that the job is gone before INSIDE is read
    while board[INSIDE] != 0:
        time.sleep(0)
    board[COUNTERS:ARGUMENTS] = 0
    board[LED] = board[FAILED] = 0


def _place(builder: Any, address: Any) -> Any:
    from llvmlite import ir

    return builder.inttoptr(address, ir.IntType(64).as_pointer())


def _add(typing: Any, address: Any, amount: Any) -> Any:
    """Add to the integer at ``address``, at once for all threads; the value before."""
    from numba import types

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.atomic_rmw("add", _place(builder, arguments[0]), arguments[1], "seq_cst")

    return types.int64(types.int64, types.int64), generate


def _read(typing: Any, address: Any) -> Any:
    """The integer at ``address``, and with it all that was written before it was."""
    from numba import types

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load_atomic(_place(builder, arguments[0]), "seq_cst", 8)

    return types.int64(types.int64), generate


def _write(typing: Any, address: Any, value: Any) -> Any:
    """Set the integer at ``address``, after all that was written before."""
    from numba import types

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store_atomic(arguments[1], _place(builder, arguments[0]), "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


def _rest(typing: Any) -> Any:
    """Some tens of cycles in which this core leaves the other thread of its own alone."""
    from llvmlite import ir
    from numba import types

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if platform.machine() in ("x86_64", "AMD64"):
            _call(builder, "llvm.x86.sse2.pause", ir.VoidType())
        return context.get_dummy_value()

    return types.void(), generate


def _yield(typing: Any) -> Any:
    """Let another thread have this core: perhaps it is the one that is waited for."""
    from llvmlite import ir
    from numba import types

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if sys.platform != "win32":
            _call(builder, "sched_yield", ir.IntType(32))
        return context.get_dummy_value()

    return types.void(), generate


def _call(builder: Any, name: str, kind: Any) -> None:
    """Call a function of the code generator's or of the C library, without arguments."""
    from llvmlite import ir

    known = builder.module.globals.get(name)
    builder.call(known or ir.Function(builder.module, ir.FunctionType(kind, []), name), [])


def _share(typing: Any, board: Any) -> Any:
    """Whether this thread is the first that calls the kernel with the board; if so, all that serve it are let in.

    What they need is written to the board: the arguments of the very kernel in which this stands, and where the code is
    that calls it with them.
    """
    from llvmlite import ir
    from numba import types

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kernel, word = builder.function, ir.IntType(64)
        given = kernel.args[2:]  # behind the places of a result and of an error
        kind = ir.LiteralStructType([argument.type for argument in given])
        words = context.get_abi_sizeof(kind) // 8
        if words > MOST_ARGUMENTS:
            raise ValueError(f"a shared kernel takes arguments of at most {MOST_ARGUMENTS} words, these are {words}")
        again = _calling_again(kernel, kind)
        board = context.make_helper(builder, signature.args[0], arguments[0]).data

        def at(line: int) -> Any:
            return builder.gep(board, [word(line)])

        leads = builder.icmp_signed("==", builder.atomic_rmw("add", at(LED), word(1), "seq_cst"), word(0))
        with builder.if_then(leads):
            places = builder.bitcast(at(ARGUMENTS), kind.as_pointer())
            for i, argument in enumerate(_unowned(context, builder, given)):
                builder.store(argument, _field(builder, places, i))
            builder.store(builder.ptrtoint(again, word), at(FUNCTION))
            number = builder.add(builder.load(at(LAST)), word(1))
            builder.store(number, at(LAST))
            builder.store_atomic(number, at(JOB), "seq_cst", 8)
        return leads

    return types.boolean(board), generate


def _unowned(context: Any, builder: Any, given: Any) -> Any:
    """The kernel's arguments; arrays without what counts their references, which is gone once a leader has failed."""
    from numba import types

    kinds = context.fndesc.argtypes
    packer = context.get_arg_packer(kinds)
    values = packer.from_arguments(builder, given)
    for i, kind in enumerate(kinds):
        if isinstance(kind, types.Array):
            array = context.make_helper(builder, kind, values[i])
            array.meminfo, array.parent = array.meminfo.type(None), array.parent.type(None)
            values[i] = array._getvalue()
    return packer.as_arguments(builder, values)


def _calling_again(kernel: Any, kind: Any) -> Any:
    """A function of a board's address that calls ``kernel`` with the arguments which stand there as a structure ``kind``."""
    from llvmlite import ir

    word = ir.IntType(64)
    again = ir.Function(kernel.module, ir.FunctionType(ir.VoidType(), [word.as_pointer()]), f"{kernel.name}.again")
    again.linkage = "internal"
    builder = ir.IRBuilder(again.append_basic_block())
    (board,) = again.args
    places = builder.bitcast(builder.gep(board, [word(ARGUMENTS)]), kind.as_pointer())
    arguments = [builder.load(_field(builder, places, i)) for i in range(len(kind.elements))]
    results = [builder.alloca(argument.type.pointee) for argument in kernel.args[:2]]
    status = builder.call(kernel, [*results, *arguments])
    with builder.if_then(builder.icmp_signed("!=", status, status.type(0))):
        builder.store_atomic(word(1), builder.gep(board, [word(FAILED)]), "seq_cst", 8)
    builder.ret_void()
    return again


def _field(builder: Any, structure: Any, number: int) -> Any:
    from llvmlite import ir

    return builder.gep(structure, [ir.IntType(32)(0), ir.IntType(32)(number)])


def _join(typing: Any, board: Any) -> Any:
    """Call the kernel that is on the board."""
    from llvmlite import ir
    from numba import types

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = ir.IntType(64)
        board = context.make_helper(builder, signature.args[0], arguments[0]).data
        kind = ir.FunctionType(ir.VoidType(), [word.as_pointer()])
        address = builder.load(builder.gep(board, [word(FUNCTION)]))
        builder.call(builder.inttoptr(address, kind.as_pointer()), [board])
        return context.get_dummy_value()

    return types.void(board), generate


add, read_now, write, rest, give_way, share, join = (
    Intrinsic(define, __name__) for define in (_add, _read, _write, _rest, _yield, _share, _join)
)


@compiled
def at(board: Any, line: int) -> int:
    """The address of a line of the board."""
    return board.ctypes.data + 8 * line


@compiled
def take(board: Any, phase: int) -> int:
    """The number of a piece that nobody has taken before."""
    return add(at(board, COUNTERS + 2 * LINE * phase), 1)


@compiled
def done(board: Any, phase: int) -> None:
    add(at(board, COUNTERS + 2 * LINE * phase + LINE), 1)


@compiled
def pause(turns: int) -> None:
    """Between two looks at a word, after so many others."""
    rest()
    if turns > TURNS:
        give_way()


@compiled
def wait(board: Any, phase: int, count: int) -> None:
    """Until all pieces are done, which takes no longer than another thread takes for one; or until a thread has failed.

    In that case what the pieces make is not there: it must not tell where in memory the next phase writes.
    """
    finished, failed, turns = at(board, COUNTERS + 2 * LINE * phase + LINE), at(board, FAILED), 0
    while read_now(finished) < count and read_now(failed) == 0:
        pause(turns)
        turns += 1


@compiled
def wait_for_zero(word: int, most: int) -> None:
    """Until the word at an address is 0, but at most so many turns."""
    turns = 0
    while turns < most and read_now(word) != 0:
        pause(turns)
        turns += 1


@compiled
def leave(board: Any, leads: bool) -> None:
    """Who shared the kernel takes it off the board, waits until the others have left it, and clears the counters."""
    if leads:
        write(at(board, JOB), 0)
        wait_for_zero(at(board, INSIDE), FOREVER)
        for phase in range(PHASES):
            write(at(board, COUNTERS + 2 * LINE * phase), 0)
            write(at(board, COUNTERS + 2 * LINE * phase + LINE), 0)
        write(at(board, LED), 0)


@compiled
def serve(board: Any, heard: int, patience: int) -> None:
    """Take part in what comes on the board, until Python has called not ``heard`` times, or ``patience`` turns were in vain."""
    last, turns = 0, 0
    add(at(board, LISTENING), 1)
    while turns < patience and read_now(at(board, CALLS)) == heard:
        job = read_now(at(board, JOB))
        if job != 0 and job != last:
            add(at(board, INSIDE), 1)
            if read_now(at(board, JOB)) == job:  # else it may have been taken off before this thread was counted
                join(board)
                last, turns = job, 0
            add(at(board, INSIDE), -1)
        pause(turns)
        turns += 1
    add(at(board, LISTENING), -1)
    if turns < patience:
        for _ in range(HANDOVER):
            rest()
