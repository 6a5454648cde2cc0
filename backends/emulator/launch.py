"""The machine's structures, and its reports put into words."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from . import toolchain
from .error import EmulatorError

one_at_a_time = threading.Lock()  # there is one machine


class Index(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint) for name in "xyz"]

    def __str__(self) -> str:
        return f"({self.x},{self.y},{self.z})"


class Memory(ctypes.Structure):
    """`Memory` of machine.h: what a kernel may touch."""

    _fields_ = [
        ("begin", ctypes.c_void_p),
        ("bytes", ctypes.c_size_t),
        ("element", ctypes.c_int),
        ("is_writable", ctypes.c_int),
        ("is_written", ctypes.c_int),
        ("is_shared", ctypes.c_int),
    ]


class Named(NamedTuple):
    """How an error speaks of a `Memory`: "argument x", its elements' length in bytes, and how many there are."""

    name: str
    element: int
    length: int
    unit: str = "element"


class Launch(ctypes.Structure):
    """`Launch` of launch.cpp."""

    _fields_ = [
        ("call", ctypes.c_void_p),
        ("arguments", ctypes.POINTER(ctypes.c_void_p)),
        ("grid", Index),
        ("block", Index),
        ("order", ctypes.c_uint),
        ("is_checked", ctypes.c_int),
        ("memory_count", ctypes.c_int),
        ("memory", ctypes.POINTER(Memory)),
    ]


class Report(ctypes.Structure):
    """`Report` of machine.h."""

    _fields_ = [
        ("problem", ctypes.c_char * 256),
        ("address", ctypes.c_uint64),
        ("other_address", ctypes.c_uint64),
        ("block", Index),
        ("thread", Index),
        ("other_block", Index),
        ("other_thread", Index),
        ("has_thread", ctypes.c_int),
        ("memory", ctypes.c_int),
        ("offset", ctypes.c_int64),
        ("count", ctypes.c_int64),
    ]


class Parameter(ctypes.Structure):
    """`EmulatorParameter` of entry.h."""

    _fields_ = [
        ("type", ctypes.c_char_p),
        ("size", ctypes.c_int),
        ("pointers", ctypes.c_int),
        ("is_const", ctypes.c_int),
    ]


class Entry(ctypes.Structure):
    """`EmulatorKernel` of entry.h."""

    _fields_ = [
        ("call", ctypes.c_void_p),
        ("parameter_count", ctypes.c_int),
        ("most_threads", ctypes.c_int),
        ("parameters", ctypes.POINTER(Parameter)),
    ]


@cache
def machine() -> Any:
    """The loaded machine; kernels' libraries find its functions in it."""
    library = ctypes.CDLL(str(toolchain.machine()))
    library.emulator_launch.argtypes = [ctypes.POINTER(Launch)]
    library.emulator_launch.restype = ctypes.POINTER(Report)
    return library


def run(launch: Launch, kernel: str, library: Path, base: int, memory: Sequence[Named]) -> None:
    """Run a kernel; EmulatorError says what is wrong with it. ``base`` is where its library begins in memory."""
    reported = machine().emulator_launch(ctypes.byref(launch))
    if reported:
        raise EmulatorError(_words(reported.contents, kernel, library, base, memory))


def _words(report: Report, kernel: str, library: Path, base: int, memory: Sequence[Named]) -> str:
    parts = []
    problem = report.problem.decode()
    if report.memory >= 0:
        about = memory[report.memory]
        element, rest = divmod(report.offset, about.element)
        inside = f" (byte {rest} of it)" if rest else ""
        if report.count:
            few = f" ({report.count} of {about.length} elements were not)" if about.length > 1 else ""
            return f"{kernel}: {about.name}: element {element} was never written{few}"
        parts.append(f"{about.name}: {about.unit} {element}{inside} of {about.length}")
    if report.address:
        parts.append(f"at {_place(library, report.address - base)}")
    if report.has_thread:
        parts.append(f"block {report.block} thread {report.thread}")
    if report.other_address:
        place = _place(library, report.other_address - base)
        parts.append(f"the other is block {report.other_block} thread {report.other_thread} at {place}")
    return f"{kernel}: {problem}; {', '.join(parts)}"


def _place(library: Path, return_offset: int) -> str:
    """The line of a call, told by where it returns to, and the lines that had it inlined."""
    found = toolchain.places(library, return_offset - 1)
    if not found:
        return "an unknown line"
    return f"{found[0]} (called from {' < '.join(found[1:])})" if found[1:] else found[0]
