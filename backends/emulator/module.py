"""CUDA C on this machine's processor, with the calling convention of cupy.RawModule and cupy.RawKernel over NumPy arrays.

    module = Module(text, "scale.cu", options=("-DFACTOR=3",))
    module.get_function("scale")((blocks,), (256,), (x, out, np.int32(n)), shared_mem=0)

In checked mode each of these is an EmulatorError that names kernel, line, block, thread, argument and element: accesses outside
of an array or misaligned, races within a block and between blocks, reading what nobody has written (shared memory; outputs,
see memory.py), outputs that were not wholly written, barriers and warp operations that not all threads reach, shuffles from
lanes that take no part, writing through a pointer to const, signed overflow, shifts too far, division by zero.
In fast mode (``checked=False``) only barriers and warp operations are watched, and crashes are caught: a wrong access may as
well go unnoticed, and destroy the process's memory.

Not modelled: fences and flags between blocks (blocks run one after another, and what one writes no other may read in the same
launch), the weakness of the GPU's memory, textures, streams, and CUDA's own rounding of exp and its like. A kernel that never
ends is waited for.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from . import memory, toolchain
from .error import EmulatorError
from .launch import Entry, Index, Launch, Memory, Named, machine, one_at_a_time, run
from .source import KernelText, kernels, translation_unit

MOST_THREADS, MOST_THREADS_Z = 1024, 64
MOST_BLOCKS = (2**31 - 1, 2**16 - 1, 2**16 - 1)
MOST_SHARED = 48 << 10  # bytes of dynamic shared memory that a launch gets without further ado
OWN_SYMBOLS = re.compile("^emulator_|EmulatorEntry|^__|^_DYNAMIC|^_GLOBAL_OFFSET_TABLE_|^completed")  # and the linker's
INTEGERS = "iub"  # kinds of dtypes that may stand for each other behind a pointer, if they have one size


class Module:
    """Compiled CUDA C.

    Arguments:
        source: the text. Its kernels are ``extern "C" __global__``.
        name: the file's, for messages.
        options: ``-DNAME=value`` and ``-UNAME`` count; other options of NVRTC are ignored.
        include_folders: where ``#include "x.cuh"`` looks.
        checked: watch what the kernels do (see above), ten to a hundred times slower.
        order: in which order threads and blocks run: 0 ascending, 1 descending, else at random with this seed.
            May be set between launches.
    """

    def __init__(
        self,
        source: str,
        name: str,
        options: Sequence[str] = (),
        include_folders: Sequence[str | Path] = (),
        checked: bool = True,
        order: int = 0,
    ) -> None:
        self.source, self.name = source, name
        self.checked, self.order = checked, order
        self.options = tuple(option for option in options if option.startswith(("-D", "-U")))
        self.include_folders = tuple(include_folders)
        self._kernels: dict[str, Kernel] = {}
        self._load()

    def get_function(self, name: str) -> Kernel:
        """The kernel of this name."""
        if name not in self._texts:
            raise EmulatorError(f"{self.name} has no kernel {name!r}: it has {', '.join(self._texts) or 'none'}")
        if name not in self._kernels:
            self._kernels[name] = Kernel(self, self._texts[name])
        return self._kernels[name]

    def _load(self) -> None:
        self._texts = kernels(self.source)
        unit = translation_unit(self.source, self.name)
        self.path = toolchain.build(unit, self.name, self.options, self.include_folders, self.checked)
        machine()  # the library looks for it by its name
        self.library = ctypes.CDLL(str(self.path))
        symbols = toolchain.symbols(self.path)
        entries = {symbol.name: symbol.offset for symbol in symbols}
        self.base = 0
        if self._texts:
            anchor = f"emulator_kernel_{next(iter(self._texts))}"
            self.base = ctypes.addressof(Entry.in_dll(self.library, anchor)) - entries[anchor]
        self._variables = [
            (symbol.name, self._variable(symbol)) for symbol in symbols if not OWN_SYMBOLS.search(symbol.name)
        ]

    def variables_of(self, kernel: str) -> list[tuple[Memory, Named]]:
        """The variables that a kernel may touch: all but those that stand in another kernel."""
        others = tuple(f"_ZZ{len(name)}{name}E" for name in self._texts if name != kernel)
        return [variable for name, variable in self._variables if not name.startswith(others)]

    def _variable(self, symbol: toolchain.Symbol) -> tuple[Memory, Named]:
        """A variable of the text, for the checker: one of a function is __shared__, one of the file __device__."""
        address = self.base + symbol.offset
        if symbol.name.startswith("_ZGV"):
            # Whether a __shared__ array of a class, say of __half, was constructed; in CUDA it never is.
            ctypes.memset(address, 1, 1)
            return Memory(address, symbol.size, 1, 0, 1, 0), Named("a guard", 1, symbol.size)
        is_constant = symbol.kind in "rR"
        is_shared = symbol.name.startswith("_ZZ") and not is_constant
        name = f"{'__shared__' if is_shared else 'variable'} {_variable_name(symbol.name)}"
        piece = Memory(address, symbol.size, 1, not is_constant, not is_shared, is_shared)
        return piece, Named(name, 1, symbol.size, "byte")


def _variable_name(mangled: str) -> str:
    """The last name in a mangled one: "tile" of "_ZZ9transposeE4tile", "count" of "_ZL5count"; C's names are as they are."""
    found = mangled
    for length in re.finditer(r"\d+", mangled):
        name = mangled[length.end() : length.end() + int(length[0])]
        if len(name) == int(length[0]) > 0 and name.isidentifier():
            found = name
    return found


