"""Convolution by its definition, as products of matrices whose windows are read where they lie in the padded images.

The matrix of windows (im2col) is never built: its element for an output's place and a term (u, v, c) lies at the sum of two
offsets, one for the place and one for the term, which the micro-kernel takes from tables.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiler import compiled
from .microkernel import offsets, scattered_panel, width
from .squares import LANES, STEP, transpose
from .vectors import vector_lanes

TERMS = 256  # that are summed at a time: their filters stay in the cache
ROWS = 60  # places at a time, a multiple of the micro-kernel's 6
PIXELS = 256  # that are summed at a time, in the gradient of the filters
BLOCK = 64  # pixels whose gradients are added up before they join the total, in the gradient of the bias


@compiled
def pad_images(images: Any, padded: Any, top: int, left: int) -> None:
    """images (N, H, W, C) into the middle of ``padded``, zeros around it."""
    _, height, breadth, channels = images.shape
    for n in range(len(padded)):
        for y in range(padded.shape[1]):
            line = padded[n, y].reshape(-1)
            if top <= y < top + height:
                source = images[n, y - top].reshape(-1)
                for i in range(left * channels):
                    line[i] = 0
                target = line[left * channels : (left + breadth) * channels]
                for i in range(breadth * channels):
                    target[i] = source[i]
                for i in range((left + breadth) * channels, len(line)):
                    line[i] = 0
            else:
                for i in range(len(line)):
                    line[i] = 0


@compiled
def pack_filters(filters: Any, begin: int, packed: Any) -> None:
    """``packed`` (K, LANES): the filters (O, K) from ``begin`` on, a column each; zeros behind the last."""
    terms, count, side = filters.shape[1], min(LANES, len(filters) - begin), vector_lanes()
    for o in range(0, LANES, side):
        for k in range(0, terms, side):
            if o + side <= count and k + side <= terms:
                source = filters.ctypes.data + 4 * ((begin + o) * terms + k)
                transpose(source, 4 * terms, packed.ctypes.data + k * STEP + 4 * o, STEP)
            else:
                for i in range(k, min(k + side, terms)):
                    for lane in range(o, o + side):
                        packed[i, lane] = filters[begin + lane, i] if lane < count else np.float32(0)


@compiled
def pack_turned_filters(filters: Any, begin: int, packed: Any) -> None:
    """``packed`` (KH KW O, LANES): the filters (O, KH, KW, C) turned by half, channels from ``begin`` on; zeros behind them."""
    outs, height, breadth, channels = filters.shape
    count = min(LANES, channels - begin)
    for u in range(height):
        for v in range(breadth):
            for o in range(outs):
                target = packed[(u * breadth + v) * outs + o]
                source = filters[o, height - 1 - u, breadth - 1 - v, begin : begin + count]
                for lane in range(count):
                    target[lane] = source[lane]
                for lane in range(count, LANES):
                    target[lane] = 0


@compiled
def convolve(padded: Any, places: Any, terms: Any, packed: Any, bias: Any, rectify: bool, out: Any) -> None:
    """``out`` (M, O), one row for each of ``places``, a table of offsets whose length is M rounded up to a multiple of 6.

    ``packed`` (panels, K, LANES); ``terms`` the table of K offsets within a window; both tables in bytes.
    """
    products = np.empty((ROWS, LANES), np.float32)
    from_b = offsets(TERMS, STEP)
    count, outs = out.shape
    for group in range(len(packed)):
        channels = min(LANES, outs - group * LANES)
        added = bias[group * LANES : group * LANES + channels]
        for first in range(0, count, ROWS):
            rows = min(ROWS, len(places) - first)
            for k in range(0, len(terms), TERMS):
                for j in range(0, LANES, width()):
                    scattered_panel(
                        rows, min(TERMS, len(terms) - k), padded.ctypes.data, places.ctypes.data + 8 * first,
                        terms.ctypes.data + 8 * k, packed.ctypes.data + (group * len(terms) + k) * STEP + 4 * j,
                        from_b.ctypes.data, products.ctypes.data + 4 * j, STEP, k,
                    )  # fmt: skip
            for i in range(min(rows, count - first)):
                source, target = products[i], out[first + i, group * LANES : group * LANES + channels]
                if rectify:
                    for lane in range(channels):
                        value = source[lane] + added[lane]
                        target[lane] = np.float32(0) if value <= 0 else value
                else:
                    for lane in range(channels):
                        target[lane] = source[lane] + added[lane]


@compiled
def add_filter_gradients(padded: Any, places: Any, terms: Any, dout: Any, total: Any, accumulate: int) -> None:
    """The sum over M places of each term times the output's gradient ``dout`` (M, pitch): ``total`` (K rounded up, pitch).

    ``terms`` has K offsets, rounded up to a multiple of 6; pitch is a multiple of LANES.
    """
    pitch = dout.shape[1]
    from_b = offsets(PIXELS, 4 * pitch)
    for first in range(0, len(dout), PIXELS):
        count = min(PIXELS, len(dout) - first)
        for j in range(0, pitch, width()):
            scattered_panel(
                len(terms), count, padded.ctypes.data, terms.ctypes.data, places.ctypes.data + 8 * first,
                dout.ctypes.data + 4 * (first * pitch + j), from_b.ctypes.data, total.ctypes.data + 4 * j, 4 * pitch,
                first + accumulate,
            )  # fmt: skip


@compiled
def read_gradients(dout: Any, rectified: Any, made: Any, totals: Any) -> None:
    """dout (M, O) into ``made`` (M, pitch), zeros behind it, and its sums by channel into ``totals`` (O).

    Where ``rectified`` (M, O), the results of a ReLU, is not empty, the gradient is zero where they are.
    """
    count, outs = dout.shape
    total = np.empty(outs, np.float32)
    for first in range(0, count, BLOCK):
        total[:] = 0
        for i in range(first, min(first + BLOCK, count)):
            source, target = dout[i], made[i]
            if rectified.size > 0:
                result = rectified[i]
                for lane in range(outs):
                    value = np.float32(0) if result[lane] <= 0 else source[lane]
                    target[lane] = value
                    total[lane] += value
            else:
                for lane in range(outs):
                    target[lane] = source[lane]
                    total[lane] += source[lane]
            for lane in range(outs, made.shape[1]):
                target[lane] = 0
        for lane in range(outs):
            totals[lane] += total[lane]


@compiled
def unpack_filters(total: Any, filters: Any, first: int, last: int) -> None:
    """``total`` (K rounded up, pitch), a column for each filter, terms from ``first`` to ``last``, into ``filters`` (O, K)."""
    outs, terms = filters.shape
    side = vector_lanes()
    for o in range(0, outs, side):
        for k in range(first, last, side):
            if o + side <= outs and k + side <= last:
                source = total.ctypes.data + 4 * (k * total.shape[1] + o)
                transpose(source, 4 * total.shape[1], filters.ctypes.data + 4 * (o * terms + k), 4 * terms)
            else:
                for lane in range(o, min(o + side, outs)):
                    for i in range(k, min(k + side, last)):
                        filters[lane, i] = total[i, lane]
