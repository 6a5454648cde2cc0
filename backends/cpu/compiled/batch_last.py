"""Convolution with the batch last in memory (C, H, W, N): every loop runs along the images, however few the channels.

A row of outputs of one channel, (OW, N), is one run of memory, and what place (c, u, v) of the kernel sees of it is another:
so `panel` takes the images as they lie. All is float32 and contiguous; the stride is 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .activation import relu_backward
from .batch_last_order import rearrange
from .batch_last_products import add_lanes, multiply_runs
from .compiler import compiled
from .microkernel import panel, width
from .sharing import done, leave, share, take, wait
from .totals import total_of
from .vectors import vector_lanes

RUN = 1024  # elements at a time, of which a few rows stay in the first cache


@compiled
def forward(
    source: Any, images: Any, around: Any, weight: int, weight_step: int, a_offsets: Any, b_offsets: Any, spans: Any,
    kernel_rows: int, bias: Any, rectify: bool, out: Any, board: Any,
) -> None:  # fmt: skip
    """`rearrange` ``source`` into ``images`` with zeros ``around``, unless it is empty; then `convolve`."""
    leads = share(board)
    if source.size > 0:
        rearrange(source, images, around[0], around[1], board)
    convolve(images, weight, weight_step, a_offsets, b_offsets, spans, kernel_rows, 0, bias, rectify, out, board)
    leave(board, leads)


@compiled(reassociate=True)
def backward(
    images: Any, rectified: Any, dout: Any, masked: Any, places: Any, of_weight: Any, of_bias: Any, step: int,
    source: Any, weight: int, weight_step: int, a_offsets: Any, b_offsets: Any, spans: Any, kernel_rows: int, top: int,
    bias: Any, grad_x: Any, board: Any,
) -> None:  # fmt: skip
    """`differentiate` if there is a part to do; then the input's gradient, if it has rows, by `convolve` of ``source``."""
    leads = share(board)
    if len(of_bias) > 0:
        differentiate(images, rectified, dout, masked, places, of_weight, of_bias, step, board)
    if grad_x.shape[1] > 0:
        convolve(
            source, weight, weight_step, a_offsets, b_offsets, spans, kernel_rows, top, bias, False, grad_x, board
        )  # fmt: skip
    leave(board, leads)


@compiled
def convolve(
    images: Any, weight: int, weight_step: int, a_offsets: Any, b_offsets: Any, spans: Any, kernel_rows: int, top: int,
    bias: Any, rectify: bool, out: Any, board: Any,
) -> None:  # fmt: skip
    """out (O, OH, OW, N) from images (C, H, W, N).

    Filter o lies at ``weight + o weight_step``. ``spans`` holds, for columns that see the same columns of the kernel: the
    first and the last of them, where their terms begin in the tables, and how many there are for each row of the kernel.
    A term reads its factor at ``a_offsets``, and for the output at (h, w) the images at row h - ``top``, column w, plus
    ``b_offsets``; terms stand by the kernel's rows, of which those outside the image are left out.
    """
    h = take(board, 1)
    while h < out.shape[1]:
        convolve_row(
            images, weight, weight_step, a_offsets, b_offsets, spans, kernel_rows, top, bias, rectify, out, h
        )  # fmt: skip
        done(board, 1)
        h = take(board, 1)
    wait(board, 1, out.shape[1])


@compiled(inline=True)
def convolve_row(
    images: Any, weight: int, weight_step: int, a_offsets: Any, b_offsets: Any, spans: Any, kernel_rows: int, top: int,
    bias: Any, rectify: bool, out: Any, h: int,
) -> None:  # fmt: skip
    outs, _, _, count = out.shape
    height, line = images.shape[1], 4 * images.shape[2] * count
    size, plane = 4 * out.shape[2] * count, 4 * out.shape[1] * out.shape[2] * count
    block = width()
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


@compiled(inline=True)
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


