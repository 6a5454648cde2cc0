"""`ElementwiseKernel` and `ReductionKernel` with CuPy's calling conventions, over NumPy arrays.

The text of the operation is compiled as it is, into a loop over the elements: there are no threads in it. Arrays may have any
strides, in any mode; an index outside of a ``raw`` array is an EmulatorError, and so is reading an output (see memory.py)
before anything has been written to it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import memory
from .error import EmulatorError
from .operation import C_TYPES, Operation, c_type, parameter_dtype

# As a block of CuPy's reduces: so many sums that take turns, which are then added up in pairs.
REDUCTION_BLOCK = 512


class ElementwiseKernel(Operation):
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
        given, outputs = self.split_arguments(args)
        letters = self.resolve_letters(given, outputs)
        inputs = self.as_arrays(given, letters)
        shape = self._shape(inputs, outputs, size)
        if not outputs:
            outputs = [np.empty(shape, parameter_dtype(parameter, letters)) for parameter in self.outputs]
        arrays = []
        for parameter, array in zip(self.parameters, [*inputs, *outputs], strict=True):
            strides = array.strides if parameter.is_raw else np.broadcast_to(array, shape).strides
            arrays.append((array, strides))
        self.run_loop(letters, self._body, [shape], arrays)
        for array in filter(memory.is_dense, outputs):
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
{self.walk_over("emulator_walk", 0, walked, "", "  ")}
  {self.loop_prep};
  for (long long i = 0; i < n; i++, emulator_walk.next()) {{
{self.references_at("emulator_walk", walked, "    ")}
    {self.operation};
  }}
  {self.after_loop};"""


class ReductionKernel(Operation):
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
        self.reduce_type = c_type(self.outputs[0]) if reduce_type is None else C_TYPES.get(reduce_type, reduce_type)

    def __call__(
        self,
        *args: Any,
        out: np.ndarray | None = None,
        axis: int | tuple[int, ...] | None = None,
        keepdims: bool = False,
        stream: Any = None,
    ) -> Any:
        """The outputs: an array, or a tuple of several. They may be given behind the inputs, or the one as ``out``."""
        given, outputs = self.split_arguments(args if out is None else (*args, out))
        letters = self.resolve_letters(given, outputs)
        inputs = self.as_arrays(given, letters)
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
            outputs = [np.empty(result_shape, parameter_dtype(parameter, letters)) for parameter in self.outputs]
        for parameter, array in zip(self.outputs, outputs, strict=True):
            if array.shape != result_shape:
                raise EmulatorError(
                    f"{self.name}: expected {parameter.name} of shape {result_shape}, got {array.shape}"
                )
        arrays = []
        for parameter, array in zip(self.inputs, inputs, strict=True):
            strides = array.strides if parameter.is_raw else np.broadcast_to(array, shape).strides
            arrays.append((array, strides if parameter.is_raw else [strides[i] for i in (*kept, *axes)]))
        arrays += [(array, [array.strides[i] for i in kept] if keepdims else array.strides) for array in outputs]
        self.run_loop(letters, self._body, [out_shape, tuple(shape[i] for i in axes)], arrays)
        for array in filter(memory.is_dense, outputs):
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
        references = self.references_at("emulator_result_walk", outputs, "    ")
        return f"""
  typedef {self.reduce_type} _type_reduce;
  const EmulatorIndexer _out_ind = {{emulator_size[0]}}, _in_ind = {{emulator_size[0] * emulator_size[1]}};
  const auto emulator_reduce = [&](_type_reduce a, _type_reduce b) -> _type_reduce {{ return {self.reduce_expr}; }};
{self.walk_over("emulator_outer", 0, inputs, "", "  ")}
{self.walk_over("emulator_result_walk", 0, outputs, "", "  ")}
  int emulator_width = 1;
  while (emulator_width < {REDUCTION_BLOCK} && emulator_width < emulator_size[1]) emulator_width *= 2;
  static _type_reduce emulator_partial[{REDUCTION_BLOCK}];
  for (long long i = 0; i < emulator_size[0]; i++, emulator_outer.next(), emulator_result_walk.next()) {{
    for (int k = 0; k < emulator_width; k++) emulator_partial[k] = _type_reduce({self.identity});
{self.walk_over("emulator_inner", 1, inputs, " + emulator_ndim[0]", "    ")}
{at_start}
    for (long long j = 0; j < emulator_size[1]; j++, emulator_inner.next()) {{
{self.references_at("emulator_inner", inputs, "      ")}
      _type_reduce& emulator_own = emulator_partial[j % emulator_width];
      emulator_own = emulator_reduce(emulator_own, static_cast<_type_reduce>({self.map_expr}));
    }}
    for (int half = emulator_width / 2; half > 0; half /= 2)
      for (int k = 0; k < half; k++) emulator_partial[k] = emulator_reduce(emulator_partial[k], emulator_partial[k + half]);
    const _type_reduce a = emulator_partial[0];
{references}
    {self.post_map_expr};
  }}"""
