"""Winograd's transforms of whole tiles: an image's into ``size`` * ``size`` matrices (tiles, channels), and back.

``size`` is 6, for 4x4 outputs a tile, or 4, for 2x2. Tiles are counted along an image's rows, the images one behind the
other; ``first`` and ``last`` are rows of tiles. What hangs over the edge of an image is read as zero, and not written.
All arrays are float32, the channels last.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiler import compiled
from .winograd_lines import (
    LANES,
    PITCH,
    filter_4,
    filter_4_adjoint,
    filter_6,
    filter_6_adjoint,
    input_4,
    input_4_adjoint,
    input_6,
    input_6_adjoint,
    output_4,
    output_4_adjoint,
    output_6,
    output_6_adjoint,
)


@compiled
def read_places(images: Any, n: int, top: int, left: int, extent: int, begin: int, channels: int, tile: Any) -> None:
    """A square of an image into a scratch tile; zeros where it overhangs."""
    for a in range(extent):
        for b in range(extent):
            place = (a * PITCH + b) * LANES
            target = tile[place : place + channels]
            if 0 <= top + a < images.shape[1] and 0 <= left + b < images.shape[2]:
                source = images[n, top + a, left + b, begin : begin + channels]
                for lane in range(channels):
                    target[lane] = source[lane]
            else:
                for lane in range(channels):
                    target[lane] = 0


@compiled
def read_matrices(matrices: Any, row: int, size: int, begin: int, channels: int, tile: Any) -> None:
    for a in range(size):
        for b in range(size):
            place = (a * PITCH + b) * LANES
            target = tile[place : place + channels]
            source = matrices[a * size + b, row, begin : begin + channels]
            for lane in range(channels):
                target[lane] = source[lane]


@compiled
def write_matrices(tile: Any, matrices: Any, row: int, size: int, begin: int, channels: int) -> None:
    for a in range(size):
        for b in range(size):
            place = (a * PITCH + b) * LANES
            source = tile[place : place + channels]
            target = matrices[a * size + b, row, begin : begin + channels]
            for lane in range(channels):
                target[lane] = source[lane]


@compiled
def transform_images(
    images: Any, matrices: Any, first: int, last: int, across: int, down: int, top: int, left: int, size: int
) -> None:
    """B' x B: ``images`` (N, H, W, C), padded by ``top`` and ``left``, into ``matrices`` (size * size, tiles, C)."""
    here, there = np.empty(PITCH * PITCH * LANES, np.float32), np.empty(PITCH * PITCH * LANES, np.float32)
    total = images.shape[3]
    for row in range(first, last):
        n, y = row // down, row % down * (size - 2) - top
        for j in range(across):
            for begin in range(0, total, LANES):
                channels = min(LANES, total - begin)
                read_places(images, n, y, j * (size - 2) - left, size, begin, channels, here)
                for _turn in range(2):
                    count = size
                    if size == 6:
                        input_6(here, there, count, channels)
                    else:
                        input_4(here, there, count, channels)
                    here, there = there, here
                write_matrices(here, matrices, row * across + j, size, begin, channels)


@compiled
def transform_gradients(images: Any, matrices: Any, first: int, last: int, across: int, down: int, size: int) -> None:
    """A dy A': ``images`` (N, OH, OW, O), the output's gradient, into ``matrices`` (size * size, tiles, O)."""
    here, there = np.empty(PITCH * PITCH * LANES, np.float32), np.empty(PITCH * PITCH * LANES, np.float32)
    total = images.shape[3]
    for row in range(first, last):
        n, y = row // down, row % down * (size - 2)
        for j in range(across):
            for begin in range(0, total, LANES):
                channels = min(LANES, total - begin)
                read_places(images, n, y, j * (size - 2), size - 2, begin, channels, here)
                for turn in range(2):
                    count = size - 2 if turn == 0 else size
                    if size == 6:
                        output_6_adjoint(here, there, count, channels)
                    else:
                        output_4_adjoint(here, there, count, channels)
                    here, there = there, here
                write_matrices(here, matrices, row * across + j, size, begin, channels)


