"""Winograd's transforms along one line of a tile, in the notation of A. Lavin and S. Gray, "Fast algorithms for convolutional
neural networks", 2016: output = A' [(G w G') * (B' x B)] A, for 3 filter elements and 4 (2) outputs from 6 (4) inputs.

A scratch tile holds ``LANES`` channels at each place, ``PITCH`` places a row. Every function takes the columns of the
first ``count`` places of ``source``, and writes each as a row of ``target``; a second call goes along the other axis and puts
the tile the right way round again. The offsets are constants, so that the code generator sees that nothing overlaps.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiler import compiled

LANES = 64
PITCH = 6
ROW = PITCH * LANES


@compiled
def input_6(source: Any, target: Any, count: int, channels: int) -> None:
    """B' for 6 inputs: the points 0, 1, -1, 2, -2 and infinity."""
    two, four, five = np.float32(2), np.float32(4), np.float32(5)
    for line in range(count):
        for lane in range(channels):
            k, o = line * LANES + lane, line * ROW + lane
            a, b, c = source[k], source[k + ROW], source[k + 2 * ROW]
            d, e, f = source[k + 3 * ROW], source[k + 4 * ROW], source[k + 5 * ROW]
            p, q, r, s = e - four * c, d - four * b, e - c, two * (d - b)
            target[o] = four * a - five * c + e
            target[o + LANES] = p + q
            target[o + 2 * LANES] = p - q
            target[o + 3 * LANES] = r + s
            target[o + 4 * LANES] = r - s
            target[o + 5 * LANES] = four * b - five * d + f


@compiled
def input_6_adjoint(source: Any, target: Any, count: int, channels: int) -> None:
    """B for 6 inputs."""
    two, four, five = np.float32(2), np.float32(4), np.float32(5)
    for line in range(count):
        for lane in range(channels):
            k, o = line * LANES + lane, line * ROW + lane
            a, b, c = source[k], source[k + ROW], source[k + 2 * ROW]
            d, e, f = source[k + 3 * ROW], source[k + 4 * ROW], source[k + 5 * ROW]
            target[o] = four * a
            target[o + LANES] = four * (c - b) + two * (e - d) + four * f
            target[o + 2 * LANES] = -five * a - four * (b + c) - (d + e)
            target[o + 3 * LANES] = (b - c) + two * (d - e) - five * f
            target[o + 4 * LANES] = a + (b + c) + (d + e)
            target[o + 5 * LANES] = f


@compiled
def output_6(source: Any, target: Any, count: int, channels: int) -> None:
    """A' for 4 outputs."""
    two, four, eight = np.float32(2), np.float32(4), np.float32(8)
    for line in range(count):
        for lane in range(channels):
            k, o = line * LANES + lane, line * ROW + lane
            a, b, c = source[k], source[k + ROW], source[k + 2 * ROW]
            d, e, f = source[k + 3 * ROW], source[k + 4 * ROW], source[k + 5 * ROW]
            p, q, r, s = b + c, b - c, d + e, d - e
            target[o] = a + p + r
            target[o + LANES] = q + two * s
            target[o + 2 * LANES] = p + four * r
            target[o + 3 * LANES] = q + eight * s + f


@compiled
def output_6_adjoint(source: Any, target: Any, count: int, channels: int) -> None:
    """A for 4 outputs."""
    two, four, eight = np.float32(2), np.float32(4), np.float32(8)
    for line in range(count):
        for lane in range(channels):
            k, o = line * LANES + lane, line * ROW + lane
            a, b, c, d = source[k], source[k + ROW], source[k + 2 * ROW], source[k + 3 * ROW]
            p, q, r, s = a + c, b + d, a + four * c, two * b + eight * d
            target[o] = a
            target[o + LANES] = p + q
            target[o + 2 * LANES] = p - q
            target[o + 3 * LANES] = r + s
            target[o + 4 * LANES] = r - s
            target[o + 5 * LANES] = d


