"""The products of linear layers and their gradients, for a piece of the columns or of the rows. All is float32 and contiguous."""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiler import compiled
from .dots import QUAD, dots, lane_count

TERMS = 768  # of a row of X that are worked on together: 6 such rows stay in the first cache
CHUNK = 16  # rows of W that are


@compiled
def _forward_terms(x: Any, weight: Any, out: Any, first: int, last: int, start: int, terms: int, shift: int, accumulate: int) -> None:
    """out[:, first:last] (+)= x[:, start:start+terms] @ weight[first - shift:last - shift, start:start+terms]'."""
    batch = len(x)
    x_step, w_step, c_step = 4 * x.shape[1], 4 * weight.shape[1], 4 * out.shape[1]
    block = np.empty((6, QUAD), np.float32)
    for chunk in range(first, last, CHUNK):
        end = min(chunk + CHUNK, last)
        for b in range(0, batch, 6):
            rows = min(6, batch - b)
            from_x = x.ctypes.data + b * x_step + 4 * start
            for o in range(chunk, end, QUAD):
                w = weight.ctypes.data + (o - shift) * w_step + 4 * start
                if o + QUAD <= end:
                    c = out.ctypes.data + b * c_step + 4 * o
                    dots(rows, terms, from_x, x_step, w, w + w_step, w + 2 * w_step, w + 3 * w_step, c, c_step, accumulate)
                else:  # the last of fewer rows stands in for those that are not there
                    rest = end - o - 1
                    w_1, w_2 = w + min(1, rest) * w_step, w + min(2, rest) * w_step
                    dots(rows, terms, from_x, x_step, w, w_1, w_2, w_2, block.ctypes.data, 4 * QUAD, 0)
                    for r in range(rows):
                        for q in range(rest + 1):
                            out[b + r, o + q] = block[r, q] + (out[b + r, o + q] if accumulate else np.float32(0))


@compiled
def forward(x: Any, weight: Any, bias: Any, out: Any, first: int, last: int, rectify: int) -> None:
    """out[:, first:last] = x (N, in) @ weight[first:last] (out, in)' + bias[first:last], and what is negative is 0 if ``rectify``."""
    batch, total = x.shape
    full = total // lane_count() * lane_count()
    for start in range(0, full, TERMS):
        _forward_terms(x, weight, out, first, last, start, min(TERMS, full - start), 0, start)
    if full < total:  # filled up with zeros
        x_rest = np.zeros((batch, lane_count()), np.float32)
        weight_rest = np.zeros((last - first, lane_count()), np.float32)
        for k in range(full, total):
            for b in range(batch):
                x_rest[b, k - full] = x[b, k]
            for o in range(first, last):
                weight_rest[o - first, k - full] = weight[o, k]
        _forward_terms(x_rest, weight_rest, out, first, last, 0, lane_count(), first, full)
    zero = np.float32(0)
    for b in range(batch):
        row = out[b]
        for o in range(first, last):
            value = row[o] + bias[o]
            row[o] = zero if rectify and value <= 0 else value
