"""The products of a linear layer and of its gradients, each for a piece of the rows or columns of what it makes.

Nothing large is rearranged: of `dots` and `panel`, each product has the one that takes the matrices as they lie. All is float32
and contiguous: x (N, in), weight (out, in), dout (N, out).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiler import compiled
from .dots import QUAD, dots
from .microkernel import narrow_panel, offsets, panel_ahead, panel_beside, width
from .vectors import vector_lanes

TERMS = 1024  # of a scalar product that are worked on together: 6 such rows stay in the first cache
CHUNK = 16  # rows of weight that are taken with all of x before the next
TALL, SHORT = 256, 64  # terms of a panel
MANY = 48  # rows for which a panel is read often enough to come from the second cache
BLOCK = 64  # rows whose gradients are added up before they join the total


@compiled
def forward(x: Any, weight: Any, bias: Any, out: Any, first: int, last: int, rectify: int) -> None:
    """out[:, first:last] = x @ weight[first:last]' + bias[first:last]; with ``rectify`` what is negative becomes 0.

    The rows of x may have more columns than those of weight, which are not read.
    """
    batch, terms = len(x), weight.shape[1]
    whole = terms // vector_lanes() * vector_lanes()
    for start in range(0, whole, TERMS):
        _add_dots(x, weight, out, first, last, 0, start, min(TERMS, whole - start), start)
    if whole < terms:  # the last terms, filled up with zeros
        x_rest = np.zeros((batch, vector_lanes()), np.float32)
        weight_rest = np.zeros((last - first, vector_lanes()), np.float32)
        for k in range(terms - whole):
            for b in range(batch):
                x_rest[b, k] = x[b, whole + k]
            for o in range(last - first):
                weight_rest[o, k] = weight[first + o, whole + k]
        _add_dots(x_rest, weight_rest, out, first, last, first, 0, vector_lanes(), whole)
    zero, added = np.float32(0), bias[first:last]
    for b in range(batch):
        row = out[b, first:last]
        for o in range(last - first):
            value = row[o] + added[o]
            row[o] = zero if rectify and value <= 0 else value


@compiled
def _add_dots(
    x: Any, weight: Any, out: Any, first: int, last: int, shift: int, start: int, terms: int, accumulate: int
) -> None:
    """out[:, first:last] (+)= x[:, start:start+terms] @ weight[first-shift:last-shift, start:start+terms]'."""
    x_step, w_step, c_step = 4 * x.shape[1], 4 * weight.shape[1], 4 * out.shape[1]
    four = np.empty((6, QUAD), np.float32)
    calls = (len(x) + 5) // 6 * (CHUNK // QUAD)  # for a chunk; with each, rows of the next are fetched from memory
    for chunk in range(first, last, CHUNK):
        end, done = min(chunk + CHUNK, last), 0
        for b in range(0, len(x), 6):
            rows = min(6, len(x) - b)
            from_x = x.ctypes.data + b * x_step + 4 * start
            for o in range(chunk, end, QUAD):
                w = weight.ctypes.data + (o - shift) * w_step + 4 * start
                rest = min(QUAD, end - o)  # the last row stands in for those that are not there
                w_1, w_2, w_3 = w + min(1, rest - 1) * w_step, w + min(2, rest - 1) * w_step, w + (rest - 1) * w_step
                to_chunk = weight.ctypes.data + (chunk - shift) * w_step + 4 * start
                near = to_chunk + (CHUNK + done * CHUNK // calls) * w_step
                far = to_chunk + (CHUNK + (done * CHUNK + CHUNK - 1) // calls) * w_step
                done += 1
                c, step, add = out.ctypes.data + b * c_step + 4 * o, c_step, accumulate
                if rest < QUAD:
                    c, step, add = four.ctypes.data, 4 * QUAD, 0
                dots(rows, terms, from_x, x_step, w, w_1, w_2, w_3, c, step, add, near, far)
                if rest < QUAD:
                    for r in range(rows):
                        for q in range(rest):
                            old = out[b + r, o + q] if accumulate else np.float32(0)
                            out[b + r, o + q] = old + four[r, q]


@compiled
def mask(dout: Any, out: Any, masked: Any, grad_bias: Any, rectified: int) -> None:
    """grad_bias (out), the sum of dout's rows; with ``rectified``, of ``masked``: dout, but 0 where ``out`` (N, out) is."""
    count, outs = dout.shape
    zero, total = np.float32(0), np.empty(outs, np.float32)
    for o in range(outs):
        grad_bias[o] = zero
    for first in range(0, count, BLOCK):
        for o in range(outs):
            total[o] = zero
        for b in range(first, min(first + BLOCK, count)):
            row, kept, target = dout[b], out[b], masked[b]
            if rectified:
                for o in range(outs):
                    target[o] = zero if kept[o] <= 0 else row[o]
                row = target
            for o in range(outs):
                total[o] += row[o]
        for o in range(outs):
            grad_bias[o] += total[o]


@compiled
def weight_gradient(dout: Any, x: Any, grad_weight: Any, first: int, last: int, beside: int) -> None:
    """grad_weight[first:last] = dout[:, first:last]' @ x.

    With ``beside`` it is written beside the caches: it is large, its rows begin at multiples of 64 bytes, and N is at most TALL.
    """
    batch, count = len(x), last - first
    most = min(TALL, batch)
    by_output = np.empty((count, most), np.float32)
    a_offsets, b_offsets = offsets(most, 4), offsets(most, 4 * x.shape[1])
    for start in range(0, batch, TALL):
        terms = min(TALL, batch - start)
        for b in range(terms):
            row = dout[start + b]
            for o in range(count):
                by_output[o, b] = row[first + o]
        _product(
            count, terms, by_output.ctypes.data, 4 * most, a_offsets, x, start, b_offsets, grad_weight, first, 0,
            x.shape[1], start, beside,
        )  # fmt: skip


@compiled
def input_gradient(dout: Any, weight: Any, grad_x: Any, first: int, last: int) -> None:
    """grad_x[:, first:last] = dout @ weight[:, first:last]."""
    batch, outs = dout.shape
    most = TALL if batch >= MANY else SHORT
    a_offsets, b_offsets = offsets(min(most, outs), 4), offsets(min(most, outs), 4 * weight.shape[1])
    for k in range(0, outs, most):
        a, terms = dout.ctypes.data + 4 * k, min(most, outs - k)
        _product(batch, terms, a, 4 * outs, a_offsets, weight, k, b_offsets, grad_x, 0, first, last, k, 0)


@compiled
def _product(
    rows: int, terms: int, a: int, row_step: int, a_offsets: Any, b: Any, b_row: int, b_offsets: Any, c: Any, c_row: int,
    first: int, last: int, accumulate: int, beside: int,
) -> None:  # fmt: skip
    """c[c_row:c_row+rows, first:last] (+)= A @ b[b_row:b_row+terms, first:last], where A is as `panel` takes it."""
    c_step = 4 * c.shape[1]
    to_a, to_b = a_offsets.ctypes.data, b_offsets.ctypes.data
    from_b, to_c = b.ctypes.data + 4 * b_row * b.shape[1], c.ctypes.data + c_row * c_step
    j = first
    while j + width() <= last:
        if beside:
            panel_beside(rows, terms, a, row_step, to_a, from_b + 4 * j, to_b, to_c + 4 * j, c_step)
        else:
            panel_ahead(rows, terms, a, row_step, to_a, from_b + 4 * j, to_b, to_c + 4 * j, c_step, accumulate)
        j += width()
    lanes = vector_lanes()
    step = 4 * lanes
    while j < last:
        count = min(lanes, last - j)
        b_start, c_start, c_between = from_b + 4 * j, to_c + 4 * j, c_step
        if count < lanes:  # the last columns, filled up with zeros
            b_rest, c_rest = np.zeros((terms, lanes), np.float32), np.zeros((rows, lanes), np.float32)
            for i in range(count):
                for k in range(terms):
                    b_rest[k, i] = b[b_row + k, j + i]
                if accumulate:
                    for r in range(rows):
                        c_rest[r, i] = c[c_row + r, j + i]
            b_offsets = offsets(terms, step)
            to_b, b_start, c_start, c_between = b_offsets.ctypes.data, b_rest.ctypes.data, c_rest.ctypes.data, step
            narrow_panel(rows, terms, a, row_step, to_a, b_start, to_b, c_start, c_between, accumulate)
            for i in range(count):
                for r in range(rows):
                    c[c_row + r, j + i] = c_rest[r, i]
        else:
            narrow_panel(rows, terms, a, row_step, to_a, b_start, to_b, c_start, c_between, accumulate)
        j += lanes
