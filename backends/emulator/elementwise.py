"""`ElementwiseKernel` and `ReductionKernel` with CuPy's calling conventions, over NumPy arrays.

The text of the operation is compiled as it is, into a loop over the elements: there are no threads in it. Arrays may have any
strides, in any mode; an index outside of a ``raw`` array is an EmulatorError, and so is reading an output (see memory.py)
before anything has been written to it.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from . import memory, toolchain
from .error import EmulatorError
from .launch import machine, one_at_a_time
from .module import is_dense

C_TYPES = {
    "bool": "bool", "int8": "signed char", "uint8": "unsigned char", "int16": "short", "uint16": "unsigned short",
    "int32": "int", "uint32": "unsigned int", "int64": "long long", "uint64": "unsigned long long",
    "float16": "float16", "bfloat16": "bfloat16", "float32": "float", "float64": "double",
}  # fmt: skip
# As a block of CuPy's reduces: so many sums that take turns, which are then added up in pairs.
REDUCTION_BLOCK = 512


class _Array(ctypes.Structure):
    """`EmulatorArray` of cupy.h."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("ndim", ctypes.c_int),
        ("shape", ctypes.POINTER(ctypes.c_longlong)),
        ("strides", ctypes.POINTER(ctypes.c_longlong)),
    ]


class _Parameter(NamedTuple):
    """``type`` is a dtype's name or a letter; a raw parameter is an array that the operation itself indexes."""

    name: str
    type: str
    is_raw: bool

    @property
    def is_letter(self) -> bool:
        return len(self.type) == 1


def _parameters(listed: str) -> list[_Parameter]:
    found = []
    for part in filter(None, (part.strip() for part in listed.split(","))):
        words = part.split()
        is_raw = words[0] == "raw"
        if len(words) != 2 + is_raw or (len(words[-2]) > 1 and words[-2] not in C_TYPES):
            raise EmulatorError(f"expected a parameter as in 'T x', 'float32 x' or 'raw T x', got {part!r}")
        found.append(_Parameter(words[-1], words[-2], is_raw))
    return found