@compiled
def write_outputs(
    matrices: Any, images: Any, bias: Any, first: int, last: int, across: int, down: int, size: int, start: int
) -> None:
    """A' m A + bias into ``images`` (N, OH, OW, O). ``matrices`` (size * size, tiles, O) begin with tile ``start``."""
    here, there = np.empty(PITCH * PITCH * LANES, np.float32), np.empty(PITCH * PITCH * LANES, np.float32)
    total = images.shape[3]
    for row in range(first, last):
        n, y = row // down, row % down * (size - 2)
        rows = min(size - 2, images.shape[1] - y)
        for j in range(across):
            x = j * (size - 2)
            columns = min(size - 2, images.shape[2] - x)
            for begin in range(0, total, LANES):
                channels = min(LANES, total - begin)
                read_matrices(matrices, row * across + j - start, size, begin, channels, here)
                for turn in range(2):
                    count = size if turn == 0 else size - 2
                    if size == 6:
                        output_6(here, there, count, channels)
                    else:
                        output_4(here, there, count, channels)
                    here, there = there, here
                added = bias[begin : begin + channels]
                for a in range(rows):
                    for b in range(columns):
                        place = (a * PITCH + b) * LANES
                        source, target = (
                            here[place : place + channels],
                            images[n, y + a, x + b, begin : begin + channels],
                        )
                        for lane in range(channels):
                            target[lane] = source[lane] + added[lane]


@compiled
def add_input_gradients(
    matrices: Any,
    images: Any,
    first: int,
    last: int,
    across: int,
    down: int,
    top: int,
    left: int,
    size: int,
    start: int,
) -> None:
    """Add B q B', of tiles that overlap, to ``images`` (N, H, W, C). ``matrices`` begin with tile ``start``."""
    here, there = np.empty(PITCH * PITCH * LANES, np.float32), np.empty(PITCH * PITCH * LANES, np.float32)
    height, width, total = images.shape[1], images.shape[2], images.shape[3]
    for row in range(first, last):
        n, y = row // down, row % down * (size - 2) - top
        for j in range(across):
            x = j * (size - 2) - left
            for begin in range(0, total, LANES):
                channels = min(LANES, total - begin)
                read_matrices(matrices, row * across + j - start, size, begin, channels, here)
                for _turn in range(2):
                    count = size
                    if size == 6:
                        input_6_adjoint(here, there, count, channels)
                    else:
                        input_4_adjoint(here, there, count, channels)
                    here, there = there, here
                for a in range(max(0, -y), min(size, height - y)):
                    for b in range(max(0, -x), min(size, width - x)):
                        place = (a * PITCH + b) * LANES
                        source, target = (
                            here[place : place + channels],
                            images[n, y + a, x + b, begin : begin + channels],
                        )
                        for lane in range(channels):
                            target[lane] += source[lane]


@compiled
def transform_filters(filters: Any, matrices: Any, first: int, last: int, size: int) -> None:
    """G w G': ``filters`` (O, 3, 3, C) from ``first`` to ``last`` into ``matrices`` (size * size, O, C)."""
    here, there = np.empty(PITCH * PITCH * LANES, np.float32), np.empty(PITCH * PITCH * LANES, np.float32)
    total = filters.shape[3]
    for o in range(first, last):
        for begin in range(0, total, LANES):
            channels = min(LANES, total - begin)
            read_places(filters, o, 0, 0, 3, begin, channels, here)
            for turn in range(2):
                count = 3 if turn == 0 else size
                if size == 6:
                    filter_6(here, there, count, channels)
                else:
                    filter_4(here, there, count, channels)
                here, there = there, here
            write_matrices(here, matrices, o, size, begin, channels)


@compiled
def write_filter_gradients(matrices: Any, filters: Any, first: int, last: int, size: int) -> None:
    """G' u G: ``matrices`` (size * size, O, C) into ``filters`` (O, 3, 3, C)."""
    here, there = np.empty(PITCH * PITCH * LANES, np.float32), np.empty(PITCH * PITCH * LANES, np.float32)
    total = filters.shape[3]
    for o in range(first, last):
        for begin in range(0, total, LANES):
            channels = min(LANES, total - begin)
            read_matrices(matrices, o, size, begin, channels, here)
            for turn in range(2):
                count = size if turn == 0 else 3
                if size == 6:
                    filter_6_adjoint(here, there, count, channels)
                else:
                    filter_4_adjoint(here, there, count, channels)
                here, there = there, here
            for a in range(3):
                for b in range(3):
                    place = (a * PITCH + b) * LANES
                    source, target = here[place : place + channels], filters[o, a, b, begin : begin + channels]
                    for lane in range(channels):
                        target[lane] = source[lane]
