"""A linear layer of few rows: no matrix is rearranged, since each weight is used only a few times.

All is float32 and contiguous. All threads share the kernel (see sharing.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiler import compiled
from .dots import QUAD, dots
from .sharing import leave, share, take
from .vectors import vector_lanes

TERMS = 1024  # of a scalar product that are worked on together: 6 such rows stay in the first cache
CHUNK = 16  # rows of weight that are taken with all of x before the next


@compiled
def forward(x: Any, weight: Any, bias: Any, bounds: Any, out: Any, rectify: int, board: Any) -> None:
    """out (N, out) = x @ weight' + bias; with ``rectify`` what is negative becomes 0.

    The rows of x may have more columns than those of weight, which are not read. A piece is the outputs between two of
    ``bounds``.
    """
    leads = share(board)
    piece = take(board, 0)
    while piece < len(bounds) - 1:
        _multiply(x, weight, out, bounds[piece], bounds[piece + 1])
        _add_bias(out, bias, bounds[piece], bounds[piece + 1], rectify)
        piece = take(board, 0)
    leave(board, leads)


@compiled
def _add_bias(out: Any, bias: Any, first: int, last: int, rectify: int) -> None:
    zero, added = np.float32(0), bias[first:last]
    for b in range(len(out)):
        row = out[b, first:last]
        for o in range(last - first):
            value = row[o] + added[o]
            row[o] = zero if rectify and value <= 0 else value


@compiled
def _multiply(x: Any, weight: Any, out: Any, first: int, last: int) -> None:
    """out[:, first:last] = x @ weight[first:last]'."""
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
                    c, step, add = np.int64(four.ctypes.data), 4 * QUAD, 0
                dots(rows, terms, from_x, x_step, w, w_1, w_2, w_3, c, step, add, near, far)
                if rest < QUAD:
                    for r in range(rows):
                        for q in range(rest):
                            old = out[b + r, o + q] if accumulate else np.float32(0)
                            out[b + r, o + q] = old + four[r, q]
