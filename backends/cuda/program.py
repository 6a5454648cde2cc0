"""From a .cu file and a dtype to kernels that check what they are given.

The text is compiled once for each dtype and set of definitions, when a kernel of it is first launched. A kernel's parameters
are read from its text, so that an argument of the wrong dtype, or one that does not lie in one piece of memory, is an
error with its name instead of wrong numbers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .layout import is_dense
from .runtime import Runtime

FOLDER = Path(__file__).parent / "kernels"
# What lies in memory, what is computed in, and the header that defines the first of them.
TYPES = {
    "float32": ("float", "float", None),
    "float64": ("double", "double", None),
    "float16": ("__half", "float", "cuda_fp16.h"),
    "bfloat16": ("__nv_bfloat16", "float", "cuda_bf16.h"),
}
NAMED_DTYPES = {
    "float": "float32",
    "double": "float64",
    "int": "int32",
    "i64": "int64",
    "u32": "uint32",
    "u64": "uint64",
    "unsigned char": "uint8",
}
KERNEL = re.compile(r'extern\s+"C"\s+__global__\s+void\s+(?:__launch_bounds__\s*\([^)]*\)\s*)?(\w+)\s*\(([^)]*)\)')
PARAMETER = re.compile(r"(const\s+)?([\w ]+?)\s*(\*)?\s*(?:__restrict__\s+)?(\w+)$")
INCLUDE = re.compile(r'^#include "(\w+\.cuh)"$', re.MULTILINE)


class Parameter(NamedTuple):
    """One parameter of a kernel: ``type`` as in the text."""

    name: str
    type: str
    pointer: bool


def files() -> list[str]:
    """The names of all .cu files, without the ending."""
    return sorted(path.stem for path in FOLDER.glob("*.cu"))


def text_of(name: str) -> str:
    """A file of kernels/ as it stands."""
    return (FOLDER / name).read_text(encoding="utf-8")


@cache
def source(file: str) -> str:
    """The text of kernels/<file>.cu with its own headers put in, each once; #line keeps messages right.

    The headers are put in because CuPy's cache on disk knows a program by its text alone.
    """
    seen: set[str] = set()

    def text(name: str) -> str:
        lines = []
        for number, line in enumerate(text_of(name).splitlines(), start=1):
            header = INCLUDE.match(line)
            if header is None:
                lines.append("" if line == "#pragma once" else line)
            elif header[1] in seen:
                lines.append("")
            else:
                seen.add(header[1])
                lines += [f'#line 1 "{header[1]}"', text(header[1]), f'#line {number + 1} "{name}"']
        return "\n".join(lines)

    return f'#line 1 "{file}.cu"\n{text(f"{file}.cu")}\n'


def signatures(text: str) -> dict[str, tuple[Parameter, ...]]:
    """The kernels of a text and their parameters."""
    return {name: tuple(_parameter(part) for part in listed.split(",")) for name, listed in KERNEL.findall(text)}


def _parameter(text: str) -> Parameter:
    found = PARAMETER.match(" ".join(text.split()))
    assert found is not None, f"cannot read the parameter '{text}'"
    return Parameter(found[4], found[2], found[3] is not None)


def options(dtype: Any, defines: Mapping[str, Any] | None = None) -> tuple[str, ...]:
    """The compiler's options for one dtype."""
    stored, computed, header = TYPES[np.dtype(dtype).name]
    named = {"SCALAR": stored, "ACCUMULATOR": computed, **(defines or {})}
    if header:
        named["SCALAR_HEADER"] = f"<{header}>"
    return ("--std=c++17", *(f"-D{name}={value}" for name, value in named.items()))


@cache  # as with `is_served`: NumPy takes 2 us to find a dtype's name
def accumulator(dtype: Any) -> np.dtype[Any]:
    """The dtype in which kernels for ``dtype`` compute, and in which they take statistics and parameters."""
    return np.dtype("float64" if np.dtype(dtype).name == "float64" else "float32")


@cache
def is_served(dtype: Any) -> bool:
    """Whether there are kernels for arrays of ``dtype``."""
    return dtype.name in TYPES


class Kernel:
    """A compiled kernel and the checks of its arguments."""

    def __init__(
        self, name: str, compiled: Any, parameters: tuple[Parameter, ...], dtype: Any, null: Any = None
    ) -> None:
        self.name, self.compiled, self.null = name, compiled, null
        self.checks: list[Callable[[Any], Any]] = [self._check(parameter, np.dtype(dtype)) for parameter in parameters]

    def __call__(self, grid: tuple[int, ...], block: tuple[int, ...], arguments: tuple[Any, ...], shared: int) -> None:
        if len(arguments) != len(self.checks):
            raise TypeError(f"{self.name}: expected {len(self.checks)} arguments, got {len(arguments)}")
        checked = tuple(check(argument) for check, argument in zip(self.checks, arguments, strict=True))
        self.compiled(grid, block, checked, shared_mem=shared)

    def _check(self, parameter: Parameter, dtype: np.dtype[Any]) -> Callable[[Any], Any]:
        """The function that makes an argument fit for the kernel, or raises."""
        expected = {"scalar": dtype, "accumulator": accumulator(dtype)}.get(parameter.type)
        expected = np.dtype(NAMED_DTYPES[parameter.type]) if expected is None else expected
        if not parameter.pointer:
            # Sizes come again and again, and NumPy is slow to make a number. Not so floats: 0.0 == -0.0.
            return lru_cache(maxsize=1024)(expected.type) if expected.kind in "iu" else expected.type
        null, name = self.null, self.name
        allowed = {expected, np.dtype(bool)} if expected == np.uint8 else {expected}

        def array(argument: Any) -> Any:
            if argument is None:
                return null
            if isinstance(argument, np.generic):  # NumPy, and so the emulator, makes numbers of arrays without axes
                argument = np.asarray(argument)
            if argument.dtype not in allowed:
                raise TypeError(
                    f"{name}: expected '{parameter.name}' of dtype {expected.name}, got {argument.dtype.name}"
                )
            if not is_dense(argument):
                raise ValueError(
                    f"{name}: expected '{parameter.name}' in one piece of memory, got strides {argument.strides} "
                    f"for shape {argument.shape}; make it contiguous first"
                )
            return argument

        return array


class Programs:
    """The kernels of one device, each compiled when it is first asked for."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self._modules: dict[Any, Any] = {}
        self._kernels: dict[Any, Kernel] = {}

    def kernel(self, file: str, name: str, dtype: Any, defines: tuple[tuple[str, Any], ...] = ()) -> Kernel:
        """Kernel ``name`` of kernels/<file>.cu for ``dtype``; ``defines`` are further -D of the text."""
        key = file, name, dtype, defines
        found = self._kernels.get(key)
        if found is None:
            text = source(file)
            program = file, dtype, defines
            if program not in self._modules:
                self._modules[program] = self.runtime.module(text, f"{file}.cu", options(dtype, dict(defines)))
            compiled = self._modules[program].get_function(name)
            found = self._kernels[key] = Kernel(name, compiled, signatures(text)[name], dtype, self.runtime.null)
        return found
