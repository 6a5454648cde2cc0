"""Products of linear layers by kernels of our own, in pieces on all cores: whatever their number, the result is the same.

A product that is too small for a second core is left to OpenBLAS, with one thread. What no kernel serves (another dtype than
float32, or kernels are not compiled) is left to it with all threads, on whose number it may depend how it rounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..reference.linear_algebra import LinearAlgebra, Needs
from .compiled import is_available
from .compiled import linear as kernels
from .scratch import aligned
from .threads import for_each, one_core

WORK = 1e6  # multiplications; a smaller product is left to one thread of OpenBLAS: small networks compile less
LEAST = 2e6  # multiplications of a piece
# A piece has a multiple of them: the kernels work on 6 and on 4 rows at a time, and on 64 columns.
ROWS, COLUMNS = 24, 64
PAD = 48  # columns between rows that would otherwise share the same places of the first cache
SHARED_BYTES = 2048  # the distance of such rows is a multiple of this
LAST_CACHE_BYTES = 32 << 20

SINGLE = np.dtype("float32")


def is_small(x: Any, weight: Any) -> bool:
    return bool(x.size * len(weight) <= WORK)


def is_served(*arrays: Any) -> bool:
    """Whether the kernels take a layer's x, weight and what else there is."""
    given = [array for array in arrays if array is not None]
    return is_available() and not is_small(*arrays[:2]) and all(array.dtype == SINGLE for array in given)


def by_numpy(x: Any, weight: Any, multiply: Callable[[], Any]) -> Any:
    """multiply(), on all cores if it is worth it."""
    return one_core(multiply) if is_small(x, weight) else multiply()


def pieces(length: int, multiplications: float, multiple: int) -> list[slice]:
    """``length`` in pieces, each a multiple of ``multiple``: the later the smaller, so that all threads end together."""
    least = math.ceil(LEAST * length / (multiplications * multiple)) * multiple
    found, first = [], 0
    while first < length:
        last = min(length, first + max(least, (length - first) // 8 // multiple * multiple))
        found.append(slice(first, last))
        first = last
    return found


def as_rows(x: Any) -> Any:
    """(..., columns) as a contiguous matrix."""
    return np.ascontiguousarray(x.reshape(-1, x.shape[-1]))


def spread_rows(rows: Any) -> Any:
    """The matrix, with some columns more where its rows would displace each other in the first cache."""
    if len(rows) < 4 or rows.strides[0] % SHARED_BYTES:
        return rows
    wider = np.empty((len(rows), rows.shape[1] + PAD), SINGLE)
    wider[:, : rows.shape[1]] = rows
    return wider


class CompiledLinear(LinearAlgebra):
    def linear(self, x: Any, weight: Any, bias: Any) -> tuple[Any, Any]:
        if not is_served(x, weight, bias):
            return by_numpy(x, weight, lambda: super(CompiledLinear, self).linear(x, weight, bias))
        return _forward(x, weight, bias, rectify=False), (x, weight, bias is not None)

    def linear_backward(self, saved: Any, dout: Any, needs: Needs = (True, True, True)) -> tuple[Any, ...]:
        x, weight, has_bias = saved
        if not is_served(x, weight, dout):
            return by_numpy(x, weight, lambda: super(CompiledLinear, self).linear_backward(saved, dout, needs))
        return _backward(x, weight, None, dout, (*needs[:2], has_bias and needs[2]))

    def linear_relu(self, x: Any, weight: Any, bias: Any) -> tuple[Any, Any]:
        if not is_served(x, weight, bias):
            return by_numpy(x, weight, lambda: super(CompiledLinear, self).linear_relu(x, weight, bias))
        out = _forward(x, weight, bias, rectify=True)
        return out, ((x, weight, False), out)

    def linear_relu_backward(self, saved: Any, dout: Any, needs: Needs = (True, True, True)) -> tuple[Any, ...]:
        (x, weight, _), out = saved
        if not is_served(x, weight, dout, out):
            return by_numpy(x, weight, lambda: super(CompiledLinear, self).linear_relu_backward(saved, dout, needs))
        return _backward(x, weight, out, dout, needs)


def _forward(x: Any, weight: Any, bias: Any, rectify: bool) -> Any:
    rows, matrix = as_rows(x), np.ascontiguousarray(weight)
    outs, cost = len(matrix), len(rows) * matrix.size
    added = np.zeros(outs, SINGLE) if bias is None else np.ascontiguousarray(bias)
    spread, out = spread_rows(rows), np.empty((len(rows), outs), SINGLE)

    def multiply(part: slice) -> None:
        kernels.forward(spread, matrix, added, out, part.start, part.stop, int(rectify))

    for_each(multiply, pieces(outs, cost, ROWS))
    return out.reshape(*x.shape[:-1], outs)


def _backward(x: Any, weight: Any, out: Any, dout: Any, needs: Needs) -> tuple[Any, ...]:
    """The gradients for x, weight and bias; ``out`` is that of the rectifier behind the layer, None without one."""
    rows, matrix, grad_rows = as_rows(x), np.ascontiguousarray(weight), as_rows(dout)
    (outs, ins), cost = matrix.shape, len(rows) * matrix.size
    masked = grad_rows
    grad_x = grad_weight = grad_bias = None
    if needs[2] or out is not None:
        masked = grad_rows if out is None else np.empty_like(grad_rows)
        grad_bias = np.empty(outs, SINGLE)
        kept = grad_rows if out is None else np.ascontiguousarray(out)  # the first stands in for what is not there
        kernels.mask(grad_rows, kept, masked, grad_bias, int(out is not None))
    todo: list[tuple[bool, slice]] = []
    if needs[0]:
        grad_x = np.empty(rows.shape, SINGLE)
        todo += [(True, part) for part in pieces(ins, cost, COLUMNS)]
    if needs[1]:
        grad_weight = aligned((outs, ins))
        todo += [(False, part) for part in pieces(outs, cost, ROWS)]
    beside = 4 * outs * ins > LAST_CACHE_BYTES and ins % 16 == 0 and len(rows) <= kernels.TALL

    def multiply(piece: tuple[bool, slice]) -> None:
        of_x, part = piece
        if of_x:
            kernels.input_gradient(masked, matrix, grad_x, part.start, part.stop)
        else:
            kernels.weight_gradient(masked, rows, grad_weight, part.start, part.stop, int(beside))

    for_each(multiply, todo)
    return None if grad_x is None else grad_x.reshape(x.shape), grad_weight, grad_bias if needs[2] else None
