"""What ElementwiseKernel and ReductionKernel share: parameters, the types that letters stand for, and compiled loops."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from . import memory, toolchain
from .error import EmulatorError
from .launch import machine, one_at_a_time

C_TYPES = {
    "bool": "bool", "int8": "signed char", "uint8": "unsigned char", "int16": "short", "uint16": "unsigned short",
    "int32": "int", "uint32": "unsigned int", "int64": "long long", "uint64": "unsigned long long",
    "float16": "float16", "bfloat16": "bfloat16", "float32": "float", "float64": "double",
}  # fmt: skip


class _Array(ctypes.Structure):
    """`EmulatorArray` of cupy.h."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("ndim", ctypes.c_int),
        ("shape", ctypes.POINTER(ctypes.c_longlong)),
        ("strides", ctypes.POINTER(ctypes.c_longlong)),
    ]


class OperationParameter(NamedTuple):
    """``type`` is a dtype's name or a letter; a raw parameter is an array that the operation itself indexes."""

    name: str
    type: str
    is_raw: bool

    @property
    def is_letter(self) -> bool:
        return len(self.type) == 1


def _parameters(listed: str) -> list[OperationParameter]:
    found = []
    for part in filter(None, (part.strip() for part in listed.split(","))):
        words = part.split()
        is_raw = words[0] == "raw"
        if len(words) != 2 + is_raw or (len(words[-2]) > 1 and words[-2] not in C_TYPES):
            raise EmulatorError(f"expected a parameter as in 'T x', 'float32 x' or 'raw T x', got {part!r}")
        found.append(OperationParameter(words[-1], words[-2], is_raw))
    return found


