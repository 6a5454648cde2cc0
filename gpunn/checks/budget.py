"""How far a device may be from the exact result of one operation.

|out - exact| <= c eps sqrt(K) (|exact| + scale). eps is that of the dtype; K, the ``terms``, is the length of the longest sum
behind an element: rounding errors of a sum add up like a random walk (N. Higham, "Accuracy and stability of numerical
algorithms", 2nd edition 2002, section 2.8). ``scale`` is the largest magnitude of the result, or of what was subtracted on the
way where that is larger: a sum whose terms cancel is as wrong as its terms are large. For sums of products it is the root of the
sum of the squared terms, which the same primitive gives for the squared inputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from backends import Backend

from . import scale
from .trace import Backward, Call

# c: about four roundings one behind the other, each of an elementary function that on a GPU may be two units off.
ROUNDINGS = 8
EPSILON = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
# Below these a result may be cut off: the least number of float16, and what a GPU may flush to zero in the wider ones.
LEAST = {"float64": 2.0**-1022, "float32": 2.0**-126, "float16": 2.0**-24, "bfloat16": 2.0**-126}

# Results of these are elements of their inputs: they must be equal, bit for bit.
EXACT = frozenset(
    {"reshape", "permute", "expand", "getitem", "cat", "pad", "clone", "where", "neg", "abs", "relu", "clamp"}
    | {"maximum", "minimum", "amax", "amin", "max_along", "min_along", "max_pool2d", "max_pool2d_with_indices"}
)


class Budget(NamedTuple):
    """Of one result: ``rtol`` is c eps sqrt(K), 0 where the result must be equal."""

    terms: int
    scale: float
    rtol: float

    def error(self, actual: Any, exact: Any, dtype: Any) -> float:
        """max |actual - exact| / (|exact| + scale): at most ``rtol`` where the result is good.

        0 where it is the exact one rounded to ``dtype``, or differs by less than counts there; infinite where one of them is
        NaN or infinite and the other not the same.
        """
        if actual.shape != exact.shape:
            return math.inf
        if exact.dtype.kind in "biu":
            return 0.0 if np.array_equal(actual, exact) else math.inf
        with np.errstate(over="ignore", under="ignore"):
            rounded = exact.astype(dtype).astype(np.float64)
        actual, least = actual.astype(np.float64), LEAST.get(dtype.name, 0.0)
        same = (actual == rounded) | (np.isnan(actual) & np.isnan(exact))
        if same.all():
            return 0.0
        with np.errstate(invalid="ignore"):
            difference = np.abs(actual - exact)
        finite = np.isfinite(exact)
        magnitude = np.abs(exact) + max(self.scale, float(np.abs(exact[finite]).max(initial=0.0)))
        with np.errstate(divide="ignore", invalid="ignore"):
            error = np.where(same | (difference <= least), 0.0, np.where(finite, difference / magnitude, math.inf))
        return math.inf if np.isnan(error).any() else float(error.max())


def of_dtype(dtypes: list[Any], terms: int, largest: float) -> Budget:
    """The budget of a result that the coarsest of ``dtypes`` has part in."""
    terms = max(int(terms), 1)
    rounding = ROUNDINGS * max(EPSILON[dtype.name] for dtype in dtypes)
    return Budget(terms, float(np.nan_to_num(largest)), rounding * math.sqrt(terms))


def of_forward(oracle: Backend, call: Call) -> list[Budget]:
    """One for each of the results of ``call``."""
    dtypes = _floating(call.inputs, call.results)
    if call.name in EXACT or not dtypes:
        return [Budget(1, 0.0, 0.0) for _ in call.results]
    terms = TERMS[call.name](call)[0] if call.name in TERMS else None
    scales = scale.of_results(oracle, call)
    sizes = [x.size for x in call.inputs if isinstance(x, np.ndarray)]
    return [
        # Where the table says nothing: as many inputs behind an element as there are inputs for one.
        of_dtype(dtypes, terms or max(sizes) // max(out.size, 1), largest)
        for out, largest in zip(call.outputs, scales, strict=True)
    ]


def of_backward(oracle: Backend, call: Call, back: Backward) -> list[Budget]:
    """One for each of the inputs of ``call``; that of an input without a gradient means nothing."""
    dtypes = _floating(call.inputs, (back.dout,))
    table = TERMS[call.name](call)[1] if call.name in TERMS else ()
    scales = scale.of_gradients(oracle, call, back)
    budgets = []
    for number, gradient in enumerate(back.exact):
        generic = 1 if gradient is None else back.dout.size // max(gradient.size, 1)
        terms = table[number] if number < len(table) else generic
        budgets.append(of_dtype(dtypes, terms, scales[number] if number < len(scales) else 0.0))
    return budgets


def _floating(*groups: tuple[Any, ...]) -> list[Any]:
    return [x.dtype for group in groups for x in group if isinstance(x, np.ndarray) and x.dtype.name in EPSILON]


# K. Each function gives (that of the result, those of the gradients): what is multiplied and added, counted.

Terms = tuple[int, tuple[int, ...]]


def _linear(call: Call) -> Terms:
    x, weight = call.inputs[:2]
    rows = x.size // max(x.shape[-1], 1)
    return weight.shape[1] + 1, (weight.shape[0], rows, rows)


def _matmul(call: Call) -> Terms:
    a, b = call.inputs
    out = call.outputs[0].size * a.shape[-1]  # all products of two elements that are formed
    return a.shape[-1], (out // max(a.size, 1), out // max(b.size, 1))


def _conv2d(call: Call) -> Terms:
    weight = call.inputs[1]
    places = call.outputs[0].size // max(weight.shape[0], 1)
    window = math.prod(weight.shape[1:])
    seen = call.outputs[0].size * window // max(call.inputs[0].size, 1)
    return window + 1, (seen, places, places)


def _per_channel(call: Call) -> Terms:
    count = call.inputs[0].size // max(call.inputs[0].shape[1], 1)
    return count, (count,) * 5


def _elements_per_channel(call: Call) -> Terms:
    count = call.inputs[0].size // max(call.inputs[0].shape[1], 1)
    return 1, (1, count, count)


def _window(call: Call) -> Terms:
    kernel = call.options.get("kernel", call.inputs[1] if len(call.inputs) > 1 else (1, 1))
    return math.prod(kernel), (math.prod(kernel),)


def _axis(call: Call) -> Terms:
    length = call.inputs[0].shape[call.options["axis"]]
    return length, (length,)


def _classes(call: Call) -> Terms:
    rows, classes = call.inputs[0].shape
    return rows * classes, (classes, classes)


def _order(call: Call) -> Terms:
    return call.inputs[0].shape[-1], (call.inputs[0].shape[-1],)


TERMS: dict[str, Callable[[Call], Terms]] = {
    "linear": _linear,  # in features, and the bias; gradients: out features; rows
    "matmul": _matmul,  # the inner dimension; gradients: the outer ones, and those that were broadcast
    "conv2d": _conv2d,  # C KH KW, and the bias; gradients: the outputs that saw an element; N OH OW
    "batch_norm": _per_channel,  # mean and variance are sums over N H W, and so is a part of every gradient
    "batch_norm_inference": _elements_per_channel,  # nothing is added up but the gradients of weight and bias
    "max_pool2d": _window,  # the gradient adds the windows that overlap
    "max_pool2d_with_indices": _window,
    "avg_pool2d": _window,
    "softmax": _axis,  # the sum of the exponentials; the gradient has one of as many terms
    "log_softmax": _axis,
    "cross_entropy": _classes,  # a row adds its classes, the mean the rows; the gradient is a softmax
    "soft_cross_entropy": _classes,
    "inverse": _order,  # elimination adds up to n products
    "logdet": _order,
}
