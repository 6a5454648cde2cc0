"""The gradient of a convolution's filters by its definition, as products of matrices whose windows are read in the images.

Each row of a product is a term (u, v, c) of the filters, and sums over the places that see something there (see reach.py).
Arrays are float32; what only the micro-kernel reads is given as an address.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiler import compiled
from .microkernel import offsets, scattered_product
from .sharing import done, leave, share, take, wait
from .squares import LANES, STEP, transpose
from .vectors import vector_lanes

TERMS = 96  # at a time: whole blocks of the micro-kernel, and whole vectors
PLACES = 256  # that are summed at a time: their gradients stay in the cache
BLOCK = 64  # places whose gradients are added up before they join the total, in the gradient of the bias


@compiled
def read_gradients(dout: Any, rectified: Any, step: int, made: Any, totals: Any, board: Any) -> None:
    """`read` for each of ``totals`` (parts, O), a part ``step`` places."""
    leads = share(board)
    part = take(board, 0)
    while part < len(totals):
        read(dout, rectified, part * step, min((part + 1) * step, len(dout)), made, part * step, totals, part)
        part = take(board, 0)
    leave(board, leads)


@compiled(inline=True)
def read(dout: Any, rectified: Any, first: int, end: int, made: Any, target: int, totals: Any, part: int) -> None:
    """Add up the places from ``first`` to ``end`` of ``dout`` (places, O) in ``totals[part]``, which begins with zeros.

    Where ``rectified``, the results of a ReLU, has rows and is not above zero, dout counts as zero. What has been read is put
    into ``made`` (places, pitch) from the row ``target`` on, with zeros behind its channels, if this has rows.
    """
    outs, total = dout.shape[1], totals[part]
    sums, own = np.empty(outs, np.float32), np.empty(made.shape[1], np.float32)
    for block in range(first, end, BLOCK):
        sums[:] = 0
        for i in range(block, min(block + BLOCK, end)):
            source, values = dout[i], made[target + i - first] if len(made) > 0 else own
            if len(rectified) > 0:
                result = rectified[i]
                for lane in range(outs):
                    values[lane] = np.float32(0) if result[lane] <= 0 else source[lane]
            else:
                for lane in range(outs):
                    values[lane] = source[lane]
            for lane in range(outs):
                sums[lane] += values[lane]
            for lane in range(outs, len(values)):
                values[lane] = 0
        for lane in range(outs):
            total[lane] += sums[lane]


@compiled
def multiply_gradients(
    x: int, spans: Any, c_rows: Any, a_rows: int, a_terms: int, b_terms: int, dout: int, gradient: Any, step: int, board: Any
) -> None:  # fmt: skip
    """``gradient`` (O, K): sums over all places of what the filters' terms see in ``x`` times ``dout`` (places, pitch).

    By the tables of `reach.terms_by_places` for all images; ``step`` products at a time.
    """
    leads = share(board)
    total, to_total = np.empty((TERMS, LANES), np.float32), offsets(TERMS, STEP)
    products = (len(gradient) + LANES - 1) // LANES * len(spans)
    number = take(board, 0) * step
    while number < products:
        for product in range(number, min(number + step, products)):
            group, span = product // len(spans), product % len(spans)
            begin, rows, begin_terms, terms = spans[span, 0], spans[span, 1], 8 * spans[span, 2], spans[span, 3]
            if terms == 0:
                total[:] = 0
            scattered_product(
                rows, min(LANES, len(gradient) - group * LANES), terms, PLACES, x, a_rows + 8 * begin, a_terms + begin_terms,
                dout + group * STEP, b_terms + begin_terms, np.int64(total.ctypes.data), np.int64(to_total.ctypes.data),
                np.int64(0),
            )  # fmt: skip
            unpack_filters(total, c_rows, begin, rows, gradient, group * LANES)
        number = take(board, 0) * step
    leave(board, leads)


@compiled
def add_gradients(
    x: int, x_step: int, images: int, batch: int, spans: Any, c_rows: Any, a_rows: int, a_terms: int, b_terms: int, dout: Any,
    rectified: Any, copied: bool, summed: bool, totals: Any, sums: Any, gradient: Any, board: Any,
) -> None:  # fmt: skip
    """`read_gradients` and `multiply_gradients` in one, for filters that are small beside the images.

    Images lie ``x_step`` bytes apart and are taken ``batch`` at a time, for which the tables are. Each of ``sums`` (parts,
    panels, K, LANES) is one over some batches. ``copied``: a copy of the gradients is needed; ``summed``: their sums are.
    """
    leads = share(board)
    runs, panels, terms = sums.shape[0], sums.shape[1], sums.shape[2]
    places, batches = len(dout) // images, len(totals)
    each = (batches + runs - 1) // runs
    made = np.empty((batch * places if copied else 0, panels * LANES), np.float32)
    to_sums = np.empty(TERMS, np.int64)
    run = take(board, 0)
    while run < runs:
        for part in range(run * each, min((run + 1) * each, batches)):
            first = part * batch
            some = min(batch, images - first)
            b = np.int64(dout.ctypes.data) + 4 * first * places * dout.shape[1]
            if copied or summed:
                read(dout, rectified, first * places, (first + some) * places, made, 0, totals, part)
            if copied:
                b = np.int64(made.ctypes.data)
            for group in range(panels):
                total = np.int64(sums.ctypes.data) + (run * panels + group) * terms * STEP
                for span in range(len(spans)):
                    begin, rows, begin_terms = spans[span, 0], spans[span, 1], 8 * spans[span, 2]
                    seen = spans[span, 3] // batch * some
                    for i in range(rows):
                        to_sums[i] = c_rows[begin + i] * STEP
                        if seen == 0:
                            sums[run, group, c_rows[begin + i]] = 0
                    scattered_product(
                        rows, min(LANES, dout.shape[1] - group * LANES), seen, PLACES, x + first * x_step, a_rows + 8 * begin,
                        a_terms + begin_terms, b + group * STEP, b_terms + begin_terms, total, np.int64(to_sums.ctypes.data),
                        part - run * each,
                    )  # fmt: skip
        done(board, 0)
        run = take(board, 0)
    wait(board, 0, runs)
    numbers = offsets(terms, 1)
    piece = take(board, 1)
    while piece < panels * ((terms + TERMS - 1) // TERMS):
        group, first = piece % panels, piece // panels * TERMS
        last = min(first + TERMS, terms)
        total = sums[0, group]
        for run in range(1, runs):
            partial = sums[run, group]
            for i in range(first, last):
                for lane in range(LANES):
                    total[i, lane] += partial[i, lane]
        unpack_filters(total[first:], numbers, first, last - first, gradient, group * LANES)
        piece = take(board, 1)
    leave(board, leads)


@compiled(inline=True)
def unpack_filters(total: Any, terms: Any, begin: int, rows: int, filters: Any, first: int) -> None:
    """``total`` (rows, LANES) into ``filters`` (O, K), from the filter ``first`` on; row i as the term ``terms[begin + i]``."""
    outs, side, step = min(LANES, len(filters) - first), vector_lanes(), 4 * filters.shape[1]
    for i in range(0, rows, side):
        last, term = min(i + side, rows) - 1, terms[begin + i]
        beside = last - i == side - 1 and terms[begin + last] - term == side - 1
        for o in range(0, outs, side):
            if beside and o + side <= outs:
                source = total.ctypes.data + i * STEP + 4 * o
                transpose(source, STEP, filters.ctypes.data + (first + o) * step + 4 * term, step)
            else:
                for row in range(i, last + 1):
                    for lane in range(o, min(o + side, outs)):
                        filters[first + lane, terms[begin + row]] = total[row, lane]