@compiled(inline=True)
def differentiate(
    images: Any, rectified: Any, dout: Any, masked: Any, b_offsets: Any, of_weight: Any, of_bias: Any, step: int,
    board: Any,
) -> None:  # fmt: skip
    """The gradients of the filters (parts, O, C KH KW) and of the bias (parts, O), a part ``step`` rows of dout (O, OH, OW, N).

    Where ``rectified`` is not empty but the output, dout counts where that is not <= 0; it is then written to ``masked``,
    unless that is empty, too. ``b_offsets`` tells where the images (C, H, W, N), padding included,
    have what the kernel's places see, from the row of the output on; it is filled up to a multiple of COLUMNS. Filters
    without a place (O, 0) get no gradient.
    """
    outs, height, across, count = dout.shape
    columns, lanes = len(b_offsets), vector_lanes()
    masking = rectified.size > 0
    own = np.empty((outs, 1, across, count) if masking and masked.size == 0 else (0, 0, 0, 0), np.float32)
    sums = np.empty((outs + 3) // 4 * 4 * columns * lanes, np.float32)
    short = np.empty((outs + columns, lanes), np.float32)
    part = take(board, 0)
    while part < len(of_bias):
        for i in range(len(sums)):
            sums[i] = 0
        for o in range(outs):
            of_bias[part, o] = 0
        for h in range(part * step, min(part * step + step, height)):
            if not masking:
                source, row = dout, h
            elif masked.size > 0:
                source, row = masked, h
            else:
                source, row = own, 0
            if masking:
                mask(rectified, dout, source, h, row)
            for o in range(outs):
                of_bias[part, o] += total_of(source[o, row].reshape(-1))
            if of_weight.shape[2] > 0:
                multiply_row(images, source, row, h, b_offsets, sums, short)
        add_lanes(sums, outs, columns, of_weight[part])
        done(board, 0)
        part = take(board, 0)
    wait(board, 0, len(of_bias))


@compiled(inline=True)
def mask(rectified: Any, dout: Any, masked: Any, h: int, row: int) -> None:
    """Row h of dout, where ``rectified`` is not <= 0, else 0, into a row of ``masked``."""
    for o in range(len(dout)):
        relu_backward(rectified[o, h].reshape(-1), dout[o, h].reshape(-1), masked[o, row].reshape(-1))


@compiled(inline=True)
def multiply_row(images: Any, dout: Any, row: int, h: int, b_offsets: Any, sums: Any, short: Any) -> None:
    """Add the products of a row of dout, the output's row h, with what the kernel's places see to ``sums``.

    ``short`` is memory for the end of the run that fills no vector.
    """
    outs, _, across, count = dout.shape
    run, columns, lanes = across * count, len(b_offsets), vector_lanes()
    even = run - run % lanes
    start = h * images.shape[2] * count
    step = 4 * dout.shape[1] * run
    from_a, from_b = dout.ctypes.data + 4 * row * run, images.ctypes.data + 4 * start
    for i in range(0, even, RUN):
        multiply_runs(
            outs, columns, min(RUN, even - i), from_a + 4 * i, step, from_b + 4 * i, b_offsets, sums.ctypes.data
        )  # fmt: skip
    if even < run:
        flat, rest = images.reshape(-1), run - even
        offsets = np.empty(columns, np.int64)
        for o in range(outs):
            end, values = short[o], dout[o, row].reshape(-1)
            for lane in range(lanes):
                end[lane] = values[even + lane] if lane < rest else np.float32(0)
        for c in range(columns):
            offsets[c] = 4 * lanes * c
            end, first = short[outs + c], start + even + b_offsets[c] // 4
            for lane in range(lanes):
                end[lane] = flat[first + lane] if lane < rest else np.float32(0)
        multiply_runs(
            outs, columns, lanes, np.int64(short.ctypes.data), 4 * lanes, np.int64(short[outs:].ctypes.data), offsets,
            sums.ctypes.data,
        )  # fmt: skip
