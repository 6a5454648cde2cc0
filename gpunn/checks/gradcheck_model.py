"""`gradcheck` for every operation of a network, on the shapes and with the options that the network has for it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

import backends
from backends import philox

from ..dtypes import is_floating
from ..nn import Module
from ..tensor import Tensor, apply
from .gradcheck import GradientError, gradcheck
from .step import Loss, Step
from .subject import input_names
from .trace import Backward, Call, watching

# Where two elements are equal, or one is 0, these have no derivative: they are tried where no two are near each other.
KINKED = frozenset({"relu", "elu", "leaky_relu", "prelu", "abs", "amax", "amin", "max_along", "min_along", "maximum", "minimum",
                    "max_pool2d", "max_pool2d_with_indices"})  # fmt: skip
STREAM = 2**62 + 2


class Gradient(NamedTuple):
    """One operation: ``error`` is what `gradcheck` says, None where its gradients are right."""

    path: str
    name: str
    shapes: tuple[tuple[int, ...], ...]
    error: str | None


def gradcheck_model(
    model: Module, batch: Any, *, loss: Loss | None = None, device: str = "cpu", seed: int = 0
) -> list[Gradient]:
    """Check the gradients of every operation of the forward pass and the loss by differences, in float64.

    Operations that come again with equal shapes and options are checked once. Arguments as for `parity`.
    """
    backend = backends.get(device)
    calls = _Calls()
    prepared = Step(model, batch, loss, None, None, "float64", seed).prepared(backends.get("reference"))
    with watching(calls, prepared.net):
        prepared.run()
    return [_checked(call, backend) for call in calls.different]


class _Calls:
    """Keeps the calls that differ from all before."""

    def __init__(self) -> None:
        self.different: list[Call] = []
        self.known: set[Any] = set()

    def forward(self, call: Call) -> None:
        shapes = tuple(getattr(x, "shape", x) for x in call.inputs)
        key = (call.name, shapes, repr({k: v for k, v in call.options.items() if k != "stream"}))
        if key not in self.known and any(isinstance(x, np.ndarray) and is_floating(x.dtype) for x in call.inputs):
            self.known.add(key)
            self.different.append(call)

    def backward(self, call: Call, back: Backward) -> None:
        pass

    def on_lists(
        self, name: str, lists: tuple[Any, ...], options: dict[str, Any], after: tuple[Any, ...], result: Any
    ) -> None:
        pass


def _checked(call: Call, backend: Any) -> Gradient:
    names, constants = input_names(call), _constants(call)
    inputs: list[Any] = []
    for number, x in enumerate(call.inputs):
        if isinstance(x, np.ndarray):
            floating = is_floating(x.dtype)
            values = _far_apart(x.shape, number) if floating and call.name in KINKED else x.copy()
            inputs.append(
                Tensor(backend.asarray(values), backend, requires_grad=floating and names[number] not in constants)
            )
        else:
            inputs.append(x)

    def operation(*arguments: Any) -> Tensor:
        out = apply(call.name, *arguments, **call.options)
        return out[0] if isinstance(out, tuple) else out

    shapes = tuple(x.shape for x in call.inputs if isinstance(x, np.ndarray))
    try:
        gradcheck(operation, inputs)
    except GradientError as error:
        return Gradient(call.path, call.name, shapes, str(error).removeprefix("gradcheck: "))
    return Gradient(call.path, call.name, shapes, None)


def _constants(call: Call) -> tuple[str, ...]:
    """Inputs that have no gradient by contract: statistics, and the weights of classes."""
    if call.name == "batch_norm_inference":
        return ("mean", "variance")
    return ("weight",) if call.name.endswith("cross_entropy") else ("pos_weight",)


def _far_apart(shape: tuple[int, ...], number: int) -> np.ndarray:
    """Evenly spaced numbers between -2 and 2 without 0, in random order: a small step makes no two of them change places."""
    count = int(np.prod(shape))
    levels = (2 * np.arange(count) + 1 - count + (count % 2) * 0.5) / max(count, 1)
    return (2 * levels[philox.permutation(0, STREAM + number, count)]).reshape(shape)
