"""Convolution by its definition, as products of matrices whose windows are read where they lie in the images.

The matrix of windows (im2col) is never built: its element for an output's place and a term (u, v, c) lies at the sum of two
offsets, one for the place and one for the term, which the micro-kernel takes from tables (see reach.py). Arrays are float32;
what only the micro-kernel reads is given as an address.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiler import compiled
from .microkernel import offsets, scattered_product
from .sharing import done, leave, share, take, wait
from .squares import LANES, STEP, transpose
from .vectors import vector_lanes

TERMS = 256  # that are summed at a time: their filters stay in the cache
ROWS = 60  # places at a time, a multiple of the micro-kernel's 6


@compiled
def convolve(
    x: int, x_step: int, images: int, batch: int, spans: Any, c_rows: Any, a_rows: int, a_terms: int, b_terms: int,
    filters: Any, channels: int, packed: Any, step: int, bias: Any, rectify: bool, out: Any, board: Any,
) -> None:  # fmt: skip
    """``out`` (images places, columns): for each place the sum of what it sees in ``x`` times the filters.

    Images lie ``x_step`` bytes apart and are taken ``batch`` at a time, for which the tables of `reach.places_by_terms` are.
    First ``filters`` (O, KH KW C) are put into ``packed`` (panels, K, LANES): their columns are the filters or, if ``channels``
    is not 0, so many channels of them. Panels are taken ``step`` at a time.
    """
    leads = share(board)
    panels = len(packed)
    piece = take(board, 0)
    while piece < panels:
        if channels > 0:
            pack_channels(filters, channels, piece, packed)
        else:
            pack_filters(filters, piece, packed)
        done(board, 0)
        piece = take(board, 0)
    wait(board, 0, panels)
    from_packed = np.int64(packed.ctypes.data)
    # Arguments of the micro-kernel have the same types everywhere, so that it is compiled once: no constant 0.
    products = np.empty((ROWS, LANES), np.float32)
    to_products = offsets(ROWS, STEP)
    steps, places = (panels + step - 1) // step, len(out) // images
    piece = take(board, 1)
    while piece < (images + batch - 1) // batch * steps:
        first, panel = piece // steps * batch, piece % steps * step
        some = min(batch, images - first)
        for group in range(panel, min(panel + step, panels)):
            b, columns = from_packed + group * packed.shape[1] * STEP, min(LANES, out.shape[1] - group * LANES)
            for product in range(len(spans)):
                begin, begin_terms, terms = spans[product, 0], 8 * spans[product, 2], spans[product, 3]
                end = begin + spans[product, 1] // batch * some
                for row in range(begin, end, ROWS):
                    rows = min(ROWS, end - row)
                    scattered_product(
                        rows, columns, terms, TERMS, x + first * x_step, a_rows + 8 * row, a_terms + begin_terms, b,
                        b_terms + begin_terms, np.int64(products.ctypes.data), np.int64(to_products.ctypes.data), np.int64(0),
                    )  # fmt: skip
                    if terms == 0:
                        products[:] = 0
                    put_out(products, c_rows, row, rows, first * places, group * LANES, columns, bias, rectify, out)
        piece = take(board, 1)
    leave(board, leads)


@compiled(inline=True)
def put_out(
    products: Any, c_rows: Any, row: int, rows: int, above: int, begin: int, columns: int, bias: Any, rectify: bool, out: Any
) -> None:  # fmt: skip
    """``products`` plus the bias into ``out``, from the column ``begin`` on, row i as the row ``above + c_rows[row + i]``."""
    added = bias[begin:]
    for i in range(rows):
        source, target = products[i], out[above + c_rows[row + i], begin:]
        if rectify:
            for lane in range(columns):
                value = source[lane] + added[lane]
                target[lane] = np.float32(0) if value <= 0 else value
        else:
            for lane in range(columns):
                target[lane] = source[lane] + added[lane]


@compiled(inline=True)
def pack_filters(filters: Any, panel: int, packed: Any) -> None:
    """``packed[panel]`` (K, LANES): so many of the filters (O, K), a column each; zeros behind the last."""
    terms, side, begin = filters.shape[1], vector_lanes(), panel * LANES
    count = min(LANES, len(filters) - begin)
    for o in range(0, LANES, side):
        for k in range(0, terms, side):
            if o + side <= count and k + side <= terms:
                source = filters.ctypes.data + 4 * ((begin + o) * terms + k)
                transpose(source, 4 * terms, packed.ctypes.data + (panel * terms + k) * STEP + 4 * o, STEP)
            else:
                for i in range(k, min(k + side, terms)):
                    for lane in range(o, o + side):
                        packed[panel, i, lane] = filters[begin + lane, i] if lane < count else np.float32(0)


@compiled(inline=True)
def pack_channels(filters: Any, channels: int, panel: int, packed: Any) -> None:
    """``packed[panel]`` (KH KW O, LANES): so many channels of the filters (O, KH KW C), a column each; zeros behind the last."""
    outs, begin = len(filters), panel * LANES
    count = min(LANES, channels - begin)
    for row in range(packed.shape[1]):
        target, source = packed[panel, row], filters[row % outs, row // outs * channels + begin :]
        for lane in range(LANES):
            target[lane] = source[lane] if lane < count else np.float32(0)
