"""Winograd's convolution: tiles of images into matrices, and products back into images.

A tile of ``size`` x ``size`` places gives outs x outs outputs, outs = size - kernel + 1. The matrices of some tiles are an
array (panels, size * size places, tiles, LANES): a panel for each `LANES` channels, the last with zeros behind the channels.
There is memory for an odd number of tiles, since steps that are powers of two would put all places of a tile into the same
few lines of a cache.

Tiles are cut from mosaics of images (see mosaic.py), row by row, the mosaics one behind the other. ``rows`` and ``columns``
are what `Mosaic` tells of an image: the pixel in row i and column j of a mosaic is number rows[i] + columns[j] from the
mosaic's first one on, and mosaics are ``pitch`` pixels apart. A number that is negative, or beyond the last pixel, is of none:
it is read as zero, and what is written there is lost. ``first`` and ``last`` are rows of tiles, and an array of matrices begins
with the tile ``start``.

Scratch arrays are named inside a loop that uses their addresses: an array that is not named again is freed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .addresses import line_at
from .compiler import compiled
from .microkernel import fetch
from .squares import LANES, STEP
from .winograd_matrices import (
    input_4,
    input_4_adjoint,
    input_6,
    input_6_adjoint,
    input_8,
    input_8_adjoint,
    output_4,
    output_4_adjoint,
    output_6,
    output_6_adjoint,
    output_8,
    output_8_adjoint,
)

MOST = 64  # places of the largest tile


@compiled
def look_up(
    pixels: Any, base: int, rows: Any, y: int, columns: Any, x: int, extent: int, nowhere: Any, table: Any
) -> None:
    """Addresses of the pixels in ``extent`` rows and columns; that of ``nowhere`` where there is none."""
    start, step, other = pixels.ctypes.data, 4 * pixels.shape[1], nowhere.ctypes.data
    for a in range(extent):
        for b in range(extent):
            at = base + rows[y + a] + columns[x + b]
            table[a * extent + b] = start + at * step if 0 <= at < len(pixels) else other


@compiled
def places_of(tile: Any, table: Any) -> None:
    """Addresses of the places of a scratch tile."""
    for place in range(len(table)):
        table[place] = tile.ctypes.data + place * STEP


@compiled
def copy_pixels(table: Any, count: int, offset: int, channels: int, tile: Any) -> None:
    """Some channels, fewer than `LANES`, of ``count`` pixels into a scratch tile; zeros behind."""
    for place in range(count):
        source, target = line_at(table[place] + offset, channels, tile), tile[place * LANES : (place + 1) * LANES]
        for lane in range(LANES):
            target[lane] = source[lane] if lane < channels else np.float32(0)


@compiled(inline=True)
def write_pixels(tile: Any, table: Any, count: int, offset: int, channels: int) -> None:
    """Some channels, fewer than `LANES`, of a scratch tile."""
    for place in range(count):
        source, target = tile[place * LANES : (place + 1) * LANES], line_at(table[place] + offset, channels, tile)
        for lane in range(channels):
            target[lane] = source[lane]


@compiled
def fetch_below(table: Any, extent: int, overlap: int, distance: int, count: int) -> None:
    """Begin to bring the pixels of the tile below into the cache: ``distance`` bytes on."""
    for a in range(overlap, extent):
        for b in range(overlap, extent):
            fetch(table[a * extent + b] + distance, count)


@compiled
def read_images(images: Any, matrices: Any, first: int, last: int, start: int, rows: Any, columns: Any, pitch: int, size: int,
                kernel: int) -> None:  # fmt: skip
    """B' x B: ``images`` (N, H, W, C); ``rows`` and ``columns`` of theirs."""
    outs, channels = size - kernel + 1, images.shape[3]
    down, across = (len(rows) - kernel + 1) // outs, (len(columns) - kernel + 1) // outs
    pixels, nothing, tile = (
        images.reshape(-1, channels),
        np.zeros(channels, np.float32),
        np.empty(MOST * LANES, np.float32),
    )
    found, places = np.empty(MOST, np.int64), np.empty(MOST, np.int64)
    places_of(tile, places)
    step = matrices.shape[2] * STEP  # from one place of a tile to the next
    for row in range(first, last):
        for j in range(across):
            look_up(pixels, row // down * pitch, rows, row % down * outs, columns, j * outs, size, nothing, found)
            fetch_below(found, size, kernel - 1, 4 * outs * images.shape[2] * channels, 4 * channels)
            for begin in range(0, channels, LANES):
                target = matrices[begin // LANES].ctypes.data + (row * across + j - start) * STEP
                table, offset = found.ctypes.data, 4 * begin
                if begin + LANES > channels:
                    copy_pixels(found, size * size, offset, channels - begin, tile)
                    table, offset = places.ctypes.data, 0
                if size == 8:
                    input_8(table, offset, target, size * step, step)
                elif size == 6:
                    input_6(table, offset, target, size * step, step)
                else:
                    input_4(table, offset, target, size * step, step)


@compiled
def read_gradients(images: Any, rectified: Any, totals: Any, matrices: Any, first: int, last: int, start: int, rows: Any,
                   columns: Any, pitch: int, size: int, kernel: int) -> None:  # fmt: skip
    """A dy A': ``images`` (N, OH, OW, O), the output's gradient; ``rows`` and ``columns`` of the output.

    ``rectified`` are the outputs where they went through a ReLU, else it is empty. The gradients that got through are added to
    ``totals``, of whole panels of channels.
    """
    outs, channels = size - kernel + 1, images.shape[3]
    down, across = len(rows) // outs, len(columns) // outs
    pixels, positive = images.reshape(-1, channels), rectified.reshape(-1, channels)
    nothing, open_ = np.zeros(channels, np.float32), np.ones(channels, np.float32)
    tile, other_tile = np.empty(MOST * LANES, np.float32), np.empty(MOST * LANES, np.float32)
    found, others, places, other_places = (
        np.empty(MOST, np.int64), np.empty(MOST, np.int64), np.empty(MOST, np.int64), np.empty(MOST, np.int64)
    )  # fmt: skip
    others[:] = open_.ctypes.data
    places_of(tile, places)
    places_of(other_tile, other_places)
    step = matrices.shape[2] * STEP
    for row in range(first, last):
        base, y = row // down * pitch, row % down * outs
        for j in range(across):
            look_up(pixels, base, rows, y, columns, j * outs, outs, nothing, found)
            fetch_below(found, outs, 0, 4 * outs * images.shape[2] * channels, 4 * channels)
            if len(positive) > 0:
                look_up(positive, base, rows, y, columns, j * outs, outs, open_, others)
                fetch_below(others, outs, 0, 4 * outs * images.shape[2] * channels, 4 * channels)
            for begin in range(0, channels, LANES):
                target = matrices[begin // LANES].ctypes.data + (row * across + j - start) * STEP
                table, other, offset = found.ctypes.data, others.ctypes.data, 4 * begin
                if begin + LANES > channels:
                    copy_pixels(found, outs * outs, offset, channels - begin, tile)
                    copy_pixels(others, outs * outs, offset, channels - begin, other_tile)
                    table, other, offset = places.ctypes.data, other_places.ctypes.data, 0
                total = totals[begin:].ctypes.data
                if size == 8:
                    output_8_adjoint(table, other, offset, total, target, size * step, step)
                elif size == 6:
                    output_6_adjoint(table, other, offset, total, target, size * step, step)
                else:
                    output_4_adjoint(table, other, offset, total, target, size * step, step)


@compiled
def write_images(images: Any, bias: Any, rectify: bool, begin: int, first: int, last: int, rows: Any, columns: Any,
                 pitch: int, size: int, kernel: int, products: Any) -> None:  # fmt: skip
    """A' m A + bias, of products, into channels from ``begin`` on of ``images`` (N, OH, OW, O); ``bias`` in whole panels."""
    outs = size - kernel + 1
    down, across = len(rows) // outs, len(columns) // outs
    tiles, pixels = ((last - first) * across) | 1, images.reshape(-1, images.shape[3])
    lost, tile = np.empty(images.shape[3], np.float32), np.empty(MOST * LANES, np.float32)
    found, places, floor = np.empty(MOST, np.int64), np.empty(MOST, np.int64), np.empty(1, np.float32)
    floor[0] = 0 if rectify else -np.inf
    places_of(tile, places)
    channels = min(LANES, images.shape[3] - begin)
    down_step, across_step = size * tiles * STEP, tiles * STEP
    for row in range(first, last):
        for j in range(across):
            source = products.ctypes.data + ((row - first) * across + j) * STEP
            look_up(pixels, row // down * pitch, rows, row % down * outs, columns, j * outs, outs, lost, found)
            fetch_below(found, outs, 0, 4 * (outs * images.shape[2] * images.shape[3] + begin), 4 * channels)
            table, offset = (found.ctypes.data, 4 * begin) if channels == LANES else (places.ctypes.data, 0)
            added, least = bias[begin:].ctypes.data, floor.ctypes.data
            if size == 8:
                output_8(source, down_step, across_step, table, offset, added, least)
            elif size == 6:
                output_6(source, down_step, across_step, table, offset, added, least)
            else:
                output_4(source, down_step, across_step, table, offset, added, least)
            if channels < LANES:
                write_pixels(tile, found, outs * outs, 4 * begin, channels)


@compiled
def add_gradients(images: Any, begin: int, first: int, last: int, rows: Any, columns: Any, pitch: int, size: int, kernel: int,
                  products: Any) -> None:  # fmt: skip
    """B q B', of tiles that overlap, added up in channels from ``begin`` on of ``images`` (N, H, W, C).

    The first tile that has a pixel does not ask what was there; so a mosaic's tiles are to be done in their order.
    """
    outs = size - kernel + 1
    down, across = (len(rows) - kernel + 1) // outs, (len(columns) - kernel + 1) // outs
    tiles, pixels = ((last - first) * across) | 1, images.reshape(-1, images.shape[3])
    nothing, lost = np.zeros(images.shape[3], np.float32), np.empty(images.shape[3], np.float32)
    tile, found, before = np.empty(MOST * LANES, np.float32), np.empty(MOST, np.int64), np.empty(MOST, np.int64)
    places = np.empty(MOST, np.int64)
    places_of(tile, places)
    channels, offset = min(LANES, images.shape[3] - begin), 4 * begin
    down_step, across_step = size * tiles * STEP, tiles * STEP
    for row in range(first, last):
        y = row % down * outs
        for j in range(across):
            source = products.ctypes.data + ((row - first) * across + j) * STEP
            look_up(pixels, row // down * pitch, rows, y, columns, j * outs, size, lost, found)
            fetch_below(found, size, kernel - 1, 4 * outs * images.shape[2] * images.shape[3] + offset, 4 * channels)
            for a in range(size):
                for b in range(size):
                    is_first = (y == 0 or a >= kernel - 1) and (j == 0 or b >= kernel - 1)
                    before[a * size + b] = np.int64(nothing.ctypes.data) if is_first else found[a * size + b]
            if channels == LANES:
                old, table, shift = before.ctypes.data, found.ctypes.data, offset
            else:
                copy_pixels(before, size * size, offset, channels, tile)
                old, table, shift = places.ctypes.data, places.ctypes.data, 0
            if size == 8:
                input_8_adjoint(source, down_step, across_step, old, table, shift)
            elif size == 6:
                input_6_adjoint(source, down_step, across_step, old, table, shift)
            else:
                input_4_adjoint(source, down_step, across_step, old, table, shift)
            if channels < LANES:
                write_pixels(tile, found, size * size, offset, channels)
