"""Max-pooling of images (N, H, W, C), or (C, H, W, N) alike: the maxima and the winners' places in the window, a byte each.

The first of equal elements wins, and a NaN over all that are not. ``NOBODY`` stands where a window has no element. All threads
share a kernel (see sharing.py), an image at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiler import compiled
from .sharing import leave, share, take

NOBODY = 255


@compiled
def max_pool_2x2(x: Any, best: Any, winner: Any, board: Any) -> None:
    """Windows of 2x2, side by side, without padding."""
    images, height, width, channels = best.shape
    leads = share(board)
    n = take(board, 0)
    while n < images:
        for i in range(height):
            for j in range(width):
                first, second = x[n, 2 * i, 2 * j], x[n, 2 * i, 2 * j + 1]
                third, fourth = x[n, 2 * i + 1, 2 * j], x[n, 2 * i + 1, 2 * j + 1]
                value, place = best[n, i, j], winner[n, i, j]
                for c in range(channels):
                    most, who = first[c], np.uint8(0)
                    rival = second[c]
                    wins = (not rival <= most) & (most == most)
                    most, who = (rival, np.uint8(1)) if wins else (most, who)
                    rival = third[c]
                    wins = (not rival <= most) & (most == most)
                    most, who = (rival, np.uint8(2)) if wins else (most, who)
                    rival = fourth[c]
                    wins = (not rival <= most) & (most == most)
                    most, who = (rival, np.uint8(3)) if wins else (most, who)
                    value[c] = most
                    place[c] = who
        n = take(board, 0)
    leave(board, leads)


@compiled
def max_pool_2x2_backward(winner: Any, dout: Any, dx: Any, board: Any) -> None:
    """The gradient of `max_pool_2x2`; where no window is, at the end of an odd side, 0."""
    images, height, width, channels = winner.shape
    zero = dout.dtype.type(0)
    leads = share(board)
    n = take(board, 0)
    while n < images:
        for i in range(height):
            for j in range(width):
                place, gradient = winner[n, i, j], dout[n, i, j]
                upper, lower = dx[n, 2 * i, 2 * j : 2 * j + 2], dx[n, 2 * i + 1, 2 * j : 2 * j + 2]
                first, second, third, fourth = upper[0], upper[1], lower[0], lower[1]
                for c in range(channels):
                    first[c] = gradient[c] if place[c] == 0 else zero
                    second[c] = gradient[c] if place[c] == 1 else zero
                for c in range(channels):
                    third[c] = gradient[c] if place[c] == 2 else zero
                    fourth[c] = gradient[c] if place[c] == 3 else zero
        dx[n, :, 2 * width :] = zero
        dx[n, 2 * height :] = zero
        n = take(board, 0)
    leave(board, leads)


@compiled
def max_pool(x: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, best: Any, winner: Any, board: Any) -> None:
    """Any windows. The four pairs are tuples (rows, columns)."""
    images, height, width, channels = x.shape
    leads = share(board)
    n = take(board, 0)
    while n < images:
        for i in range(best.shape[1]):
            for j in range(best.shape[2]):
                value, place = best[n, i, j], winner[n, i, j]
                value[:] = -np.inf
                place[:] = NOBODY
                for u in range(kernel[0]):
                    row = i * stride[0] - padding[0] + u * dilation[0]
                    if row < 0 or row >= height:
                        continue
                    for v in range(kernel[1]):
                        column = j * stride[1] - padding[1] + v * dilation[1]
                        if column < 0 or column >= width:
                            continue
                        rivals, number = x[n, row, column], np.uint8(u * kernel[1] + v)
                        for c in range(channels):
                            rival, most, who = rivals[c], value[c], place[c]
                            wins = ((not rival <= most) & (most == most)) | (who == NOBODY)
                            value[c] = rival if wins else most
                            place[c] = number if wins else who
        n = take(board, 0)
    leave(board, leads)


@compiled
def max_pool_backward(
    winner: Any, dout: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, dx: Any, board: Any
) -> None:
    """The gradient of `max_pool`; windows that overlap add up in their order."""
    images, height, width, channels = dx.shape
    zero = dout.dtype.type(0)
    leads = share(board)
    n = take(board, 0)
    while n < images:
        dx[n] = zero
        for i in range(winner.shape[1]):
            for j in range(winner.shape[2]):
                place, gradient = winner[n, i, j], dout[n, i, j]
                for u in range(kernel[0]):
                    row = i * stride[0] - padding[0] + u * dilation[0]
                    if row < 0 or row >= height:
                        continue
                    for v in range(kernel[1]):
                        column = j * stride[1] - padding[1] + v * dilation[1]
                        if column < 0 or column >= width:
                            continue
                        slope, number = dx[n, row, column], np.uint8(u * kernel[1] + v)
                        for c in range(channels):
                            slope[c] += gradient[c] if place[c] == number else zero
        n = take(board, 0)
    leave(board, leads)
