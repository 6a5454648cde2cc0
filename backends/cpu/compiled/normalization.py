"""Batch normalization on contiguous rows (M, C) of channels. All threads share a kernel (see sharing.py), some rows at a time.

The statistics take blocks of rows that stay in the first cache: the block's mean, then the squares around it, then both are
joined to those before (T. Chan, G. Golub and R. LeVeque, 1979). So memory is read once, and nothing cancels. Everything
(C) is in the rows' dtype. With ``rectify``, a ReLU follows; in its gradient what passed is computed anew rather than read.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiler import compiled
from .sharing import done, leave, share, take, wait

BLOCK = 64  # rows


@compiled
def normalize_batch(
    rows: Any, weight: Any, bias: Any, eps: Any, rectify: bool, step: int, totals: Any, squares: Any, mean: Any,
    variance: Any, scale: Any, factor: Any, out: Any, board: Any,
) -> None:  # fmt: skip
    """out = (rows - mean) factor + bias, with the rows' own mean and variance (C), where

        scale = 1 / sqrt(variance + eps),         factor = scale weight

    ``totals`` and ``squares`` (parts, C) are for the sums of each part.
    """
    parts = len(totals)
    leads = share(board)
    part = take(board, 0)
    while part < parts:
        moments(rows, part * step, min(part * step + step, len(rows)), totals[part], squares[part])
        done(board, 0)
        part = take(board, 0)
    wait(board, 0, parts)
    if take(board, 1) == 0:
        join_moments(len(rows), step, totals, squares, mean, variance)
        for c in range(len(mean)):
            scale[c] = 1 / np.sqrt(variance[c] + eps)
            factor[c] = scale[c] * weight[c]
        done(board, 1)
    wait(board, 1, 1)
    part = take(board, 2)
    while part < parts:
        normalize_rows(rows, part * step, min(part * step + step, len(rows)), mean, factor, bias, rectify, out)
        part = take(board, 2)
    leave(board, leads)


@compiled
def normalize(rows: Any, mean: Any, factor: Any, bias: Any, rectify: bool, step: int, out: Any, board: Any) -> None:
    """out = (rows - mean) factor + bias, with statistics that are given."""
    leads = share(board)
    first = take(board, 0) * step
    while first < len(rows):
        normalize_rows(rows, first, min(first + step, len(rows)), mean, factor, bias, rectify, out)
        first = take(board, 0) * step
    leave(board, leads)


@compiled
def differentiate_batch(
    rows: Any, dout: Any, mean: Any, scale: Any, factor: Any, bias: Any, rectify: bool, step: int, totals: Any,
    distances: Any, slope: Any, offset: Any, dx: Any, board: Any,
) -> None:  # fmt: skip
    """The gradient of `normalize_batch`: dx = factor dout + slope (rows - mean) + offset, where

        offset = - factor / M  sum of dout,         slope = - factor scale^2 / M  sum of dout (rows - mean)

    The sums of each part are left in ``totals`` and ``distances`` (parts, C).
    """
    parts, count = len(totals), len(rows)
    leads = share(board)
    part = take(board, 0)
    while part < parts:
        first, last = part * step, min(part * step + step, count)
        gradient_sums(rows, dout, first, last, mean, factor, bias, rectify, totals[part], distances[part])
        done(board, 0)
        part = take(board, 0)
    wait(board, 0, parts)
    if take(board, 1) == 0:
        for c in range(len(mean)):
            total, distance = totals[0, c], distances[0, c]
            for of_part in range(1, parts):
                total += totals[of_part, c]
                distance += distances[of_part, c]
            offset[c] = -factor[c] * total / count
            slope[c] = -factor[c] * scale[c] * scale[c] * distance / count
        done(board, 1)
    wait(board, 1, 1)
    part = take(board, 2)
    while part < parts:
        first, last = part * step, min(part * step + step, count)
        differentiate_rows(rows, dout, first, last, mean, factor, bias, rectify, slope, offset, dx)
        part = take(board, 2)
    leave(board, leads)


@compiled(inline=True)
def moments(rows: Any, first: int, last: int, total: Any, squares: Any) -> None:
    """total (C) = sum of some rows, squares (C) = sum of their squared distances from their mean.

    Four rows at a time, for which behind the last stand zeros, or the mean.
    """
    channels, scalar, zero = len(total), total.dtype.type, total.dtype.type(0)
    block_total, mean = np.empty(channels, rows.dtype), np.empty(channels, rows.dtype)
    nothing = np.zeros(channels, rows.dtype)
    for start in range(first, last, BLOCK):
        end = min(start + BLOCK, last)
        for c in range(channels):
            block_total[c] = zero
        for i in range(start, end, 4):
            row, second = rows[i], rows[i + 1] if i + 1 < end else nothing
            third, fourth = rows[i + 2] if i + 2 < end else nothing, rows[i + 3] if i + 3 < end else nothing
            for c in range(channels):
                block_total[c] += (row[c] + second[c]) + (third[c] + fourth[c])
        per_row = scalar(1 / (end - start))
        before = scalar(1 / max(1, start - first))
        share = scalar((start - first) * (end - start) / (end - first))
        for c in range(channels):
            mean[c] = block_total[c] * per_row
            distance = mean[c] - (total[c] * before if start > first else zero)
            squares[c] = (squares[c] if start > first else zero) + distance * distance * share
            total[c] = (total[c] if start > first else zero) + block_total[c]
        for i in range(start, end, 4):
            row, second = rows[i], rows[i + 1] if i + 1 < end else mean
            third, fourth = rows[i + 2] if i + 2 < end else mean, rows[i + 3] if i + 3 < end else mean
            for c in range(channels):
                a, b = row[c] - mean[c], second[c] - mean[c]
                d, e = third[c] - mean[c], fourth[c] - mean[c]
                squares[c] += (a * a + b * b) + (d * d + e * e)


@compiled(inline=True)
def join_moments(count: int, step: int, totals: Any, squares: Any, mean: Any, variance: Any) -> None:
    """The mean and the variance (C) of ``count`` rows, from the sums of their parts, in float64."""
    for c in range(len(mean)):
        total = 0.0
        for part in range(len(totals)):
            total += totals[part, c]
        whole, square = total / count, 0.0
        for part in range(len(totals)):
            of_part = min(step, count - part * step)
            distance = totals[part, c] / of_part - whole
            square += squares[part, c] + of_part * distance * distance
        mean[c] = whole
        variance[c] = square / count


@compiled
def normalize_rows(
    rows: Any, first: int, last: int, mean: Any, factor: Any, bias: Any, rectify: bool, out: Any
) -> None:
    zero = rows.dtype.type(0)
    for i in range(first, last):
        row, result = rows[i], out[i]
        for c in range(len(mean)):
            value = (row[c] - mean[c]) * factor[c] + bias[c]
            result[c] = zero if rectify & (value <= 0) else value


@compiled(inline=True)
def gradient_sums(
    rows: Any, dout: Any, first: int, last: int, mean: Any, factor: Any, bias: Any, rectify: bool, total: Any,
    total_distance: Any,
) -> None:  # fmt: skip
    """total (C) = sum of some rows of dout, total_distance (C) = sum of dout (rows - mean); by blocks."""
    channels, zero = len(mean), rows.dtype.type(0)
    block_total, block_distance = np.empty(channels, rows.dtype), np.empty(channels, rows.dtype)
    for start in range(first, last, BLOCK):
        for c in range(channels):
            block_total[c] = zero
            block_distance[c] = zero
        for i in range(start, min(start + BLOCK, last)):
            row, gradient = rows[i], dout[i]
            for c in range(channels):
                distance = row[c] - mean[c]
                passed = zero if rectify & (distance * factor[c] + bias[c] <= 0) else gradient[c]
                block_total[c] += passed
                block_distance[c] += passed * distance
        for c in range(channels):
            total[c] = (total[c] if start > first else zero) + block_total[c]
            total_distance[c] = (total_distance[c] if start > first else zero) + block_distance[c]


@compiled(inline=True)
def differentiate_rows(
    rows: Any, dout: Any, first: int, last: int, mean: Any, factor: Any, bias: Any, rectify: bool, slope: Any,
    offset: Any, dx: Any,
) -> None:  # fmt: skip
    zero = rows.dtype.type(0)
    for i in range(first, last):
        row, gradient, result = rows[i], dout[i], dx[i]
        for c in range(len(mean)):
            distance = row[c] - mean[c]
            passed = zero if rectify & (distance * factor[c] + bias[c] <= 0) else gradient[c]
            result[c] = factor[c] * passed + (slope[c] * distance + offset[c])