class Operation:
    """An operation on the elements of arrays, given as text."""

    def __init__(self, in_params: str, out_params: str, name: str, preamble: str, options: Sequence[str]) -> None:
        self.inputs, self.outputs = _parameters(in_params), _parameters(out_params)
        self.name, self.preamble = name, preamble
        self.options = tuple(option for option in options if option.startswith("-D"))
        self._loops: dict[Any, Any] = {}

    @property
    def parameters(self) -> list[OperationParameter]:
        return self.inputs + self.outputs

    def split_arguments(self, arguments: Sequence[Any]) -> tuple[list[Any], list[np.ndarray]]:
        """The inputs and the outputs among the arguments; the outputs may all be left out."""
        inputs, all_of_them = len(self.inputs), len(self.parameters)
        if len(arguments) not in (inputs, all_of_them):
            raise EmulatorError(f"{self.name}: expected {inputs} or {all_of_them} arguments, got {len(arguments)}")
        outputs = list(arguments[inputs:])
        for parameter, array in zip(self.outputs, outputs, strict=bool(outputs)):
            if not isinstance(array, np.ndarray):
                raise EmulatorError(
                    f"{self.name}: expected output {parameter.name} to be an array, got a {type(array).__name__}"
                )
        return list(arguments[:inputs]), outputs

    def resolve_letters(self, inputs: Sequence[Any], outputs: Sequence[np.ndarray]) -> dict[str, np.dtype[Any]]:
        """What the letters stand for: arrays decide, then NumPy's scalars, then Python's numbers."""
        letters: dict[str, np.dtype[Any]] = {}
        given = list(zip(self.outputs, outputs, strict=False)) + list(zip(self.inputs, inputs, strict=True))
        for parameter, value in given:
            if not isinstance(value, np.ndarray):
                continue
            expected = letters.get(parameter.type) if parameter.is_letter else _dtype(parameter.type, value.dtype)
            if expected is None:
                letters[parameter.type] = value.dtype
            elif expected != value.dtype:
                raise EmulatorError(
                    f"{self.name}: expected {parameter.name} ({parameter.type}) of dtype {expected.name}, "
                    f"got {value.dtype.name}"
                )
        for parameter, value in sorted(given, key=lambda pair: not isinstance(pair[1], np.generic)):
            if parameter.is_letter and parameter.type not in letters:
                letters[parameter.type] = np.asarray(value).dtype
        for parameter in self.parameters:
            if parameter.is_letter and parameter.type not in letters:
                raise EmulatorError(
                    f"{self.name}: no argument tells what {parameter.type} is; give the output {parameter.name}"
                )
        for letter, dtype in letters.items():
            if dtype.name not in C_TYPES:
                raise EmulatorError(
                    f"{self.name}: expected {letter} to be one of {', '.join(C_TYPES)}, got {dtype.name}"
                )
        return letters

    def as_arrays(self, values: Sequence[Any], letters: dict[str, np.dtype[Any]]) -> list[np.ndarray]:
        """The inputs as arrays of the parameters' dtypes."""
        arrays = []
        for parameter, value in zip(self.inputs, values, strict=True):
            if isinstance(value, np.ndarray):
                if memory.is_dense(value) and memory.is_unwritten(value):
                    raise EmulatorError(
                        f"{self.name}: uninitialized: nobody has written to {parameter.name}, which is read"
                    )
                arrays.append(value)
            else:
                arrays.append(np.asarray(value, dtype=parameter_dtype(parameter, letters)))
        return arrays

    def run_loop(
        self, letters: dict[str, np.dtype[Any]], body: Callable[[], str], shapes: Sequence[tuple[int, ...]], arrays: Any
    ) -> None:
        """Compile the loop for these types, if that was not done before, and run it.

        ``arrays`` is a list of (array, strides along each of the shapes put one behind the other).
        """
        key = tuple(sorted((letter, dtype.name) for letter, dtype in letters.items()))
        if key not in self._loops:
            self._loops[key] = self._compile(letters, body())
        keep = [_numbers(math.prod(shape) for shape in shapes)]
        axes = _numbers(length for shape in shapes for length in shape)
        listed = (_Array * len(arrays))()
        for i, (array, strides) in enumerate(arrays):
            own_shape, own_strides = _numbers(array.shape), _numbers(strides)
            keep += [own_shape, own_strides]
            listed[i] = _Array(memory.address(array), array.ndim, own_shape, own_strides)
        stray = (ctypes.c_longlong * 2)()
        with one_at_a_time:
            self._loops[key](_numbers(len(shape) for shape in shapes), axes, keep[0], listed, stray)
        if stray[0] >= 0:
            parameter, (array, _) = self.parameters[stray[0]], arrays[stray[0]]
            raise EmulatorError(f"{self.name}: out of bounds: {parameter.name}[{stray[1]}] of {array.size} elements")

    def _compile(self, letters: dict[str, np.dtype[Any]], body: str) -> Any:
        typedefs = [f"typedef {C_TYPES[dtype.name]} {letter};" for letter, dtype in sorted(letters.items())]
        raw = [
            f"  const EmulatorRaw<{'const ' if i < len(self.inputs) else ''}{c_type(parameter)}> "
            f"{parameter.name}(emulator_arrays[{i}], {i});"
            for i, parameter in enumerate(self.parameters)
            if parameter.is_raw
        ]
        text = "\n".join(
            [
                '#include "cuda.h"',
                '#include "cupy.h"',
                *typedefs,
                f'#line 1 "preamble of {self.name}"',
                self.preamble,
                f'#line 1 "{self.name}"',
                'extern "C" __attribute__((visibility("default"))) void emulator_loop(',
                "    const long long* emulator_ndim, const long long* emulator_shape, const long long* emulator_size,",
                "    const EmulatorArray* emulator_arrays, long long* emulator_result) {",
                "  emulator_stray = {-1, 0};",
                *raw,
                body,
                "  emulator_result[0] = emulator_stray.parameter;",
                "  emulator_result[1] = emulator_stray.index;",
                "}",
                "",
            ]
        )
        path = toolchain.build(text, self.name, self.options)
        machine()  # the library looks for it by its name
        return ctypes.CDLL(str(path)).emulator_loop

    def references_at(self, walk: str, parameters: Sequence[tuple[int, OperationParameter]], indent: str) -> str:
        """Declarations of the elements at which a walk is."""
        return "\n".join(
            f"{indent}{'const ' if number < len(self.inputs) else ''}{c_type(parameter)}& {parameter.name} = "
            f"*({c_type(parameter)}*){walk}.at[{k}];"
            for k, (number, parameter) in enumerate(parameters)
        )

    @staticmethod
    def walk_over(
        name: str, shape: int, parameters: Sequence[tuple[int, OperationParameter]], strides: str, indent: str
    ) -> str:
        """Declaration of a walk over the shape of this number; ``strides`` is added to where an array's strides begin."""
        axes = "emulator_shape" if shape == 0 else "emulator_shape + emulator_ndim[0]"
        lines = [f"{indent}EmulatorWalk<{max(len(parameters), 1)}> {name} = {{(int)emulator_ndim[{shape}], {axes}}};"]
        for k, (number, _) in enumerate(parameters):
            lines.append(f"{indent}{name}.at[{k}] = emulator_arrays[{number}].data;")
            lines.append(f"{indent}{name}.strides[{k}] = emulator_arrays[{number}].strides{strides};")
        return "\n".join(lines)


def c_type(parameter: OperationParameter) -> str:
    return parameter.type if parameter.is_letter else C_TYPES[parameter.type]


def _dtype(name: str, like: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype of this name; ``like`` itself if it has it, for NumPy does not know bfloat16."""
    return like if like.name == name else np.dtype(name)


def parameter_dtype(parameter: OperationParameter, letters: dict[str, np.dtype[Any]]) -> np.dtype[Any]:
    return letters[parameter.type] if parameter.is_letter else np.dtype(parameter.type)


def _numbers(values: Any) -> Any:
    listed = [int(value) for value in values]
    return (ctypes.c_longlong * max(len(listed), 1))(*listed)
