"""Watching the primitives of a training step: each is computed in float64, rounded once, and reported as it happens.

A step runs on the device "reference". Within `watching`, every primitive that it asks for is computed by that same plain array
code in float64, on the very numbers that the step has at that point, and each result is rounded once to the dtype that it would
have had. So the step goes the way of a device without errors of its own, and whoever listens can give the same inputs to another
device, one operation at a time: an error is then that of the operation, not of those before it.

The primitives are exchanged on the backend itself, not on a stand-in for it: what a network makes in its ``forward``
(``gpunn.zeros(3, device=x.device)``) finds its device by name, and is watched as well.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

import backends
from backends import Backend
from backends.reference.optimizer import Optimizers

from ..dtypes import as_dtype, is_floating, promote
from ..nn import Module

# They move elements and compute nothing, and their results may be views that a network writes to: they run on what is given.
MOVES = frozenset({"reshape", "permute", "expand", "getitem"})
PAIRS = tuple(name for name in dir(Backend) if hasattr(Backend, f"{name}_backward"))
ON_LISTS = tuple(name for name in vars(Optimizers) if not name.startswith("_") and callable(getattr(Optimizers, name)))

_one_at_a_time = threading.RLock()


@dataclass(eq=False)
class Call:
    """One primitive that was carried out. It goes through the tape in the place of what the primitive saved.

    Attributes:
        name: of the primitive.
        path: of the module that asked for it, "" for the outermost; "loss" outside of all.
        inputs: as the step has them: NumPy arrays, numbers, None.
        options: its other arguments.
        exact: the inputs in float64.
        outputs: the results in float64.
        results: the results as the step goes on with them: rounded.
        saved: by the primitive in float64.
        notes: a place for what a listener has to remember until the backward pass.
    """

    name: str
    path: str
    inputs: tuple[Any, ...]
    options: dict[str, Any]
    exact: tuple[Any, ...]
    outputs: tuple[Any, ...] = ()
    results: tuple[Any, ...] = ()
    saved: Any = None
    notes: dict[Any, Any] = field(default_factory=dict)


@dataclass(eq=False)
class Backward:
    """The backward of a primitive that was carried out.

    Attributes:
        dout: as the step has it.
        needs: what else the primitive was told: which gradients are needed.
        exact: the gradients in float64, None for what needs none.
        results: the gradients as the step goes on with them: rounded.
    """

    dout: Any
    needs: tuple[Any, ...]
    exact: tuple[Any, ...]
    results: tuple[Any, ...]


class Listener(Protocol):
    """What `watching` reports to."""

    def forward(self, call: Call) -> None:
        """A primitive was carried out."""

    def backward(self, call: Call, back: Backward) -> None:
        """So was its backward."""

    def on_lists(
        self, name: str, lists: tuple[Any, ...], options: dict[str, Any], after: tuple[Any, ...], result: Any
    ) -> None:
        """So was an optimizer's step: ``lists`` of the step's arrays, not yet written to; ``after`` it, in float64."""


def widened(x: Any) -> Any:
    """Floating-point arrays in float64; all else as it is."""
    return x.astype(np.float64, copy=False) if isinstance(x, np.ndarray) and is_floating(x.dtype) else x


def map_arrays(function: Callable[[Any], Any], values: Any) -> Any:
    """The same structure of tuples, lists and dicts, with ``function`` of every array in it."""
    if isinstance(values, np.ndarray):
        return function(values)
    if isinstance(values, dict):
        return {name: map_arrays(function, value) for name, value in values.items()}
    if type(values) in (tuple, list):
        return type(values)(map_arrays(function, value) for value in values)
    return values


@contextmanager
def watching(listener: Listener, *modules: Module) -> Iterator[None]:
    """Within the block, report every primitive that this thread asks of the device "reference".

    Args:
        modules: networks whose submodules give each call its path.
    """
    backend = backends.get("reference")
    with _one_at_a_time:
        watch = _Watch(listener)
        handles = [handle for module in modules for handle in watch.follow(module)]
        for name in PAIRS:
            backend.__dict__[name] = functools.partial(watch.forward, name, getattr(backend, name))
            backward = f"{name}_backward"
            backend.__dict__[backward] = functools.partial(watch.backward, getattr(backend, backward))
        for name in ON_LISTS:
            backend.__dict__[name] = functools.partial(watch.on_lists, name, getattr(backend, name))
        try:
            yield
        finally:
            for name in (*PAIRS, *(f"{pair}_backward" for pair in PAIRS), *ON_LISTS):
                del backend.__dict__[name]
            for handle in handles:
                handle.remove()


class _Watch:
    """The functions that stand in for the primitives. One that is called by another is not reported."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.thread = threading.get_ident()
        self.within = False
        self.paths: list[str] = []

    def follow(self, module: Module) -> list[Any]:
        handles = []
        for path, part in module.named_modules():
            handles.append(part.register_forward_pre_hook(functools.partial(self.enter, path)))
            handles.append(part.register_forward_hook(self.leave))
        return handles

    def enter(self, path: str, module: Module, inputs: Any) -> None:
        self.paths.append(path)

    def leave(self, module: Module, inputs: Any, output: Any) -> None:
        self.paths.pop()

    def passes_by(self) -> bool:
        return self.within or threading.get_ident() != self.thread

    @contextmanager
    def inside(self) -> Iterator[None]:
        self.within = True
        try:
            yield
        finally:
            self.within = False

    def forward(self, name: str, primitive: Callable[..., Any], /, *inputs: Any, **options: Any) -> Any:
        if self.passes_by():
            return primitive(*inputs, **options)
        with self.inside():
            inputs = tuple(np.asarray(x) if isinstance(x, np.generic) else x for x in inputs)
            moves = name in MOVES
            call = Call(
                name, self.paths[-1] if self.paths else "loss", inputs, options, tuple(widened(x) for x in inputs)
            )
            out, call.saved = primitive(*(inputs if moves else call.exact), **_exact_options(name, options))
            outs = tuple(np.asarray(x) for x in (out if isinstance(out, tuple) else (out,)))
            dtype = _result_dtype(name, inputs, options)
            call.outputs = tuple(widened(x) for x in outs)
            call.results = outs if moves else tuple(_rounded(x, dtype) for x in outs)
            self.listener.forward(call)
            return (call.results if isinstance(out, tuple) else call.results[0]), call

    def backward(self, primitive: Callable[..., Any], /, call: Any, dout: Any, *needs: Any) -> Any:
        if self.passes_by() or not isinstance(call, Call):
            return primitive(call, dout, *needs)
        with self.inside():
            dout = np.asarray(dout)
            gradients = primitive(call.saved, widened(dout), *needs)
            exact = tuple(None if g is None else widened(np.asarray(g)) for g in gradients)
            dtypes = [getattr(x, "dtype", dout.dtype) for x in call.inputs]
            results = tuple(
                None if g is None else _rounded(g, dtype if is_floating(dtype) else dout.dtype)
                for g, dtype in zip(exact, dtypes, strict=True)
            )
            self.listener.backward(call, Backward(dout, needs, exact, results))
            return results

    def on_lists(self, name: str, primitive: Callable[..., Any], /, *lists: Any, **options: Any) -> Any:
        if self.passes_by():
            return primitive(*lists, **options)
        with self.inside():
            after = map_arrays(lambda x: x.astype(np.float64) if is_floating(x.dtype) else x.copy(), lists)
            result = primitive(*after, **options)
            self.listener.on_lists(name, lists, options, after, result)
            if name.endswith("_"):
                _write(lists, after)
            return result


def _exact_options(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """A cast to another floating-point dtype keeps float64: the result is rounded once, behind the primitive."""
    if name == "cast" and is_floating(as_dtype(options["dtype"])):
        return {**options, "dtype": np.dtype(np.float64)}
    return options


def _result_dtype(name: str, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """The floating-point dtype of a result; None where there is none."""
    if name == "cast":
        return as_dtype(options["dtype"])
    dtypes = [x.dtype for x in inputs if isinstance(x, np.ndarray) and is_floating(x.dtype)]
    if name.startswith("batch_norm"):
        return dtypes[0]  # half-precision images may meet float32 statistics
    return promote(*dtypes) if dtypes else None


def _rounded(x: Any, dtype: Any) -> Any:
    return x.astype(dtype, copy=False) if dtype is not None and x.dtype == np.float64 else x


def _write(targets: Any, values: Any) -> None:
    """Round the new values into the arrays of the step."""
    if isinstance(targets, np.ndarray):
        targets[...] = values
    elif type(targets) in (tuple, list):
        for target, value in zip(targets, values, strict=True):
            _write(target, value)
