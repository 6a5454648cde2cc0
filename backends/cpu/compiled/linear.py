"""The products of a linear layer and of its gradients. All threads share a kernel (see sharing.py).

All is float32 and contiguous: x (N, in), weight (out, in), dout (N, out).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiler import compiled
from .linear_panels import gather, multiply, transpose_into, turn
from .microkernel import offsets, panel_ahead, panel_beside, panel_expecting, width
from .sharing import done, leave, share, take, wait
from .squares import LANES, STEP

TERMS = 1024  # of x and weight that are multiplied together: a panel of them is read from the second cache
GROUP = 48  # outputs that are worked on together: as many as can be cut by 6, and by the lanes of a vector
TALL, SHORT = 256, 64  # terms of the gradients
MANY = 48  # rows for which a panel is read often enough to come from the second cache
STRIP = 256  # columns of dout
BLOCK = 64  # rows whose gradients are added up before they join the total


@compiled
def forward(x: Any, weight: Any, bias: Any, bounds: Any, panels: Any, out: Any, rectify: int, board: Any) -> None:
    """out (N, out) = x @ weight' + bias; with ``rectify`` what is negative becomes 0.

    It is computed as out' = weight @ x': x is small beside the weights, which are then read once and as they lie. A piece is
    the outputs between two of ``bounds``; ``panels`` is memory for x' in panels.
    """
    leads = share(board)
    strips = (x.shape[1] + LANES - 1) // LANES
    piece = take(board, 0)
    while piece < strips:
        turn(x, piece * LANES, min(x.shape[1], (piece + 1) * LANES), panels)
        done(board, 0)
        piece = take(board, 0)
    wait(board, 0, strips)
    sums = np.empty(((len(x) + LANES - 1) // LANES * GROUP, LANES), np.float32)
    a_offsets, b_offsets = offsets(TERMS, 4), offsets(TERMS, STEP)
    piece = take(board, 1)
    while piece < len(bounds) - 1:
        for o in range(bounds[piece], bounds[piece + 1], GROUP):
            rows = min(GROUP, bounds[piece + 1] - o)
            _multiply_group(panels, weight, o, rows, len(x), a_offsets, b_offsets, sums)
            _finish_group(sums, bias, o, rows, out, rectify)
        piece = take(board, 1)
    leave(board, leads)


@compiled
def _multiply_group(
    panels: Any, weight: Any, o: int, rows: int, batch: int, a_offsets: Any, b_offsets: Any, sums: Any
) -> None:
    """sums = weight[o:o+rows] @ x', a panel of it in `GROUP` rows."""
    terms = weight.shape[1]
    for k in range(0, terms, TERMS):
        count, a = min(TERMS, terms - k), weight.ctypes.data + 4 * (o * terms + k)
        for n in range(0, batch, LANES):
            part = n // LANES
            multiply(
                rows, count, min(LANES, batch - n), a, 4 * terms, a_offsets, panels, part * terms + k, b_offsets, sums,
                part * GROUP, k,
            )  # fmt: skip


@compiled
def _finish_group(sums: Any, bias: Any, o: int, rows: int, out: Any, rectify: int) -> None:
    """out[:, o:o+rows] = sums' + bias, rectified."""
    zero = np.float32(0)
    for n in range(0, len(out), LANES):
        begin = n // LANES * GROUP
        for r in range(rows):
            added, row = bias[o + r], sums[begin + r]
            for i in range(LANES):
                value = row[i] + added
                row[i] = zero if rectify and value <= 0 else value
        transpose_into(sums, begin, 0, rows, min(LANES, len(out) - n), out, n, o)


@compiled
def backward(
    x: Any, weight: Any, out: Any, dout: Any, masked: Any, by_output: Any, panels: Any, grad_x: Any, grad_weight: Any,
    grad_bias: Any, columns: Any, rows: Any, rectified: int, follows: int, beside: int, board: Any,
) -> None:  # fmt: skip
    """The gradients of x, weight and bias, each as far as there is memory for it.

    With ``rectified``, dout passes where ``out`` (N, out) is positive, and is written to ``masked``, which is dout itself
    otherwise. ``by_output`` (out, N) is memory for the transpose of that, ``panels`` for x in panels: with none, it is taken as
    it lies. With ``follows`` the gradients of weight and bias are added to what is there. A piece is what lies between two of
    ``columns`` of grad_x, or between two of ``rows`` of grad_weight. ``beside``: grad_weight is large, N at most `TALL`.
    """
    leads = share(board)
    strips = (dout.shape[1] + STRIP - 1) // STRIP
    copied = len(panels) // len(x)
    piece = take(board, 0)
    while piece < strips + copied:
        if piece < strips:
            first, last = piece * STRIP, min(dout.shape[1], (piece + 1) * STRIP)
            if rectified or len(grad_bias) > 0:
                _mask(dout, out, masked, grad_bias, first, last, rectified, follows)
            if len(by_output) > 0:
                transpose_into(masked, 0, first, len(masked), last - first, by_output, first, 0)
        else:
            gather(x, 0, len(x), (piece - strips) * LANES, panels, (piece - strips) * len(x))
        done(board, 0)
        piece = take(board, 0)
    wait(board, 0, strips + copied)
    first_of_weight, count = len(columns) - 1, len(columns) + len(rows) - 2
    piece = take(board, 1)
    while piece < count:
        if piece < first_of_weight:
            _input_gradient(masked, weight, grad_x, columns[piece], columns[piece + 1])
        else:
            first, last = rows[piece - first_of_weight], rows[piece - first_of_weight + 1]
            _weight_gradient(by_output, x, panels, grad_weight, first, last, follows, beside)
        piece = take(board, 1)
    leave(board, leads)