class _Generated:
    """What both kinds of kernel share: parameters, the types that letters stand for, compiled loops."""

    def __init__(self, in_params: str, out_params: str, name: str, preamble: str, options: Sequence[str]) -> None:
        self.inputs, self.outputs = _parameters(in_params), _parameters(out_params)
        self.name, self.preamble = name, preamble
        self.options = tuple(option for option in options if option.startswith("-D"))
        self._loops: dict[Any, Any] = {}

    @property
    def parameters(self) -> list[_Parameter]:
        return self.inputs + self.outputs

    def _split(self, arguments: Sequence[Any]) -> tuple[list[Any], list[np.ndarray]]:
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

    def _letters(self, inputs: Sequence[Any], outputs: Sequence[np.ndarray]) -> dict[str, np.dtype[Any]]:
        """What the letters stand for: arrays decide, and Python's numbers only where no array does."""
        letters: dict[str, np.dtype[Any]] = {}
        given = list(zip(self.outputs, outputs, strict=False)) + list(zip(self.inputs, inputs, strict=True))
        for parameter, value in given:
            if not isinstance(value, (np.ndarray, np.generic)):
                continue
            expected = letters.get(parameter.type) if parameter.is_letter else _dtype(parameter.type, value.dtype)
            if expected is None:
                letters[parameter.type] = value.dtype
            elif expected != value.dtype and isinstance(value, np.ndarray):
                raise EmulatorError(
                    f"{self.name}: expected {parameter.name} ({parameter.type}) of dtype {expected.name}, "
                    f"got {value.dtype.name}"
                )
        for parameter, value in given:
            if parameter.is_letter and parameter.type not in letters:
                letters[parameter.type] = np.asarray(value).dtype
        for parameter in self.parameters:
            if parameter.is_letter and parameter.type not in letters:
                raise EmulatorError(
                    f"{self.name}: no argument tells what {parameter.type} is; give the output {parameter.name}"
                )
        for letter, dtype in letters.items():
            if dtype.name not in C_TYPES:
                raise EmulatorError(f"{self.name}: expected {letter} to be one of {', '.join(C_TYPES)}, got {dtype.name}")
        return letters

    def _inputs(self, values: Sequence[Any], letters: dict[str, np.dtype[Any]]) -> list[np.ndarray]:
        """The inputs as arrays of the parameters' dtypes."""
        arrays = []
        for parameter, value in zip(self.inputs, values, strict=True):
            if isinstance(value, np.ndarray):
                if is_dense(value) and memory.is_unwritten(value):
                    raise EmulatorError(f"{self.name}: uninitialized: nobody has written to {parameter.name}, which is read")
                arrays.append(value)
            else:
                arrays.append(np.asarray(value, dtype=_parameter_dtype(parameter, letters)))
        return arrays

    def _run(
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
            f"  const EmulatorRaw<{'const ' if i < len(self.inputs) else ''}{_c_type(parameter)}> "
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

    def _references(self, walk: str, parameters: Sequence[tuple[int, _Parameter]], indent: str) -> str:
        """Declarations of the elements at which a walk is."""
        return "\n".join(
            f"{indent}{'const ' if number < len(self.inputs) else ''}{_c_type(parameter)}& {parameter.name} = "
            f"*({_c_type(parameter)}*){walk}.at[{k}];"
            for k, (number, parameter) in enumerate(parameters)
        )

    @staticmethod
    def _walk(name: str, shape: int, parameters: Sequence[tuple[int, _Parameter]], strides: str, indent: str) -> str:
        """Declaration of a walk over the shape of this number; ``strides`` is added to where an array's strides begin."""
        axes = "emulator_shape" if shape == 0 else "emulator_shape + emulator_ndim[0]"
        lines = [f"{indent}EmulatorWalk<{max(len(parameters), 1)}> {name} = {{(int)emulator_ndim[{shape}], {axes}}};"]
        for k, (number, _) in enumerate(parameters):
            lines.append(f"{indent}{name}.at[{k}] = emulator_arrays[{number}].data;")
            lines.append(f"{indent}{name}.strides[{k}] = emulator_arrays[{number}].strides{strides};")
        return "\n".join(lines)


class ElementwiseKernel(_Generated):
    """out = operation(in) for each element, as `cupy.ElementwiseKernel`.

    The operation may use the parameters' names, ``i`` (the number of the element, in C order), ``n`` and ``_ind.size()`` (how
    many there are), and x[...] of raw parameters.
    """

    def __init__(
        self,
        in_params: str,
        out_params: str,
        operation: str,
        name: str = "kernel",
        reduce_dims: bool = True,
        preamble: str = "",
        no_return: bool = False,
        return_tuple: bool = False,
        options: Sequence[str] = (),
        loop_prep: str = "",
        after_loop: str = "",
    ) -> None:
        super().__init__(in_params, out_params, name, preamble, options)
        self.operation, self.no_return, self.return_tuple = operation, no_return, return_tuple
        self.loop_prep, self.after_loop = loop_prep, after_loop

    def __call__(self, *args: Any, size: int | None = None, block_size: int | None = None, stream: Any = None) -> Any:
        """The outputs: an array, or a tuple of several. They may be given behind the inputs.

        ``size`` is the number of elements where all arrays are raw.
        """
        given, outputs = self._split(args)
        letters = self._letters(given, outputs)
        inputs = self._inputs(given, letters)
        shape = self._shape(inputs, outputs, size)
        if not outputs:
            outputs = [np.empty(shape, _parameter_dtype(parameter, letters)) for parameter in self.outputs]
        arrays = []
        for parameter, array in zip(self.parameters, [*inputs, *outputs], strict=True):
            strides = array.strides if parameter.is_raw else np.broadcast_to(array, shape).strides
            arrays.append((array, strides))
        self._run(letters, self._body, [shape], arrays)
        for array in filter(is_dense, outputs):
            memory.mark_written(array)
        if self.no_return:
            return None
        return outputs[0] if len(outputs) == 1 and not self.return_tuple else tuple(outputs)

    def _shape(self, inputs: list[np.ndarray], outputs: list[np.ndarray], size: int | None) -> tuple[int, ...]:
        arrays = zip(self.parameters, [*inputs, *outputs], strict=False)
        walked = [array.shape for parameter, array in arrays if not parameter.is_raw]
        if size is not None:
            if any(math.prod(shape) != 1 for shape in walked):
                raise EmulatorError(f"{self.name}: expected size only where all arrays are raw, got {size}")
            return (size,)
        if not walked:
            raise EmulatorError(f"{self.name}: expected size, as all arrays are raw")
        try:
            shape = np.broadcast_shapes(*walked)
        except ValueError:
            raise EmulatorError(f"{self.name}: expected shapes that broadcast, got {walked}") from None
        for parameter, array in zip(self.outputs, outputs, strict=bool(outputs)):
            if not parameter.is_raw and array.shape != shape:
                raise EmulatorError(f"{self.name}: expected {parameter.name} of shape {shape}, got {array.shape}")
        return shape

    def _body(self) -> str:
        walked = [(i, parameter) for i, parameter in enumerate(self.parameters) if not parameter.is_raw]
        return f"""
  const long long n = emulator_size[0];
  const EmulatorIndexer _ind = {{n}};
{self._walk("emulator_walk", 0, walked, "", "  ")}
  {self.loop_prep};
  for (long long i = 0; i < n; i++, emulator_walk.next()) {{
{self._references("emulator_walk", walked, "    ")}
    {self.operation};
  }}
  {self.after_loop};"""


class ReductionKernel(_Generated):
    """Map each element, reduce over axes, map what comes out, as `cupy.ReductionKernel`.

    ``reduce_expr`` speaks of a and b, ``post_map_expr`` of a. They are of ``reduce_type``; without it, of the first output's
    type: a sum of halves that shall be added up in float must have a float as output.
    """

    def __init__(
        self,
        in_params: str,
        out_params: str,
        map_expr: str,
        reduce_expr: str,
        post_map_expr: str,
        identity: str,
        name: str = "reduce_kernel",
        reduce_type: str | None = None,
        reduce_dims: bool = True,
        preamble: str = "",
        options: Sequence[str] = (),
    ) -> None:
        super().__init__(in_params, out_params, name, preamble, options)
        self.map_expr, self.reduce_expr, self.post_map_expr = map_expr, reduce_expr, post_map_expr
        self.identity = identity
        self.reduce_type = _c_type(self.outputs[0]) if reduce_type is None else C_TYPES.get(reduce_type, reduce_type)

    def __call__(
        self,
        *args: Any,
        out: np.ndarray | None = None,
        axis: int | tuple[int, ...] | None = None,
        keepdims: bool = False,
        stream: Any = None,
    ) -> Any:
        """The outputs: an array, or a tuple of several. They may be given behind the inputs, or the one as ``out``."""
        given, outputs = self._split(args if out is None else (*args, out))
        letters = self._letters(given, outputs)
        inputs = self._inputs(given, letters)
        walked = [array.shape for parameter, array in zip(self.inputs, inputs, strict=True) if not parameter.is_raw]
        try:
            shape = np.broadcast_shapes(*walked)
        except ValueError:
            raise EmulatorError(f"{self.name}: expected shapes that broadcast, got {walked}") from None
        axes = self._axes(axis, len(shape))
        kept = tuple(i for i in range(len(shape)) if i not in axes)
        out_shape = tuple(shape[i] for i in kept)
        result_shape = tuple(1 if i in axes else n for i, n in enumerate(shape)) if keepdims else out_shape
        if not outputs:
            outputs = [np.empty(result_shape, _parameter_dtype(parameter, letters)) for parameter in self.outputs]
        for parameter, array in zip(self.outputs, outputs, strict=True):
            if array.shape != result_shape:
                raise EmulatorError(f"{self.name}: expected {parameter.name} of shape {result_shape}, got {array.shape}")
        arrays = []
        for parameter, array in zip(self.inputs, inputs, strict=True):
            strides = array.strides if parameter.is_raw else np.broadcast_to(array, shape).strides
            arrays.append((array, strides if parameter.is_raw else [strides[i] for i in (*kept, *axes)]))
        for array in outputs:
            arrays.append((array, [array.strides[i] for i in kept] if keepdims else array.strides))
        self._run(letters, self._body, [out_shape, tuple(shape[i] for i in axes)], arrays)
        for array in filter(is_dense, outputs):
            memory.mark_written(array)
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def _axes(self, axis: int | tuple[int, ...] | None, ndim: int) -> tuple[int, ...]:
        listed = tuple(range(ndim)) if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
        if any(not -ndim <= a < ndim for a in listed) or len({a % ndim for a in listed}) != len(listed):
            raise EmulatorError(f"{self.name}: expected different axes of {ndim}, got {axis}")
        return tuple(sorted(a % ndim for a in listed))

    def _body(self) -> str:
        inputs = [(i, parameter) for i, parameter in enumerate(self.inputs) if not parameter.is_raw]
        outputs = [(len(self.inputs) + i, parameter) for i, parameter in enumerate(self.outputs)]
        at_start = "\n".join(f"    emulator_inner.at[{k}] = emulator_outer.at[{k}];" for k in range(len(inputs)))
        references = self._references("emulator_result_walk", outputs, "    ")
        return f"""
  typedef {self.reduce_type} _type_reduce;
  const EmulatorIndexer _out_ind = {{emulator_size[0]}}, _in_ind = {{emulator_size[0] * emulator_size[1]}};
  const auto emulator_reduce = [&](_type_reduce a, _type_reduce b) -> _type_reduce {{ return {self.reduce_expr}; }};
{self._walk("emulator_outer", 0, inputs, "", "  ")}
{self._walk("emulator_result_walk", 0, outputs, "", "  ")}
  int emulator_width = 1;
  while (emulator_width < {REDUCTION_BLOCK} && emulator_width < emulator_size[1]) emulator_width *= 2;
  static _type_reduce emulator_partial[{REDUCTION_BLOCK}];
  for (long long i = 0; i < emulator_size[0]; i++, emulator_outer.next(), emulator_result_walk.next()) {{
    for (int k = 0; k < emulator_width; k++) emulator_partial[k] = _type_reduce({self.identity});
{self._walk("emulator_inner", 1, inputs, " + emulator_ndim[0]", "    ")}
{at_start}
    for (long long j = 0; j < emulator_size[1]; j++, emulator_inner.next()) {{
{self._references("emulator_inner", inputs, "      ")}
      _type_reduce& emulator_own = emulator_partial[j % emulator_width];
      emulator_own = emulator_reduce(emulator_own, static_cast<_type_reduce>({self.map_expr}));
    }}
    for (int half = emulator_width / 2; half > 0; half /= 2)
      for (int k = 0; k < half; k++) emulator_partial[k] = emulator_reduce(emulator_partial[k], emulator_partial[k + half]);
    const _type_reduce a = emulator_partial[0];
{references}
    {self.post_map_expr};
  }}"""


def _c_type(parameter: _Parameter) -> str:
    return parameter.type if parameter.is_letter else C_TYPES[parameter.type]


def _dtype(name: str, like: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype of this name; ``like`` itself if it has it, for NumPy does not know bfloat16."""
    return like if like.name == name else np.dtype(name)


def _parameter_dtype(parameter: _Parameter, letters: dict[str, np.dtype[Any]]) -> np.dtype[Any]:
    return letters[parameter.type] if parameter.is_letter else np.dtype(parameter.type)


def _numbers(values: Any) -> Any:
    listed = [int(value) for value in values]
    return (ctypes.c_longlong * max(len(listed), 1))(*listed)
