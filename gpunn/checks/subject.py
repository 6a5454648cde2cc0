"""A device under test: it is given the inputs of one operation at a time, and its results are measured."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from backends import Backend

from ..dtypes import is_floating
from . import budget
from .budget import Budget
from .report import Operation, Quantity
from .trace import Backward, Call, map_arrays

# What a primitive returns besides "out".
RESULTS = {
    "batch_norm": ("out", "mean", "variance"),
    "max_along": ("values", "indices"),
    "min_along": ("values", "indices"),
    "max_pool2d_with_indices": ("out", "indices"),
}


class Subject:
    """A device, and in which memory order it made the arrays that the step goes on with."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.name = backend.device
        self.made: dict[int, tuple[Any, Any]] = {}

    def forward(self, call: Call, operation: Operation, budgets: list[Budget]) -> None:
        arrays: list[Any] = []
        try:
            inputs = tuple(self._placed(x, arrays) for x in call.inputs)
            options = map_arrays(self.backend.asarray, call.options)
            with self.backend.scope():
                out, saved = getattr(self.backend, call.name)(*inputs, **options)
            outs = out if isinstance(out, tuple) else (out,)
            call.notes[self] = saved
            self._measure_results(call, operation, budgets, outs)
            if call.name == "dropout":
                self._measure_mask(call, operation)
            self._check_unwritten(operation, arrays)
            for result, made in zip(call.results, outs, strict=False):
                self._remember(result, made)
        except Exception as error:  # whatever it is, it is this operation's; the others can still be looked at
            operation.fail(self.name, _described(error))

    def backward(self, call: Call, back: Backward, operation: Operation, budgets: list[Budget]) -> None:
        if self not in call.notes:
            operation.fail(self.name, "not tried: the forward pass failed")
            return
        arrays: list[Any] = []
        try:
            dout = self._placed(back.dout, arrays)
            with self.backend.scope():
                gradients = getattr(self.backend, f"{call.name}_backward")(call.notes[self], dout, *back.needs)
            names = input_names(call)
            for name, gradient, exact, result, limit in zip(
                names, gradients, back.exact, back.results, budgets, strict=True
            ):
                if exact is None:
                    continue
                if gradient is None:
                    operation.fail(self.name, f"no gradient of {name}")
                    continue
                self._measure(operation, f"gradient of {name}", limit, self._host(gradient), exact, result.dtype)
                self._remember(result, gradient)
            self._check_unwritten(operation, arrays)
        except Exception as error:
            operation.fail(self.name, _described(error))

    def on_lists(
        self,
        name: str,
        lists: tuple[Any, ...],
        options: dict[str, Any],
        after: tuple[Any, ...],
        result: Any,
        operation: Operation,
    ) -> None:
        """``operation`` gets a quantity for each array of each list, under the list's name and the array's number."""
        try:
            copies = map_arrays(lambda x: self.backend.asarray(x).copy(order="K"), lists)
            with self.backend.scope():
                returned = getattr(self.backend, name)(*copies, **options)
            names = list(inspect.signature(getattr(Backend, name)).parameters)[1:]
            for list_name, before, actual, wanted in zip(names, lists, copies, after, strict=False):
                for number, (given, got, exact) in enumerate(_pairs(before, actual, wanted)):
                    limit = budget.of_dtype([given.dtype], 1, 0.0)
                    self._measure(operation, f"{list_name}[{number}]", limit, self._host(got), exact, given.dtype)
            if result is not None:
                dtypes = [x.dtype for x in _flat(lists)] or [np.dtype("float64")]
                limit = budget.of_dtype(dtypes, sum(x.size for x in _flat(lists)), 0.0)
                self._measure(operation, "result", limit, self._host(returned), np.asarray(result), dtypes[0])
        except Exception as error:
            operation.fail(self.name, _described(error))

    # Arrays

    def _host(self, array: Any) -> Any:
        return np.asarray(self.backend.to_numpy(array))

    def _placed(self, x: Any, placed: list[Any]) -> Any:
        """An array of the step on the device; it and its like are noted in ``placed``."""
        if not isinstance(x, np.ndarray):
            return x
        with self.backend.scope():
            array = self._own(x)
        placed.append((x, array))
        return array

    def _own(self, x: Any) -> Any:
        """What the device itself made where it is equal bit for bit, strides and all; else a copy in the same memory order.

        So a kernel gets the layouts that it would get in training.
        """
        known, made = self.made.get(id(x), (None, None))
        if known is None or known() is not x:
            return self.backend.asarray(x).copy(order="K")
        if _same_bits(self._host(made), x):
            return made
        copy = self.backend.xp.empty_like(made, dtype=x.dtype)
        copy[...] = self.backend.asarray(x)
        return copy

    def _remember(self, result: Any, made: Any) -> None:
        if result.ndim and made.shape == result.shape:
            key = id(result)
            self.made[key] = (weakref.ref(result, lambda _: self.made.pop(key, None)), made)

    def _check_unwritten(self, operation: Operation, arrays: list[Any]) -> None:
        if not all(_same_bits(self._host(array), x) for x, array in arrays):
            operation.fail(self.name, "wrote to its input")

    # Measures

    def _measure_results(self, call: Call, operation: Operation, budgets: list[Budget], outs: tuple[Any, ...]) -> None:
        names = RESULTS.get(call.name, ("out",))
        if len(outs) != len(call.results):
            operation.fail(self.name, f"{len(outs)} results instead of {len(call.results)}")
        for name, out, result, exact, limit in zip(names, outs, call.results, call.outputs, budgets, strict=False):
            actual = self._host(out)
            self._measure(operation, name, limit, actual, exact, result.dtype)
            if name == "out" and not _is_allowed(actual.dtype, result.dtype, call):
                operation.fail(self.name, f"dtype {actual.dtype.name} instead of {result.dtype.name}")

    def _measure_mask(self, call: Call, operation: Operation) -> None:
        """The random bits of a dropout, on ones: what the input itself has set to 0 would hide them."""
        x = call.inputs[0]
        ones = np.ones(x.shape, np.float32)
        with self.backend.scope():
            out, _ = self.backend.dropout(self.backend.asarray(ones), **call.options)
        wanted, _ = Backend.dropout(_reference(), ones, **call.options)
        self._measure(operation, "mask", Budget(1, 0.0, 0.0), self._host(out) != 0, wanted != 0, np.dtype(bool))

    def _measure(self, operation: Operation, name: str, limit: Budget, actual: Any, exact: Any, dtype: Any) -> None:
        exact = exact.astype(np.float64) if exact.dtype.kind not in "biu" else exact
        quantity = operation.quantity(Quantity(name, exact.shape, limit.terms, limit.rtol))
        if actual.shape != exact.shape:
            operation.fail(self.name, f"{name}: shape {actual.shape} instead of {exact.shape}")
        quantity.errors[self.name] = limit.error(actual, exact, dtype)


