"""What a row of the table of operations says: an operation, sample inputs, an oracle, and what is wrong use."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

_seeds = itertools.count()


def numbers(*shape: int, low: float = -2.0, high: float = 2.0) -> np.ndarray:
    """Uniform float64 numbers, others at each call, the same in each run."""
    return np.asarray(np.random.default_rng(next(_seeds)).uniform(low, high, shape))


def levels(*shape: int, count: int = 3) -> np.ndarray:
    """Few distinct numbers, so that a maximum has ties."""
    return np.asarray(np.random.default_rng(next(_seeds)).integers(0, count, shape).astype(np.float64))


def labels(*shape: int, classes: int) -> np.ndarray:
    return np.asarray(np.random.default_rng(next(_seeds)).integers(0, classes, shape))


def signs(*shape: int) -> np.ndarray:
    return np.where(numbers(*shape) > 0, 1.0, -1.0)


def distributions(rows: int, classes: int, *rest: int) -> np.ndarray:
    """Positive numbers whose sum along dimension 1 is 1."""
    values = numbers(rows, classes, *rest, low=0.1, high=1.0)
    return values / values.sum(axis=1, keepdims=True)


class Sample:
    """Arguments of one call.

    Attributes:
        inputs: arrays (floating-point ones in float64; the harness casts them), or None for one that is absent.
        terms: K, the length of the longest sum behind an element of the result.
        options: the other arguments.
    """

    def __init__(self, *inputs: Any, terms: int = 1, **options: Any) -> None:
        self.inputs, self.terms, self.options = inputs, max(terms, 1), options

    def __repr__(self) -> str:
        shapes = ", ".join("None" if x is None else str(np.shape(x)) for x in self.inputs)
        return f"{shapes} {self.options}" if self.options else shapes


class Edge:
    """Arguments with NaN, infinities, zeros or ties, and the result; ``expected=None`` asks the oracle.

    With ``signed`` the signs of zeros count.
    """

    def __init__(self, *inputs: Any, expected: Any = None, signed: bool = False, **options: Any) -> None:
        self.inputs = tuple(np.asarray(x) for x in inputs)
        self.expected, self.signed, self.options = expected, signed, options

    def __repr__(self) -> str:
        return f"edge {self.inputs} {self.options}"


class Misuse:
    """Arguments that must raise, and a pattern of the message."""

    def __init__(self, message: str, *inputs: Any, error: type[Exception] = ValueError, **options: Any) -> None:
        self.message, self.inputs, self.error, self.options = message, inputs, error, options


@dataclass(frozen=True, eq=False)
class Operation:
    """One row of the table.

    Attributes:
        name: unique.
        call: of tensors and options; returns a tensor, or a tuple whose first is the differentiable one.
        oracle: of float64 arrays and the same options, independent of the implementation.
        samples: what is tried everywhere: values, gradients, layouts, purity, repetition.
        constants: positions of floating-point inputs that get no gradient.
        rounding: this operation's own factor on the tolerance, with a comment in the table that says why.
        gradient_rounding: the same for its gradients.
        scale: how large the numbers are that are subtracted on the way, where the result may be much smaller than they.
        differentiable: False for a row without gradients.
        edges, misuses: see the classes.
    """

    name: str
    call: Callable[..., Any]
    oracle: Callable[..., Any]
    samples: Sequence[Sample]
    constants: tuple[int, ...] = ()
    rounding: float = 1.0
    gradient_rounding: float = 1.0
    scale: float = 0.0
    differentiable: bool = True
    edges: Sequence[Edge] = field(default=())
    misuses: Sequence[Misuse] = field(default=())

    def __str__(self) -> str:
        return self.name