@compiled
def _mask(
    dout: Any, out: Any, masked: Any, grad_bias: Any, first: int, last: int, rectified: int, follows: int
) -> None:
    """``masked`` and, if there is memory for it, grad_bias (out), the sum of its rows; for the columns first:last."""
    zero, count, summed = np.float32(0), last - first, len(grad_bias) > 0
    total = np.empty(count, np.float32)
    for block in range(0, len(dout), BLOCK):
        for o in range(count):
            total[o] = zero
        for n in range(block, min(block + BLOCK, len(dout))):
            row, target = dout[n, first:last], masked[n, first:last]
            if rectified:
                kept = out[n, first:last]
                for o in range(count):
                    target[o] = zero if kept[o] <= 0 else row[o]
            for o in range(count):
                total[o] += target[o]
        if summed:
            for o in range(count):
                grad_bias[first + o] = total[o] + (grad_bias[first + o] if follows or block > 0 else zero)


@compiled
def _input_gradient(dout: Any, weight: Any, grad_x: Any, first: int, last: int) -> None:
    """grad_x[:, first:last] = dout @ weight[:, first:last]; ``first`` is a multiple of `LANES`, and ``last`` or the last one."""
    batch, outs = dout.shape
    ins, most = weight.shape[1], TALL if batch >= MANY else SHORT
    a_offsets, b_offsets = offsets(most, 4), offsets(most, 4 * ins)
    whole = first + (last - first) // LANES * LANES
    for k in range(0, outs, most):
        terms, a = min(most, outs - k), dout.ctypes.data + 4 * k
        for j in range(first, whole, width()):
            # After the last columns come the first ones of further terms.
            later = 4 * (width() if j + width() < whole else most * ins + first - j)
            panel_ahead(
                batch, terms, a, 4 * outs, a_offsets.ctypes.data, weight.ctypes.data + 4 * (k * ins + j),
                b_offsets.ctypes.data, grad_x.ctypes.data + 4 * j, 4 * ins, k, later,
            )  # fmt: skip
        if whole < last:
            own = np.empty((terms, LANES), np.float32)
            gather(weight, k, terms, whole, own, 0)
            _last_columns(batch, terms, a, 4 * outs, a_offsets, own, 0, offsets(terms, STEP), grad_x, 0, whole, k)


@compiled
def _weight_gradient(
    by_output: Any, x: Any, panels: Any, grad_weight: Any, first: int, last: int, follows: int, beside: int
) -> None:
    """grad_weight[first:last] (+)= by_output[first:last] @ x."""
    batch, ins = x.shape
    step = 4 * ins if len(panels) == 0 else STEP  # from one row of x to the next
    a_offsets, b_offsets = offsets(TALL, 4), offsets(TALL, step)
    whole = ins // LANES * LANES
    for o in range(first, last, 4 * GROUP):
        rows = min(4 * GROUP, last - o)
        for k in range(0, batch, TALL):
            terms, accumulate = min(TALL, batch - k), follows + k
            a, c = by_output.ctypes.data + 4 * (o * batch + k), grad_weight.ctypes.data + 4 * o * ins
            for j in range(0, whole, width()):
                if len(panels) == 0:
                    b = x.ctypes.data + 4 * (k * ins + j)
                else:
                    b = panels.ctypes.data + (j // LANES * batch + k) * STEP + 4 * (j % LANES)
                if beside and not accumulate:
                    panel_beside(
                        rows, terms, a, 4 * batch, a_offsets.ctypes.data, b, b_offsets.ctypes.data, c + 4 * j, 4 * ins
                    )
                else:
                    panel_expecting(
                        rows, terms, a, 4 * batch, a_offsets.ctypes.data, b, b_offsets.ctypes.data, c + 4 * j, 4 * ins,
                        accumulate,
                    )  # fmt: skip
            if whole < ins and len(panels) > 0:
                _last_columns(
                    rows,
                    terms,
                    a,
                    4 * batch,
                    a_offsets,
                    panels,
                    whole // LANES * batch + k,
                    b_offsets,
                    grad_weight,
                    o,
                    whole,
                    accumulate,
                )
            elif whole < ins:
                own = np.empty((terms, LANES), np.float32)
                gather(x, k, terms, whole, own, 0)
                _last_columns(
                    rows,
                    terms,
                    a,
                    4 * batch,
                    a_offsets,
                    own,
                    0,
                    offsets(terms, STEP),
                    grad_weight,
                    o,
                    whole,
                    accumulate,
                )


@compiled
def _last_columns(
    rows: int, terms: int, a: int, row_step: int, a_offsets: Any, panels: Any, begin: int, b_offsets: Any, c: Any, r: int,
    j: int, accumulate: int,
) -> None:  # fmt: skip
    """c[r:r+rows, j:] (+)= A @ panels[begin:begin+terms], where c has fewer columns than a panel."""
    columns = c.shape[1] - j
    sums = np.empty((rows, LANES), np.float32)
    multiply(rows, terms, columns, a, row_step, a_offsets, panels, begin, b_offsets, sums, 0, 0)
    for row in range(rows):
        target, found = c[r + row, j:], sums[row]
        if accumulate:
            for i in range(columns):
                target[i] += found[i]
        else:
            for i in range(columns):
                target[i] = found[i]