class Kernel:
    """A kernel of a module, called as ``kernel(grid, block, arguments, shared_mem=bytes)``."""

    def __init__(self, module: Module, text: KernelText) -> None:
        self.module, self.name = module, text.name
        entry = Entry.in_dll(module.library, f"emulator_kernel_{text.name}")
        self._call, self._most_threads = entry.call, entry.most_threads
        self._variables = module.variables_of(text.name)
        names = text.parameters
        if len(names) != entry.parameter_count:
            names = tuple(str(number) for number in range(entry.parameter_count))
        self.parameters = [_Parameter(text.name, names[i], entry.parameters[i]) for i in range(entry.parameter_count)]

    def __call__(self, grid: tuple[int, ...], block: tuple[int, ...], args: Sequence[Any], shared_mem: int = 0) -> None:
        """Run the kernel; it has ended when this returns.

        ``args`` are NumPy arrays (dense in memory, in any order of axes) and None for pointers, and for values NumPy scalars
        of just the parameter's type; a Python int is an int64, a float a float64, as for CuPy.
        """
        if len(args) != len(self.parameters):
            raise EmulatorError(f"{self.name}: expected {len(self.parameters)} arguments, got {len(args)}")
        grid_index, block_index = self._extent(grid, "grid"), self._extent(block, "block")
        self._check_shape(grid_index, block_index, shared_mem)
        pieces: list[tuple[Memory, Named]] = []
        values, outputs = [], []
        for parameter, argument in zip(self.parameters, args, strict=True):
            values.append(parameter.convert(argument))
            if isinstance(argument, np.ndarray):
                for name, array, is_const in parameter.arrays(argument):
                    unwritten = memory.is_unwritten(array)
                    begin, end = memory.span(array)
                    piece = Memory(begin, end - begin, array.itemsize, not is_const, not unwritten, 0)
                    pieces.append((piece, Named(name, array.itemsize, array.size)))
                    outputs += [array] if not is_const else []
        if shared_mem:
            start = ctypes.addressof(ctypes.c_char.in_dll(machine(), "emulator_dynamic_shared"))
            pieces.append(
                (Memory(start, shared_mem, 1, 1, 0, 1), Named("dynamic shared memory", 1, shared_mem, "byte"))
            )
        pieces += self._variables
        with one_at_a_time:
            self._run(grid_index, block_index, values, pieces)
        for array in outputs:
            memory.mark_written(array)

    def _run(self, grid: Index, block: Index, values: list[Any], pieces: list[tuple[Memory, Named]]) -> None:
        launch = Launch()
        launch.call = self._call
        launch.arguments = (ctypes.c_void_p * max(len(values), 1))(*(ctypes.addressof(value) for value in values))
        launch.grid, launch.block = grid, block
        launch.order, launch.is_checked = self.module.order, self.module.checked
        launch.memory_count = len(pieces)
        launch.memory = (Memory * max(len(pieces), 1))(*(piece for piece, _ in pieces))
        run(launch, self.name, self.module.path, self.module.base, [named for _, named in pieces])

    def _extent(self, extent: Any, what: str) -> Index:
        numbers = tuple(extent) if isinstance(extent, (tuple, list)) else (extent,)
        if not 1 <= len(numbers) <= 3 or not all(isinstance(n, (int, np.integer)) and n >= 1 for n in numbers):
            raise EmulatorError(f"{self.name}: expected {what} to be one to three positive integers, got {extent!r}")
        return Index(*(int(n) for n in (*numbers, 1, 1)[:3]))

    def _check_shape(self, grid: Index, block: Index, shared: int) -> None:
        threads = block.x * block.y * block.z
        if threads > MOST_THREADS or block.z > MOST_THREADS_Z:
            raise EmulatorError(
                f"{self.name}: expected at most {MOST_THREADS} threads in a block, {MOST_THREADS_Z} of them along z; "
                f"got {block}"
            )
        if self._most_threads and threads > self._most_threads:
            raise EmulatorError(
                f"{self.name}: expected at most {self._most_threads} threads in a block, as its __launch_bounds__ says; "
                f"got {threads}"
            )
        if any(n > most for n, most in zip((grid.x, grid.y, grid.z), MOST_BLOCKS, strict=True)):
            raise EmulatorError(f"{self.name}: expected a grid of at most {MOST_BLOCKS} blocks, got {grid}")
        if not 0 <= shared <= MOST_SHARED:
            raise EmulatorError(f"{self.name}: expected shared_mem of 0 to {MOST_SHARED} bytes, got {shared}")