def _is_allowed(dtype: Any, wanted: Any, call: Call) -> bool:
    """Whether a result may have this dtype. Where dtypes meet, or bfloat16 a plain number, the caller narrows what is wider."""
    given = {x.dtype for x in call.inputs if isinstance(x, np.ndarray) and is_floating(x.dtype)}
    return dtype == wanted or dtype in given or (dtype == np.float32 and wanted.name == "bfloat16")


def _reference() -> Backend:
    return Backend(np, "reference")


def input_names(call: Call) -> list[str]:
    """What the contract calls the inputs of a primitive."""
    parameters = list(inspect.signature(getattr(Backend, call.name)).parameters.values())[1:]
    if parameters and parameters[0].kind is inspect.Parameter.VAR_POSITIONAL:
        return [f"{parameters[0].name}[{number}]" for number in range(len(call.inputs))]
    return [parameter.name for parameter in parameters[: len(call.inputs)]]


def _same_bits(a: Any, b: Any) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def _flat(values: Any) -> list[Any]:
    found: list[Any] = []
    collect: Callable[[Any], Any] = found.append
    map_arrays(collect, values)
    return found


def _pairs(*values: Any) -> list[tuple[Any, ...]]:
    return list(zip(*(_flat(value) for value in values), strict=True))


def _described(error: Exception) -> str:
    return f"raised {type(error).__name__}: {' '.join(str(error).split())}"
