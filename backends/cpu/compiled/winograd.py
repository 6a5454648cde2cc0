"""Winograd's convolution, piece by piece: tiles of images into matrices, products over channels, and back.

A tile of ``size`` x ``size`` places gives outs x outs outputs, outs = size - kernel + 1. The matrices of some tiles are an
array (panels, size * size places, tiles, LANES): a panel for each `LANES` channels, the last with zeros behind the channels.
There is memory for an odd number of tiles, since steps that are powers of two would put all places of a tile into the same
few lines of a cache. Tiles are counted along an image's rows, the images one behind the other; ``first`` and ``last`` are rows
of tiles, and an array of matrices begins with the tile ``start``. What hangs over the edge of an image is read as zero, and not
written.

The filters are transformed anew for each piece: that takes a hundredth of the time of its products, and saves writing
and reading four times as much memory as the filters have. ``memory`` is scratch, of `scratch_size` floats.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiler import compiled
from .microkernel import fetch, offsets, panel, width
from .squares import LANES, STEP, transpose
from .vectors import vector_lanes
from .winograd_matrices import (
    filter_4,
    filter_4_adjoint,
    filter_6,
    filter_6_adjoint,
    filter_6_of_5,
    filter_6_of_5_adjoint,
    input_4,
    input_4_adjoint,
    input_6,
    input_6_adjoint,
    output_4,
    output_4_adjoint,
    output_6,
    output_6_adjoint,
    output_6_of_5,
    output_6_of_5_adjoint,
)

TILE = 36 * LANES  # floats of the largest tile
CHUNK = LANES  # channels that are summed at a time, a panel, so that their transformed filters stay in the cache
TERMS = 256  # tiles that are summed at a time


def scratch_size(places: int, tiles: int, kernel: int) -> int:
    """Of what `multiply_filters` and `write_images` need together: products, transformed filters, turned filters, tiles."""
    return LANES * (places * (tiles | 1) + (places + kernel * kernel) * (CHUNK + 1)) + 3 * TILE


@compiled
def read_square(images: Any, n: int, top: int, left: int, extent: int, begin: int, tile: Any) -> None:
    """A square of an image into a scratch tile; zeros where it overhangs and where there are no channels."""
    channels = min(LANES, images.shape[3] - begin)
    for a in range(extent):
        for b in range(extent):
            place = (a * extent + b) * LANES
            target = tile[place : place + LANES]
            if 0 <= top + a < images.shape[1] and 0 <= left + b < images.shape[2]:
                source = images[n, top + a, left + b, begin : begin + channels]
                for lane in range(channels):
                    target[lane] = source[lane]
                for lane in range(channels, LANES):
                    target[lane] = 0
            else:
                for lane in range(LANES):
                    target[lane] = 0


@compiled
def read_square_where_positive(
    images: Any, outs: Any, n: int, top: int, left: int, extent: int, begin: int, tile: Any, totals: Any
) -> None:
    """As `read_square`, but zero where ``outs``, the results of a ReLU, are; adds what it reads to ``totals``, by channel."""
    channels = min(LANES, images.shape[3] - begin)
    total = totals[begin : begin + channels]
    for a in range(extent):
        for b in range(extent):
            place = (a * extent + b) * LANES
            target = tile[place : place + LANES]
            if top + a < images.shape[1] and left + b < images.shape[2]:
                source = images[n, top + a, left + b, begin : begin + channels]
                out = outs[n, top + a, left + b, begin : begin + channels]
                for lane in range(channels):
                    value = np.float32(0) if out[lane] <= 0 else source[lane]
                    target[lane] = value
                    total[lane] += value
                for lane in range(channels, LANES):
                    target[lane] = 0
            else:
                for lane in range(LANES):
                    target[lane] = 0


@compiled
def add_square(images: Any, n: int, top: int, left: int, extent: int, begin: int, totals: Any) -> None:
    """Add a square of an image to ``totals``, by channel, in the order of `read_square_where_positive`."""
    channels = min(LANES, images.shape[3] - begin)
    total = totals[begin : begin + channels]
    for a in range(min(extent, images.shape[1] - top)):
        for b in range(min(extent, images.shape[2] - left)):
            source = images[n, top + a, left + b, begin : begin + channels]
            for lane in range(channels):
                total[lane] += source[lane]


@compiled
def read_images(images: Any, matrices: Any, first: int, last: int, start: int, across: int, down: int, top: int, left: int,
                size: int, kernel: int, memory: Any) -> None:  # fmt: skip
    """B' x B: ``images`` (N, H, W, C), padded by ``top`` and ``left``."""
    outs = size - kernel + 1
    height, breadth, channels = images.shape[1], images.shape[2], images.shape[3]
    scratch, tile = memory.ctypes.data, memory[TILE : 2 * TILE]
    step = matrices.shape[2] * STEP  # from one place of a tile to the next
    for row in range(first, last):
        n, y = row // down, row % down * outs - top
        for j in range(across):
            x = j * outs - left
            for begin in range(0, channels, LANES):
                target = matrices[begin // LANES].ctypes.data + (row * across + j - start) * STEP
                if 0 <= y <= height - size and 0 <= x <= breadth - size and begin + LANES <= channels:
                    source = images.ctypes.data + 4 * (((n * height + y) * breadth + x) * channels + begin)
                    next_row, next_column = 4 * breadth * channels, 4 * channels
                else:
                    read_square(images, n, y, x, size, begin, tile)
                    source, next_row, next_column = tile.ctypes.data, size * STEP, STEP
                if size == 6:
                    input_6(source, next_row, next_column, target, size * step, step, scratch)
                else:
                    input_4(source, next_row, next_column, target, size * step, step, scratch)


@compiled
def read_gradients(images: Any, rectified: Any, totals: Any, matrices: Any, first: int, last: int, start: int, across: int,
                   down: int, size: int, kernel: int, memory: Any) -> None:  # fmt: skip
    """A dy A': ``images`` (N, OH, OW, O), the output's gradient.

    ``rectified`` are the outputs where they went through a ReLU, else it is empty. The gradients that got through are added to
    ``totals`` (O), which may be empty where ``rectified`` is.
    """
    outs = size - kernel + 1
    height, breadth, channels = images.shape[1], images.shape[2], images.shape[3]
    scratch, tile = memory.ctypes.data, memory[TILE : 2 * TILE]
    step = matrices.shape[2] * STEP
    for row in range(first, last):
        n, y = row // down, row % down * outs
        for j in range(across):
            x = j * outs
            for begin in range(0, channels, LANES):
                target = matrices[begin // LANES].ctypes.data + (row * across + j - start) * STEP
                source, next_row, next_column = tile.ctypes.data, outs * STEP, STEP
                if rectified.size > 0:
                    read_square_where_positive(images, rectified, n, y, x, outs, begin, tile, totals)
                elif y <= height - outs and x <= breadth - outs and begin + LANES <= channels:
                    source = images.ctypes.data + 4 * (((n * height + y) * breadth + x) * channels + begin)
                    next_row, next_column = 4 * breadth * channels, 4 * channels
                else:
                    read_square(images, n, y, x, outs, begin, tile)
                if rectified.size == 0 and totals.size > 0:
                    add_square(images, n, y, x, outs, begin, totals)
                if kernel == 5:
                    output_6_of_5_adjoint(source, next_row, next_column, target, size * step, step, scratch)
                elif size == 6:
                    output_6_adjoint(source, next_row, next_column, target, size * step, step, scratch)
                else:
                    output_4_adjoint(source, next_row, next_column, target, size * step, step, scratch)


@compiled
def transform_filter(source: int, down: int, across: int, target: int, step: int, size: int, kernel: int,
                     scratch: int) -> None:  # fmt: skip
    """G w G' for `LANES` filters, or for as many channels of one."""
    if kernel == 5:
        filter_6_of_5(source, down, across, target, size * step, step, scratch)
    elif size == 6:
        filter_6(source, down, across, target, size * step, step, scratch)
    else:
        filter_4(source, down, across, target, size * step, step, scratch)


@compiled
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
    products = memory.ctypes.data
    transformed = memory[places * (tiles | 1) * LANES :]
    turned = transformed[places * (CHUNK + 1) * LANES :]
    tile = turned[kernel * kernel * (CHUNK + 1) * LANES :]
    step = (CHUNK + 1) * STEP
    scratch = tile[TILE:].ctypes.data
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
                transform_filter(source, kernel * step, step, target, step, size, kernel, scratch)
            elif begin + LANES <= filters.shape[3]:
                channels = 4 * filters.shape[3]
                source = filters.ctypes.data + (chunk + k) * kernel * kernel * channels + 4 * begin
                transform_filter(source, kernel * channels, channels, target, step, size, kernel, scratch)
            else:
                read_square(filters, chunk + k, 0, 0, kernel, begin, tile)
                transform_filter(tile.ctypes.data, kernel * STEP, STEP, target, step, size, kernel, scratch)
        for p in range(places):
            a = matrices[chunk // LANES].ctypes.data + p * place_step + first * STEP
            fetch(a + place_step, tiles * STEP)  # of the next place
            for j in range(0, LANES, width()):
                b = transformed.ctypes.data + p * step + 4 * j
                c = products + p * (tiles | 1) * STEP + 4 * j
                panel(tiles, end - chunk, a, STEP, from_a.ctypes.data, b, from_b.ctypes.data, c, STEP, chunk)


@compiled
def write_images(images: Any, bias: Any, rectify: bool, begin: int, first: int, last: int, across: int, down: int,
                 size: int, kernel: int, memory: Any) -> None:  # fmt: skip
    """A' m A + bias, from the products in ``memory``, into channels from ``begin`` on of ``images`` (N, OH, OW, O)."""
    outs, tiles = size - kernel + 1, ((last - first) * across) | 1
    tile = memory[len(memory) - 2 * TILE :]
    scratch = tile[TILE:].ctypes.data
    channels = min(LANES, images.shape[3] - begin)
    added = bias[begin : begin + channels]
    for row in range(first, last):
        n, y = row // down, row % down * outs
        for j in range(across):
            x = j * outs
            source = memory.ctypes.data + ((row - first) * across + j) * STEP
            down_step, across_step = size * tiles * STEP, tiles * STEP
            if kernel == 5:
                output_6_of_5(source, down_step, across_step, tile.ctypes.data, outs * STEP, STEP, scratch)
            elif size == 6:
                output_6(source, down_step, across_step, tile.ctypes.data, outs * STEP, STEP, scratch)
            else:
                output_4(source, down_step, across_step, tile.ctypes.data, outs * STEP, STEP, scratch)
            for a in range(min(outs, images.shape[1] - y)):
                for b in range(min(outs, images.shape[2] - x)):
                    place = (a * outs + b) * LANES
                    values = tile[place : place + channels]
                    target = images[n, y + a, x + b, begin : begin + channels]
                    if rectify:
                        for lane in range(channels):
                            value = values[lane] + added[lane]
                            target[lane] = np.float32(0) if value <= 0 else value
                    else:
                        for lane in range(channels):
                            target[lane] = values[lane] + added[lane]


@compiled
def add_gradients(images: Any, begin: int, first: int, last: int, across: int, down: int, top: int, left: int, size: int,
                  kernel: int, memory: Any) -> None:  # fmt: skip
    """Add B q B', of tiles that overlap, to channels from ``begin`` on of ``images`` (N, H, W, C)."""
    outs, tiles = size - kernel + 1, ((last - first) * across) | 1
    tile = memory[len(memory) - 2 * TILE :]
    scratch = tile[TILE:].ctypes.data
    channels = min(LANES, images.shape[3] - begin)
    height, breadth = images.shape[1], images.shape[2]
    for row in range(first, last):
        n, y = row // down, row % down * outs - top
        for j in range(across):
            x = j * outs - left
            source = memory.ctypes.data + ((row - first) * across + j) * STEP
            down_step, across_step = size * tiles * STEP, tiles * STEP
            if size == 6:
                input_6_adjoint(source, down_step, across_step, tile.ctypes.data, size * STEP, STEP, scratch)
            else:
                input_4_adjoint(source, down_step, across_step, tile.ctypes.data, size * STEP, STEP, scratch)
            for a in range(max(0, -y), min(size, height - y)):
                for b in range(max(0, -x), min(size, breadth - x)):
                    place = (a * size + b) * LANES
                    values, target = (
                        tile[place : place + channels],
                        images[n, y + a, x + b, begin : begin + channels],
                    )
                    for lane in range(channels):
                        target[lane] += values[lane]


@compiled
def add_filter_products(gradients: Any, matrices: Any, count: int, outs: int, size: int, products: Any,
                        accumulate: bool) -> None:  # fmt: skip
    """Z' V for each place, over the first ``count`` tiles of a panel of each: ``products`` (size * size, outs | 1, LANES)."""
    terms = offsets(TERMS, STEP)
    for p in range(size * size):
        for t in range(0, count, TERMS):
            a = gradients[p, t].ctypes.data
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
    tile = memory[:TILE]
    scratch = memory[TILE:].ctypes.data
    channels = min(LANES, filters.shape[3] - begin)
    step = (outs | 1) * STEP
    for o in range(outs):
        source = products.ctypes.data + o * STEP
        if kernel == 5:
            filter_6_of_5_adjoint(source, size * step, step, tile.ctypes.data, kernel * STEP, STEP, scratch)
        elif size == 6:
            filter_6_adjoint(source, size * step, step, tile.ctypes.data, kernel * STEP, STEP, scratch)
        else:
            filter_4_adjoint(source, size * step, step, tile.ctypes.data, kernel * STEP, STEP, scratch)
        for a in range(kernel):
            for b in range(kernel):
                place = (a * kernel + b) * LANES
                values, target = tile[place : place + channels], filters[out + o, a, b, begin : begin + channels]
                for lane in range(channels):
                    target[lane] = values[lane]
