"""Batch normalization with the batch last in memory: a channel is one run (C, M), which a thread does from beginning to end.

Sums are taken block by block, and over the blocks in float64. Everything (C) is in the runs' dtype. With ``rectify``, a ReLU
follows; in its gradient what passed is computed anew rather than read.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiler import compiled
from .sharing import leave, share, take
from .totals import total_of

BLOCK = 4096  # elements


@compiled(inline=True)
def squares_of(run: Any, mean: Any) -> Any:
    total = run.dtype.type(0)
    for i in range(len(run)):
        total += (run[i] - mean) * (run[i] - mean)
    return total


@compiled(inline=True)
def gradients_of(run: Any, dout: Any, mean: Any, factor: Any, shift: Any, rectify: bool) -> Any:
    """The sum of what passes of dout, and that of its products with run - mean."""
    zero = run.dtype.type(0)
    total, total_distance = zero, zero
    for i in range(len(run)):
        distance = run[i] - mean
        passed = zero if rectify & (distance * factor + shift <= 0) else dout[i]
        total += passed
        total_distance += passed * distance
    return total, total_distance


@compiled(inline=True)
def normalize_run(run: Any, mean: Any, factor: Any, shift: Any, rectify: bool, out: Any) -> None:
    zero = run.dtype.type(0)
    for i in range(len(run)):
        value = (run[i] - mean) * factor + shift
        out[i] = zero if rectify & (value <= 0) else value


@compiled(reassociate=True)
def normalize_batch(
    runs: Any, weight: Any, bias: Any, eps: Any, rectify: bool, mean: Any, variance: Any, scale: Any, factor: Any, out: Any,
    board: Any,
) -> None:  # fmt: skip
    """As the kernel of this name in normalization.py."""
    leads = share(board)
    channels, count = runs.shape
    c = take(board, 0)
    while c < channels:
        run, total, squares = runs[c], 0.0, 0.0
        for first in range(0, count, BLOCK):
            total += total_of(run[first : first + BLOCK])
        mean[c] = total / count
        for first in range(0, count, BLOCK):
            squares += squares_of(run[first : first + BLOCK], mean[c])
        variance[c] = squares / count
        scale[c] = 1 / np.sqrt(variance[c] + eps)
        factor[c] = scale[c] * weight[c]
        normalize_run(run, mean[c], factor[c], bias[c], rectify, out[c])
        c = take(board, 0)
    leave(board, leads)


@compiled
def normalize(runs: Any, mean: Any, factor: Any, bias: Any, rectify: bool, out: Any, board: Any) -> None:
    """By statistics that are given."""
    leads = share(board)
    c = take(board, 0)
    while c < len(runs):
        normalize_run(runs[c], mean[c], factor[c], bias[c], rectify, out[c])
        c = take(board, 0)
    leave(board, leads)


@compiled(reassociate=True)
def differentiate_batch(
    runs: Any, dout: Any, mean: Any, scale: Any, factor: Any, bias: Any, rectify: bool, totals: Any, distances: Any, dx: Any,
    board: Any,
) -> None:  # fmt: skip
    """As the kernel of this name in normalization.py; the sums of a channel are ``totals`` and ``distances`` (C)."""
    leads = share(board)
    channels, count = runs.shape
    zero = runs.dtype.type(0)
    c = take(board, 0)
    while c < channels:
        run, gradient, result, total, total_distance = runs[c], dout[c], dx[c], 0.0, 0.0
        for first in range(0, count, BLOCK):
            block = slice(first, first + BLOCK)
            of_block = gradients_of(run[block], gradient[block], mean[c], factor[c], bias[c], rectify)
            total += of_block[0]
            total_distance += of_block[1]
        totals[c] = total
        distances[c] = total_distance
        center, slope_of_dout, shift = mean[c], factor[c], bias[c]
        offset = runs.dtype.type(-factor[c] * totals[c] / count)
        slope = runs.dtype.type(-factor[c] * scale[c] * scale[c] * distances[c] / count)
        for i in range(count):
            distance = run[i] - center
            passed = zero if rectify & (distance * slope_of_dout + shift <= 0) else gradient[i]
            result[i] = slope_of_dout * passed + (slope * distance + offset)
        c = take(board, 0)
    leave(board, leads)