@compiled
def filter_6(source: Any, target: Any, count: int, channels: int) -> None:
    """G for 3 filter elements and 4 outputs."""
    quarter, sixth = np.float32(1 / 4), np.float32(1 / 6)
    twelfth, twenty_fourth = np.float32(1 / 12), np.float32(1 / 24)
    for line in range(count):
        for lane in range(channels):
            k, o = line * LANES + lane, line * ROW + lane
            a, b, c = source[k], source[k + ROW], source[k + 2 * ROW]
            p, q, r, s = -sixth * (a + c), sixth * b, twenty_fourth * a + sixth * c, twelfth * b
            target[o] = quarter * a
            target[o + LANES] = p - q
            target[o + 2 * LANES] = p + q
            target[o + 3 * LANES] = r + s
            target[o + 4 * LANES] = r - s
            target[o + 5 * LANES] = c


@compiled
def filter_6_adjoint(source: Any, target: Any, count: int, channels: int) -> None:
    """G' for 3 filter elements and 4 outputs."""
    quarter, sixth = np.float32(1 / 4), np.float32(1 / 6)
    twelfth, twenty_fourth = np.float32(1 / 12), np.float32(1 / 24)
    for line in range(count):
        for lane in range(channels):
            k, o = line * LANES + lane, line * ROW + lane
            a, b, c = source[k], source[k + ROW], source[k + 2 * ROW]
            d, e, f = source[k + 3 * ROW], source[k + 4 * ROW], source[k + 5 * ROW]
            p, r = b + c, d + e
            target[o] = quarter * a - sixth * p + twenty_fourth * r
            target[o + LANES] = sixth * (c - b) + twelfth * (d - e)
            target[o + 2 * LANES] = sixth * (r - p) + f


@compiled
def input_4(source: Any, target: Any, count: int, channels: int) -> None:
    """B' for 4 inputs: the points 0, 1, -1 and infinity."""
    for line in range(count):
        for lane in range(channels):
            k, o = line * LANES + lane, line * ROW + lane
            a, b, c, d = source[k], source[k + ROW], source[k + 2 * ROW], source[k + 3 * ROW]
            target[o] = a - c
            target[o + LANES] = b + c
            target[o + 2 * LANES] = c - b
            target[o + 3 * LANES] = b - d


@compiled
def input_4_adjoint(source: Any, target: Any, count: int, channels: int) -> None:
    """B for 4 inputs."""
    for line in range(count):
        for lane in range(channels):
            k, o = line * LANES + lane, line * ROW + lane
            a, b, c, d = source[k], source[k + ROW], source[k + 2 * ROW], source[k + 3 * ROW]
            target[o] = a
            target[o + LANES] = b - c + d
            target[o + 2 * LANES] = b + c - a
            target[o + 3 * LANES] = -d


@compiled
def output_4(source: Any, target: Any, count: int, channels: int) -> None:
    """A' for 2 outputs."""
    for line in range(count):
        for lane in range(channels):
            k, o = line * LANES + lane, line * ROW + lane
            a, b, c, d = source[k], source[k + ROW], source[k + 2 * ROW], source[k + 3 * ROW]
            target[o] = a + b + c
            target[o + LANES] = b - c - d


@compiled
def output_4_adjoint(source: Any, target: Any, count: int, channels: int) -> None:
    """A for 2 outputs."""
    for line in range(count):
        for lane in range(channels):
            k, o = line * LANES + lane, line * ROW + lane
            a, b = source[k], source[k + ROW]
            target[o] = a
            target[o + LANES] = a + b
            target[o + 2 * LANES] = a - b
            target[o + 3 * LANES] = -b


@compiled
def filter_4(source: Any, target: Any, count: int, channels: int) -> None:
    """G for 3 filter elements and 2 outputs."""
    half = np.float32(1 / 2)
    for line in range(count):
        for lane in range(channels):
            k, o = line * LANES + lane, line * ROW + lane
            a, b, c = source[k], source[k + ROW], source[k + 2 * ROW]
            p, q = half * (a + c), half * b
            target[o] = a
            target[o + LANES] = p + q
            target[o + 2 * LANES] = p - q
            target[o + 3 * LANES] = c


@compiled
def filter_4_adjoint(source: Any, target: Any, count: int, channels: int) -> None:
    """G' for 3 filter elements and 2 outputs."""
    half = np.float32(1 / 2)
    for line in range(count):
        for lane in range(channels):
            k, o = line * LANES + lane, line * ROW + lane
            a, b, c, d = source[k], source[k + ROW], source[k + 2 * ROW], source[k + 3 * ROW]
            p = half * (b + c)
            target[o] = a + p
            target[o + LANES] = half * (b - c)
            target[o + 2 * LANES] = p + d
