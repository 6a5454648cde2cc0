"""Batch normalization on contiguous rows (M, C) of channels: kernels for one piece of the rows.

The statistics take blocks of rows that stay in the first cache: the block's mean, then the squares around it, then both are
joined to those before (T. Chan, G. Golub and R. LeVeque, 1979). So memory is read once, and nothing cancels.
Everything (C) is in the rows' dtype.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiler import compiled

BLOCK = 64  # rows


@compiled
def moments(rows: Any, total: Any, squares: Any) -> None:
    """total (C) = sum of the rows, squares (C) = sum of the squared distances from the rows' mean."""
    count, channels = rows.shape
    scalar = rows.dtype.type
    block_total, mean = np.empty(channels, rows.dtype), np.empty(channels, rows.dtype)
    total[:] = 0
    squares[:] = 0
    for first in range(0, count, BLOCK):
        last = min(first + BLOCK, count)
        fours = first + (last - first) // 4 * 4
        block_total[:] = 0
        for i in range(first, fours, 4):
            row, second, third, fourth = rows[i], rows[i + 1], rows[i + 2], rows[i + 3]
            for c in range(channels):
                block_total[c] += (row[c] + second[c]) + (third[c] + fourth[c])
        for i in range(fours, last):
            row = rows[i]
            for c in range(channels):
                block_total[c] += row[c]
        per_row = scalar(1 / (last - first))
        for c in range(channels):
            mean[c] = block_total[c] * per_row
        for i in range(first, fours, 4):
            row, second, third, fourth = rows[i], rows[i + 1], rows[i + 2], rows[i + 3]
            for c in range(channels):
                a, b = row[c] - mean[c], second[c] - mean[c]
                d, e = third[c] - mean[c], fourth[c] - mean[c]
                squares[c] += (a * a + b * b) + (d * d + e * e)
        for i in range(fours, last):
            row = rows[i]
            for c in range(channels):
                a = row[c] - mean[c]
                squares[c] += a * a
        if first:
            share, before = scalar(first * (last - first) / last), scalar(1 / first)
            for c in range(channels):
                distance = mean[c] - total[c] * before
                squares[c] += distance * distance * share
        for c in range(channels):
            total[c] += block_total[c]


@compiled
def normalize(rows: Any, mean: Any, factor: Any, shift: Any, out: Any) -> None:
    """out = (rows - mean) factor + shift."""
    for i in range(len(rows)):
        row, result = rows[i], out[i]
        for c in range(len(mean)):
            result[c] = (row[c] - mean[c]) * factor[c] + shift[c]


@compiled
def normalize_rectified(rows: Any, mean: Any, factor: Any, shift: Any, out: Any) -> None:
    """out = relu((rows - mean) factor + shift)."""
    zero = rows.dtype.type(0)
    for i in range(len(rows)):
        row, result = rows[i], out[i]
        for c in range(len(mean)):
            value = (row[c] - mean[c]) * factor[c] + shift[c]
            result[c] = zero if value <= 0 else value


@compiled
def gradient_sums(rows: Any, dout: Any, mean: Any, total: Any, total_distance: Any) -> None:
    """total (C) = sum of dout, total_distance (C) = sum of dout (rows - mean); by blocks."""
    channels = len(mean)
    block_total, block_distance = np.empty(channels, rows.dtype), np.empty(channels, rows.dtype)
    total[:] = 0
    total_distance[:] = 0
    for first in range(0, len(rows), BLOCK):
        block_total[:] = 0
        block_distance[:] = 0
        for i in range(first, min(first + BLOCK, len(rows))):
            row, gradient = rows[i], dout[i]
            for c in range(channels):
                block_total[c] += gradient[c]
                block_distance[c] += gradient[c] * (row[c] - mean[c])
        for c in range(channels):
            total[c] += block_total[c]
            total_distance[c] += block_distance[c]


@compiled
def gradient_sums_rectified(
    rows: Any, dout: Any, mean: Any, factor: Any, shift: Any, total: Any, total_distance: Any
) -> None:
    """`gradient_sums` of dout where `normalize_rectified` let the value pass; it is computed anew rather than read."""
    channels = len(mean)
    zero = rows.dtype.type(0)
    block_total, block_distance = np.empty(channels, rows.dtype), np.empty(channels, rows.dtype)
    total[:] = 0
    total_distance[:] = 0
    for first in range(0, len(rows), BLOCK):
        block_total[:] = 0
        block_distance[:] = 0
        for i in range(first, min(first + BLOCK, len(rows))):
            row, gradient = rows[i], dout[i]
            for c in range(channels):
                distance = row[c] - mean[c]
                passed = zero if distance * factor[c] + shift[c] <= 0 else gradient[c]
                block_total[c] += passed
                block_distance[c] += passed * distance
        for c in range(channels):
            total[c] += block_total[c]
            total_distance[c] += block_distance[c]


@compiled
def differentiate(rows: Any, dout: Any, mean: Any, factor: Any, slope: Any, offset: Any, dx: Any) -> None:
    """dx = factor dout + slope (rows - mean) + offset."""
    for i in range(len(rows)):
        row, gradient, result = rows[i], dout[i], dx[i]
        for c in range(len(mean)):
            result[c] = factor[c] * gradient[c] + (slope[c] * (row[c] - mean[c]) + offset[c])


@compiled
def differentiate_rectified(
    rows: Any, dout: Any, mean: Any, factor: Any, shift: Any, slope: Any, offset: Any, dx: Any
) -> None:
    """`differentiate` with dout only where `normalize_rectified` let the value pass."""
    zero = rows.dtype.type(0)
    for i in range(len(rows)):
        row, gradient, result = rows[i], dout[i], dx[i]
        for c in range(len(mean)):
            distance = row[c] - mean[c]
            passed = zero if distance * factor[c] + shift[c] <= 0 else gradient[c]
            result[c] = factor[c] * passed + (slope[c] * distance + offset[c])
