"""Convolutions of 2x2 images with 3x3 filters, and their gradients, by products in nine places (see toeplitz_places.py).

All threads share a kernel, piece by piece (see sharing.py). The filters are transformed anew for each piece, some channels at
a time, while what comes next is fetched from memory: that hides nearly all it takes. ``memory`` is a thread's scratch, of
`MEMORY` floats: `WORK`, then what each piece says.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiler import compiled
from .microkernel import fetch, narrow_panel, offsets, panel, width
from .sharing import done, leave, share, take, wait
from .squares import LANES, STEP
from .toeplitz_matrices import collect_filter, collect_filter_beside, collect_input
from .toeplitz_places import (
    PLACES,
    WORK,
    read_batch,
    read_gradients,
    read_panels,
    transform_filters,
    write_group,
)
from .vectors import vector_lanes

# Of a piece: filters, and images for which filters are transformed once.
FILTERS, IMAGES = 32, 128
GROUPS = IMAGES // LANES
READ_IMAGES = 8  # at a time
TERMS = 128  # images that are summed at a time, in the gradient of the filters
MEMORY = WORK + PLACES * LANES * max((FILTERS | 1) * (1 + GROUPS), (LANES | 1) + (IMAGES | 1))


@compiled
def scratch() -> Any:
    """A thread's memory, from the beginning of a line of the cache on."""
    room = np.empty(MEMORY + 16, np.float32)
    return room[-room.ctypes.data % 64 // 4 :]


@compiled
def forward(images: Any, filters: Any, bias: Any, rectify: bool, matrices: Any, out: Any, board: Any) -> None:
    """``out`` (N, 2, 2, O), or max(0, out) with ``rectify``, of ``images`` (N, 2, 2, C) and ``filters`` (O, 3, 3, C).

    ``matrices`` (groups of images, panels of channels, 9, LANES + 1, LANES) are for the transformed images.
    """
    leads = share(board)
    memory, channels, outs = scratch(), images.shape[3], len(filters)
    parts = (channels + LANES - 1) // LANES
    part = take(board, 0)
    while part < parts:
        read_batch(images, part * LANES, min((part + 1) * LANES, channels), matrices, memory)
        done(board, 0)
        part = take(board, 0)
    wait(board, 0, parts)
    across = (outs + FILTERS - 1) // FILTERS
    piece = take(board, 1)
    while piece < across * ((len(matrices) + GROUPS - 1) // GROUPS):
        first, begin = piece % across * FILTERS, piece // across * GROUPS
        last, end = min(first + FILTERS, outs), min(begin + GROUPS, len(matrices))
        write_outputs(matrices, filters, bias, rectify, first, last, begin, end, out, memory)
        piece = take(board, 1)
    leave(board, leads)


@compiled
def backward(
    images: Any, filters: Any, dout: Any, rectified: Any, totals: Any, gradients: Any, matrices: Any, dx: Any, dw: Any,
    beside: bool, board: Any,
) -> None:  # fmt: skip
    """The gradients ``dx`` and ``dw``, unless they are empty, and for the bias' the ``totals`` (parts, O) of `READ_IMAGES` each.

    ``gradients`` and ``matrices`` (panels of outputs, of channels, 9, N | 1, LANES) are for what is transformed; without dw
    there may be no matrices.
    """
    leads = share(board)
    memory, parts, (count, _, _, channels), outs = scratch(), len(totals), images.shape, len(filters)
    part = take(board, 0)
    while part < parts:
        first, last = part * READ_IMAGES, min((part + 1) * READ_IMAGES, count)
        read_gradients(dout, rectified, totals[part], first, last, gradients, memory)
        if dw.size > 0:
            read_panels(images, first, last, matrices, memory)
        done(board, 0)
        part = take(board, 0)
    wait(board, 0, parts)
    panels = (channels + LANES - 1) // LANES
    of_input = panels * ((count + IMAGES - 1) // IMAGES) if dx.size > 0 else 0
    of_filters = (outs + FILTERS - 1) // FILTERS if dw.size > 0 else 0
    piece = take(board, 1)
    while piece < of_input + of_filters:
        if piece < of_input:
            first = piece // panels * IMAGES
            last = min(first + IMAGES, count)
            write_input_gradients(gradients, filters, piece % panels * LANES, first, last, dx, memory)
        else:
            first = (piece - of_input) * FILTERS
            write_filter_gradients(gradients, matrices, count, first, min(first + FILTERS, outs), dw, beside, memory)
        piece = take(board, 1)
    leave(board, leads)


@compiled
def multiply(rows: int, terms: int, columns: int, a: int, from_a: int, b: int, from_b: int, c: int, accumulate: int,
             later: int, apart: int, count: int) -> int:  # fmt: skip
    """`panel` of lines, or `narrow_panel` where that has as many ``columns`` as there are left; how many it computed.

    Meanwhile ``count`` lines from ``later`` on, ``apart`` from each other, come into the second cache: a few with each block of
    rows, since many requests at once would wait for each other.
    """
    blocks = (rows + 5) // 6
    for i in range(blocks):
        for k in range(i * count // blocks, (i + 1) * count // blocks):
            fetch(later + k * apart, STEP + 64)  # it may not begin with a line of the cache
        r, some = 6 * i, min(6, rows - 6 * i)
        if columns >= width():
            panel(some, terms, a + r * STEP, STEP, from_a, b, from_b, c + r * STEP, STEP, accumulate)
        else:
            narrow_panel(some, terms, a + r * STEP, STEP, from_a, b, from_b, c + r * STEP, STEP, accumulate)
    return width() if columns >= width() else vector_lanes()


@compiled
def write_outputs(matrices: Any, filters: Any, bias: Any, rectify: bool, first: int, last: int, begin: int, end: int,
                  images: Any, memory: Any) -> None:  # fmt: skip
    """A (U V) A' + bias of filters ``first`` to ``last``, groups ``begin`` to ``end`` of ``images`` (N, 2, 2, O)."""
    rows, channels = last - first, filters.shape[3]
    step, between = (rows | 1) * STEP, (LANES + 1) * STEP
    work = memory[:WORK]
    transformed = memory.ctypes.data + 4 * WORK
    products = transformed + PLACES * step
    from_a, from_b = offsets(LANES, 4), offsets(LANES, STEP)
    for c in range(0, channels, LANES):
        terms = min(LANES, channels - c)
        transform_filters(filters, first, last, c, transformed, step, work)
        for group in range(begin, end):
            used = min(LANES, len(images) - group * LANES)
            for p in range(PLACES):
                a, m = transformed + p * step, products + ((group - begin) * PLACES + p) * step
                b, j = matrices[group, c // LANES].ctypes.data + p * between, 0
                later = filters.ctypes.data + 4 * ((first * PLACES + p) * channels + c + LANES)
                ahead = rows if group == begin and c + LANES < channels else 0  # of the filters, their next channels
                while j < used:
                    j += multiply(
                        rows, terms, used - j, a, from_a.ctypes.data, b + 4 * j, from_b.ctypes.data, m + 4 * j, c,
                        later, 4 * PLACES * channels, ahead if j == 0 else 0,
                    )  # fmt: skip
    for group in range(begin, end):
        write_group(products + (group - begin) * PLACES * step, bias, rectify, first, last, group * LANES, images, work)


@compiled
def write_input_gradients(gradients: Any, filters: Any, begin: int, first: int, last: int, dx: Any,
                          memory: Any) -> None:  # fmt: skip
    """B' (Z U) B of images ``first`` to ``last``, the channels from ``begin`` on of ``dx`` (N, 2, 2, C)."""
    outs, channels, rows = len(filters), filters.shape[3], last - first
    step, between = (rows | 1) * STEP, (LANES + 1) * STEP
    work = memory[:WORK]
    transformed = memory.ctypes.data + 4 * WORK
    products = transformed + PLACES * between
    from_a, from_b = offsets(LANES, 4), offsets(LANES, STEP)
    for o in range(0, outs, LANES):
        terms = min(LANES, outs - o)
        transform_filters(filters, o, o + terms, begin, transformed, between, work)
        for p in range(PLACES):
            a = gradients[o // LANES, p].ctypes.data + first * STEP
            later = filters.ctypes.data + 4 * (((o + LANES) * PLACES + p) * channels + begin)
            ahead = max(0, min(LANES, outs - o - LANES))  # of the next filters
            for j in range(0, LANES, width()):
                b, m = transformed + p * between + 4 * j, products + p * step + 4 * j
                multiply(
                    rows, terms, LANES - j, a, from_a.ctypes.data, b, from_b.ctypes.data, m, o, later, 4 * PLACES * channels,
                    ahead if j == 0 else 0,
                )  # fmt: skip
    for n in range(first, last):
        source = products + (n - first) * STEP
        if begin + LANES <= channels:
            target = dx.ctypes.data + 4 * (n * 4 * channels + begin)
            collect_input(source, 3 * step, step, target, 8 * channels, 4 * channels)
        else:
            collect_input(source, 3 * step, step, memory.ctypes.data, 2 * STEP, STEP)
            for place in range(4):
                for lane in range(channels - begin):
                    dx[n, place // 2, place % 2, begin + lane] = memory[place * LANES + lane]


@compiled
def write_filter_gradients(gradients: Any, matrices: Any, count: int, first: int, last: int, dw: Any, beside: bool,
                           memory: Any) -> None:  # fmt: skip
    """G' (Z' V) G over ``count`` images, filters ``first`` to ``last``, all of one panel, of ``dw`` (O, 3, 3, C).

    With ``beside`` it is written beside the caches: C is a multiple of 16, and dw begins at a multiple of 64 bytes.
    """
    channels, rows = dw.shape[3], last - first
    step = (rows | 1) * STEP
    products = memory.ctypes.data + 4 * WORK
    from_images = offsets(TERMS, STEP)
    for c in range(0, channels, LANES):
        for p in range(PLACES):
            for t in range(0, count, TERMS):
                a, terms = gradients[first // LANES, p, t].ctypes.data + 4 * (first % LANES), min(TERMS, count - t)
                for j in range(0, LANES, width()):
                    b, m = matrices[c // LANES, p, t].ctypes.data + 4 * j, products + p * step + 4 * j
                    panel(rows, terms, a, 4, from_images.ctypes.data, b, from_images.ctypes.data, m, STEP, t)
        for o in range(rows):
            source = products + o * STEP
            if c + LANES <= channels:
                target = dw.ctypes.data + 4 * ((first + o) * PLACES * channels + c)
                if beside:
                    collect_filter_beside(source, 3 * step, step, target, 12 * channels, 4 * channels)
                else:
                    collect_filter(source, 3 * step, step, target, 12 * channels, 4 * channels)
            else:
                collect_filter(source, 3 * step, step, memory.ctypes.data, 3 * STEP, STEP)
                for place in range(PLACES):
                    for lane in range(channels - c):
                        dw[first + o, place // 3, place % 3, c + lane] = memory[place * LANES + lane]