class _Parameter:
    """One parameter of a kernel, and what may be given for it."""

    def __init__(self, kernel: str, name: str, entry: Any) -> None:
        self.kernel, self.name = kernel, f"argument {name}"
        self.type, self.size = entry.type.decode(), entry.size
        self.pointers, self.is_const = entry.pointers, bool(entry.is_const)

    def convert(self, argument: Any) -> Any:
        """The argument as a ctypes value, as it lies in memory."""
        if self.pointers:
            if argument is None:
                return ctypes.c_void_p(0)
            self._check_array(argument)
            return ctypes.c_void_p(memory.address(argument))
        if isinstance(argument, np.ndarray) or not isinstance(argument, (bool, int, float, np.generic)):
            raise self._error(f"expected a number of type {self._type_name}, got {_described(argument)}")
        scalar = self._scalar(argument)
        if scalar.dtype.name != self.type:
            python = "" if isinstance(argument, np.generic) else f" (of a Python {type(argument).__name__})"
            raise self._error(f"expected {self._type_name}, got {scalar.dtype.name}{python}; pass np.{self.type}(...)")
        return (ctypes.c_char * scalar.itemsize).from_buffer_copy(scalar.tobytes())

    def arrays(self, argument: np.ndarray) -> list[tuple[str, np.ndarray, bool]]:
        """The arrays that the kernel may touch through the argument: name, array, and whether it may only read."""
        listed = memory.arrays_of_table(argument)
        if not listed:
            return [(self.name, argument, self.is_const or not argument.flags.writeable)]
        through_pointers = self.pointers == 2
        may_write = [array.flags.writeable and not (through_pointers and self.is_const) for array in listed]
        return [
            (self.name, argument, through_pointers or self.is_const),
            *((f"{self.name}[{i}]", array, not may_write[i]) for i, array in enumerate(listed)),
        ]

    @cached_property
    def _type_name(self) -> str:
        return f"struct of {self.size} bytes" if self.type == "struct" else self.type

    def _scalar(self, argument: Any) -> np.generic:
        if isinstance(argument, np.generic):
            return argument
        kind = np.bool_ if isinstance(argument, bool) else np.int64 if isinstance(argument, int) else np.float64
        try:
            return kind(argument)
        except OverflowError:
            raise self._error(f"expected {self._type_name}, got {argument}, which no int64 holds") from None

    def _check_array(self, array: Any) -> None:
        if not isinstance(array, np.ndarray):
            raise self._error(f"expected an array or None, got {_described(array)}")
        if self.pointers == 2:
            fits, wanted = array.dtype.name in ("int64", "uint64"), "a pointer_table (int64)"
        elif self.type in ("void", "struct"):
            fits, wanted = True, "any array"
        else:
            fits, wanted = self._fits(array.dtype), f"an array of {self.type}"
        if not fits:
            raise self._error(f"expected {wanted}, got {_described(array)}")
        if not memory.is_dense(array):
            raise self._error(
                f"expected an array in one piece of memory, got strides {array.strides} for shape {array.shape}; "
                "make it contiguous first"
            )
        if memory.address(array) % max(array.dtype.alignment, 1):
            raise self._error(f"expected memory aligned to {array.dtype.alignment} bytes; copy the array first")

    def _fits(self, dtype: np.dtype[Any]) -> bool:
        """Whether a pointer to the parameter's type may point to such elements: signed integers may be unsigned ones."""
        if dtype.name == self.type:
            return True
        is_integer = self.type.startswith(("int", "uint", "bool"))
        return is_integer and dtype.kind in INTEGERS and dtype.itemsize == self.size

    def _error(self, what: str) -> EmulatorError:
        return EmulatorError(f"{self.kernel}: {self.name}: {what}")


def _described(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype.name}"
    if isinstance(value, np.generic):
        return f"a {value.dtype.name}"
    return f"a {type(value).__name__}"
