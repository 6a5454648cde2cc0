"""Winograd's convolution: the filters' transforms, and products over channels or over tiles.

Matrices are those of winograd_tiles.py. The filters are transformed anew for each piece: that takes a few hundredths of
the time of its products, and saves writing and reading several times as much memory as the filters have.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiler import compiled
from .microkernel import fetch, offsets, panel, width
from .squares import LANES, STEP, transpose
from .vectors import vector_lanes
from .winograd_matrices import filter_4, filter_4_adjoint, filter_6, filter_6_adjoint, filter_8, filter_8_adjoint
from .winograd_tiles import MOST

CHUNK = LANES  # channels that are summed at a time, a panel, so that their transformed filters stay in the cache
TERMS = 256  # tiles that are summed at a time


def scratch_size(places: int, tiles: int, kernel: int) -> int:
    """Of what all kernels need together: products, transformed filters, turned filters, and a tile behind them."""
    return LANES * (places * (tiles | 1) + (places + kernel * kernel) * (CHUNK + 1)) + MOST * LANES


@compiled
def transform_filter(source: int, down: int, across: int, target: int, step: int, size: int) -> None:
    """G w G' for `LANES` filters, or for as many channels of one."""
    if size == 8:
        filter_8(source, down, across, target, size * step, step)
    elif size == 6:
        filter_6(source, down, across, target, size * step, step)
    else:
        filter_4(source, down, across, target, size * step, step)


@compiled(inline=True)
def turn_filters(filters: Any, begin: int, first: int, last: int, turned: Any) -> None:
    """``turned`` (KH KW, CHUNK + 1, LANES): channels ``first`` to ``last`` of the filters from ``begin`` on; zeros behind."""
    count, kernel, channels = min(LANES, len(filters) - begin), filters.shape[1], filters.shape[3]
    side = vector_lanes()
    for row in range(begin * kernel * kernel, (begin + count) * kernel * kernel):  # they lie far from each other
        fetch(filters.ctypes.data + 4 * (row * channels + first), 4 * (last - first))
    for place in range(kernel * kernel):
        u, v = place // kernel, place % kernel
        rows = turned[place * (CHUNK + 1) * LANES :]
        for o in range(0, LANES, side):
            for c in range(0, last - first, side):
                if o + side <= count and c + side <= last - first:
                    source = filters.ctypes.data + 4 * (((begin + o) * kernel * kernel + place) * channels + first + c)
                    transpose(source, 4 * kernel * kernel * channels, rows.ctypes.data + c * STEP + 4 * o, STEP)
                else:
                    for i in range(c, min(c + side, last - first)):
                        for k in range(o, o + side):
                            rows[i * LANES + k] = filters[begin + k, u, v, first + i] if k < count else np.float32(0)


@compiled
def multiply_filters(matrices: Any, filters: Any, begin: int, of_inputs: bool, first: int, last: int, size: int,
                     memory: Any) -> None:  # fmt: skip
    """Products over channels of the tiles from ``first`` to ``last`` with the filters, into the head of ``memory``.

    ``filters`` are (O, KH, KW, C). The products are (size * size, tiles | 1, LANES): of the filters from ``begin`` on, summed
    over their channels; or with ``of_inputs``, of the channels from ``begin`` on, summed over the filters.
    """
    places, tiles, kernel = size * size, last - first, filters.shape[1]
    rows = filters.reshape(-1, filters.shape[3])
    products = memory.ctypes.data
    transformed = memory[places * (tiles | 1) * LANES :]
    turned = transformed[places * (CHUNK + 1) * LANES :]
    tile = turned[kernel * kernel * (CHUNK + 1) * LANES :]
    step = (CHUNK + 1) * STEP
    terms = len(filters) if of_inputs else filters.shape[3]
    place_step = matrices.shape[2] * STEP
    from_a, from_b = offsets(CHUNK, 4), offsets(CHUNK, STEP)
    for chunk in range(0, terms, CHUNK):
        end = min(chunk + CHUNK, terms)
        if not of_inputs:
            turn_filters(filters, begin, chunk, end, turned)
        for k in range(end - chunk):
            target = transformed.ctypes.data + k * STEP
            if not of_inputs:
                source = turned.ctypes.data + k * STEP
                transform_filter(source, kernel * step, step, target, step, size)
            elif begin + LANES <= filters.shape[3]:
                channels = 4 * filters.shape[3]
                source = filters.ctypes.data + (chunk + k) * kernel * kernel * channels + 4 * begin
                transform_filter(source, kernel * channels, channels, target, step, size)
            else:
                for place in range(kernel * kernel):
                    for lane in range(LANES):
                        inside = begin + lane < filters.shape[3]
                        tile[place * LANES + lane] = (
                            rows[(chunk + k) * kernel * kernel + place, begin + lane] if inside else np.float32(0)
                        )
                transform_filter(np.int64(tile.ctypes.data), kernel * STEP, STEP, target, step, size)
        for p in range(places):
            a = matrices[chunk // LANES].ctypes.data + p * place_step + first * STEP
            fetch(a + place_step, tiles * STEP)  # of the next place
            for j in range(0, LANES, width()):
                b = transformed.ctypes.data + p * step + 4 * j
                c = products + p * (tiles | 1) * STEP + 4 * j
                panel(tiles, end - chunk, a, STEP, from_a.ctypes.data, b, from_b.ctypes.data, c, STEP, chunk)


@compiled
def add_filter_products(gradients: Any, matrices: Any, count: int, outs: int, size: int, products: Any,
                        accumulate: bool) -> None:  # fmt: skip
    """Z' V for each place, over the first ``count`` tiles of a panel of each: ``products`` (size * size, outs | 1, LANES)."""
    terms = offsets(TERMS, STEP)
    for p in range(size * size):
        for t in range(0, count, TERMS):
            a = np.int64(gradients[p, t].ctypes.data)
            for j in range(0, LANES, width()):
                b = matrices[p, t].ctypes.data + 4 * j
                c = products.ctypes.data + p * (outs | 1) * STEP + 4 * j
                panel(
                    outs, min(TERMS, count - t), a, 4, terms.ctypes.data, b, terms.ctypes.data, c, STEP, t + accumulate
                )


@compiled
def write_filters(products: Any, filters: Any, out: int, outs: int, begin: int, size: int, memory: Any) -> None:
    """G' u G: ``products`` as of `add_filter_products`, into ``filters`` (O, KH, KW, C)."""
    kernel = filters.shape[1]
    tile = memory[len(memory) - MOST * LANES :]
    channels = min(LANES, filters.shape[3] - begin)
    step = (outs | 1) * STEP
    for o in range(outs):
        source = products.ctypes.data + o * STEP
        if size == 8:
            filter_8_adjoint(source, size * step, step, tile.ctypes.data, kernel * STEP, STEP)
        elif size == 6:
            filter_6_adjoint(source, size * step, step, tile.ctypes.data, kernel * STEP, STEP)
        else:
            filter_4_adjoint(source, size * step, step, tile.ctypes.data, kernel * STEP, STEP)
        for a in range(kernel):
            for b in range(kernel):
                place = (a * kernel + b) * LANES
                values, target = tile[place : place + channels], filters[out + o, a, b, begin : begin + channels]
                for lane in range(channels):
                    target[lane] = values[lane]
