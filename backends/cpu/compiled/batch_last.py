"""Convolution with the batch last in memory (C, H, W, N): every loop runs along the images, however few the channels.

A row of outputs of one channel, (OW, N), is one run of memory, and what place (c, u, v) of the kernel sees of it is another:
so `panel` takes the images as they lie. All is float32 and contiguous; the stride is 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .batch_last_products import add_lanes, multiply_runs, vector_lanes
from .compiler import compiled
from .microkernel import panel, width

RUN = 1024  # elements at a time, of which a few rows stay in the first cache
TILE = 16  # images and pixels that are transposed at a time


@compiled
def rearrange(images: Any, out: Any, first: int, last: int, top: int, left: int) -> None:
    """images (N, C, H * W) into rows ``first`` to ``last`` of (C, H + 2 top), a row (W + 2 left, N) each, with zeros around."""
    count, _, pixels = images.shape
    height, width = out.shape[1] - 2 * top, out.shape[2] - 2 * left
    for row in range(first, last):
        c, h = row // out.shape[1], row % out.shape[1] - top
        target = out[c, h + top]
        if h < 0 or h >= height:
            target[:] = 0
            continue
        target[:left] = 0
        target[left + width :] = 0
        for n in range(0, count, TILE):
            stop = min(n + TILE, count)
            for w in range(width):
                to = target[left + w]
                for i in range(n, stop):
                    to[i] = images[i, c, h * width + w]


@compiled
def convolve(
    images: Any, weight: int, weight_step: int, a_offsets: Any, b_offsets: Any, spans: Any, kernel_rows: int, top: int,
    bias: Any, rectify: bool, out: Any, first: int, last: int,
) -> None:  # fmt: skip
    """Rows ``first`` to ``last`` of out (O, OH, OW, N) from images (C, H, W, N).

    Filter o lies at ``weight + o weight_step``. ``spans`` holds, for columns that see the same columns of the kernel: the
    first and the last of them, where their terms begin in the tables, and how many there are for each row of the kernel.
    A term reads its factor at ``a_offsets``, and for the output at (h, w) the images at row h - ``top``, column w, plus
    ``b_offsets``; terms stand by the kernel's rows, of which those outside the image are left out.
    """
    outs, _, _, count = out.shape
    height, line = images.shape[1], 4 * images.shape[2] * count
    size, plane = 4 * out.shape[2] * count, 4 * out.shape[1] * out.shape[2] * count
    block = width()
    for h in range(first, last):
        begin, end = max(0, top - h), min(kernel_rows, top - h + height)
        source, target = images.ctypes.data + (h - top) * line, out.ctypes.data + h * size
        for s in range(len(spans)):
            terms = (end - begin) * spans[s, 3]
            table = 8 * (spans[s, 2] + begin * spans[s, 3])
            run_end = spans[s, 1] * count
            i = spans[s, 0] * count
            while i < run_end:
                i = min(i, run_end - block)  # the last block begins within the one before
                panel(
                    outs, terms, weight, weight_step, a_offsets.ctypes.data + table, source + 4 * i,
                    b_offsets.ctypes.data + table, target + 4 * i, plane, 0,
                )  # fmt: skip
                finish(out, bias, rectify, h * out.shape[2] * count + i, block)
                i += block


@compiled
def finish(out: Any, bias: Any, rectify: bool, start: int, length: int) -> None:
    """Bias and ReLU of a run of each channel."""
    planes = out.reshape(out.shape[0], -1)
    zero = np.float32(0)
    for o in range(len(planes)):
        run, added = planes[o, start : start + length], bias[o]
        if rectify:
            for i in range(length):
                value = run[i] + added
                run[i] = zero if value <= 0 else value
        else:
            for i in range(length):
                run[i] += added


@compiled(reassociate=True)
def total_of(run: Any) -> Any:
    total = np.float32(0)
    for i in range(len(run)):
        total += run[i]
    return total


@compiled
def differentiate(
    images: Any, rectified: Any, dout: Any, masked: Any, b_offsets: Any, of_weight: Any, of_bias: Any, first: int,
    last: int,
) -> None:  # fmt: skip
    """The gradients of the filters (O, C KH KW) and of the bias (O), over rows ``first`` to ``last`` of dout (O, OH, OW, N).

    Where ``rectified`` is not empty but the output, dout counts where that is not <= 0; it is then written to ``masked``,
    which has dout's shape, or one row, to be used again. ``b_offsets`` tells where the images (C, H, W, N), padding included,
    have what the kernel's places see, from the row of the output on; it is filled up to a multiple of COLUMNS. Filters
    without a place (O, 0) get no gradient.
    """
    outs, _, across, count = dout.shape
    run, columns = across * count, len(b_offsets)
    lanes = vector_lanes()
    even = run - run % lanes
    sums = np.zeros((outs + 3) // 4 * 4 * columns * lanes, np.float32)
    short_a, short_b = np.zeros((outs, lanes), np.float32), np.zeros((columns, lanes), np.float32)
    short_offsets = np.arange(columns) * 4 * lanes
    flat = images.reshape(-1)
    zero = np.float32(0)
    masking = rectified.size > 0
    of_bias[:] = 0
    for h in range(first, last):
        row = h if masked.shape[1] > 1 or not masking else 0
        source = masked if masking else dout
        for o in range(outs):
            used = source[o, row].reshape(-1)
            if masking:
                output, gradient = rectified[o, h].reshape(-1), dout[o, h].reshape(-1)
                for i in range(run):
                    used[i] = zero if output[i] <= 0 else gradient[i]
            of_bias[o] += total_of(used)
        if of_weight.shape[1] == 0:
            continue
        step = 4 * source.shape[1] * run
        from_a, from_b = source.ctypes.data + 4 * row * run, images.ctypes.data + 4 * h * images.shape[2] * count
        for start in range(0, even, RUN):
            multiply_runs(
                outs, columns, min(RUN, even - start), from_a + 4 * start, step, from_b + 4 * start,
                b_offsets.ctypes.data, sums.ctypes.data,
            )  # fmt: skip
        if even < run:
            begin = h * images.shape[2] * count + even
            for i in range(run - even):
                for o in range(outs):
                    short_a[o, i] = source[o, row].reshape(-1)[even + i]
                for c in range(columns):
                    short_b[c, i] = flat[begin + i + b_offsets[c] // 4]
            multiply_runs(
                outs, columns, lanes, short_a.ctypes.data, 4 * lanes, short_b.ctypes.data, short_offsets.ctypes.data,
                sums.ctypes.data,
            )  # fmt: skip
    add_lanes(sums, outs, columns, of_weight)
