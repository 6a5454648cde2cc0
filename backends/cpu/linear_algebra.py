"""Products of linear layers by kernels of our own, in pieces on all cores: whatever their number, the result is the same.

What no kernel serves is left to OpenBLAS: small products, with one thread, so that small networks compile less; and other
dtypes than float32, or everything where kernels are not compiled, with all threads if that pays. On their number it may
depend how a large product rounds.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from ..reference.linear_algebra import LinearAlgebra, Needs, as_matrix
from .batch_last import transposed
from .compiled import is_available
from .compiled import linear as kernels
from .compiled import linear_few_rows as few_rows
from .compiled.squares import LANES
from .scratch import aligned, scratch
from .threads import one_core, slices, together

WORK = 2e5  # multiplications from which on a kernel computes a product
WORK_OF_A_THREAD = 1e6  # ... and from which on OpenBLAS takes all threads
# Of a piece, the least, what it is a multiple of as long as it is larger, and the most: rows of weight, and columns of x.
ROWS, COLUMNS = (16, kernels.GROUP, 4 * kernels.GROUP), (128, 128, 512)
FEW = 24  # rows for which nothing is rearranged
MOST_ROWS = 1024  # that are worked on together: what is made of them stays small
MANY_OUTPUTS = 64  # for which x is put into panels for its gradient
PAD = 48  # columns between rows that would otherwise share the same places of the first cache
SHARED_BYTES = 2048  # the distance of such rows is a multiple of this
LAST_CACHE_BYTES = 32 << 20

SINGLE = np.dtype("float32")
NOTHING, NO_BIAS, NO_BOUNDS = np.empty((0, 0), SINGLE), np.empty(0, SINGLE), np.zeros(1, np.int64)


def is_served(*arrays: Any) -> bool:
    """Whether the kernels take a layer's x, weight and what else there is."""
    large = arrays[0].size * len(arrays[1]) > WORK
    return large and is_available() and all(array is None or array.dtype == SINGLE for array in arrays)


def by_numpy(x: Any, weight: Any, work: Callable[[], Any]) -> Any:
    """work(), on all cores if it is worth it."""
    return one_core(work) if x.size * len(weight) <= WORK_OF_A_THREAD else work()


@cache
def _bounds(length: int, least: int, group: int, most: int) -> Any:
    """Where the pieces of ``length`` begin and end: the later the smaller, so that all threads end together."""
    found = [0]
    while found[-1] < length:
        left = length - found[-1]
        size = max(least, min(most, left // 5 // group * group))
        found.append(min(length, found[-1] + size))
    return np.array(found, np.int64)


def as_rows(x: Any) -> Any:
    """(..., columns) as a contiguous matrix."""
    rows = as_matrix(x)
    by_column = rows.flags.f_contiguous and not rows.flags.c_contiguous  # as images whose batch stands last in memory
    return transposed(rows.T) if by_column and rows.dtype == SINGLE else np.ascontiguousarray(rows)


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
        return multiply(x, weight, bias, rectify=False), (x, weight, bias is not None)

    def linear_backward(self, saved: Any, dout: Any, needs: Needs = (True, True, True)) -> tuple[Any, ...]:
        x, weight, has_bias = saved
        if not is_served(x, weight, dout):
            return by_numpy(x, weight, lambda: super(CompiledLinear, self).linear_backward(saved, dout, needs))
        return _backward(x, weight, None, dout, (*needs[:2], has_bias and needs[2]))

    def linear_relu(self, x: Any, weight: Any, bias: Any) -> tuple[Any, Any]:
        if not is_served(x, weight, bias):
            return by_numpy(x, weight, lambda: super(CompiledLinear, self).linear_relu(x, weight, bias))
        out = multiply(x, weight, bias, rectify=True)
        return out, ((x, weight, False), out)

    def linear_relu_backward(self, saved: Any, dout: Any, needs: Needs = (True, True, True)) -> tuple[Any, ...]:
        (x, weight, _), out = saved
        if not is_served(x, weight, dout, out):
            return by_numpy(x, weight, lambda: super(CompiledLinear, self).linear_relu_backward(saved, dout, needs))
        return _backward(x, weight, out, dout, needs)


def multiply(x: Any, weight: Any, bias: Any, rectify: bool) -> Any:
    """x W' + b, or the larger of that and 0: x (..., in), weight (out, in), all float32; bias (out) or None."""
    rows, matrix = as_rows(x), np.ascontiguousarray(weight)
    outs, ins = matrix.shape
    added = np.zeros(outs, SINGLE) if bias is None else np.ascontiguousarray(bias)
    out, bounds = aligned((len(rows), outs)), _bounds(outs, *ROWS)
    if min(len(rows), outs) < FEW:
        read = rows if outs < FEW else spread_rows(rows)  # the copy pays if it is read often
        together(few_rows.forward, read, matrix, added, bounds, out, int(rectify))
    else:
        for part in slices(len(rows), MOST_ROWS):
            own = rows[part]
            panels = scratch("linear_panels", (_whole(len(own)) * ins, LANES))
            together(kernels.forward, own, matrix, added, bounds, panels, out[part], int(rectify))
    return out.reshape(*x.shape[:-1], outs)


def _backward(x: Any, weight: Any, out: Any, dout: Any, needs: Needs) -> tuple[Any, ...]:
    """The gradients for x, weight and bias; ``out`` is that of the rectifier behind the layer, None without one."""
    rows, matrix, grad_rows = as_rows(x), np.ascontiguousarray(weight), as_rows(dout)
    outs, ins = matrix.shape
    kept = grad_rows if out is None else as_rows(out)  # the first stands in for what is not there
    grad_x = aligned(rows.shape) if needs[0] else None
    grad_weight = aligned((outs, ins)) if needs[1] else NOTHING
    grad_bias = np.empty(outs, SINGLE) if needs[2] else NO_BIAS
    columns = _bounds(ins, *COLUMNS) if needs[0] else NO_BOUNDS
    rows_of_weight = _bounds(outs, *ROWS) if needs[1] else NO_BOUNDS
    beside = 4 * outs * ins > LAST_CACHE_BYTES and ins % 16 == 0 and len(rows) <= kernels.TALL
    for part in slices(len(rows), MOST_ROWS):
        own, given, count = rows[part], grad_rows[part], len(rows[part])
        masked = given if out is None else scratch("linear_masked", given.shape)
        by_output = scratch("linear_by_output", (outs, count)) if needs[1] else NOTHING
        packed = needs[1] and outs >= MANY_OUTPUTS
        panels = scratch("linear_panels", (_whole(ins) * count, LANES)) if packed else NOTHING
        together(
            kernels.backward, own, matrix, kept[part], given, masked, by_output, panels,
            NOTHING if grad_x is None else grad_x[part], grad_weight, grad_bias, columns, rows_of_weight,
            int(out is not None), part.start, int(beside),
        )  # fmt: skip
    grad_x = None if grad_x is None else grad_x.reshape(x.shape)
    return grad_x, grad_weight if needs[1] else None, grad_bias if needs[2] else None


def _whole(columns: int) -> int:
    """The panels that hold so many columns."""
    return -(-columns // LANES)
