"""Matrices of a linear layer in panels of `LANES` columns, each of which lies in one piece of memory.

Rows that lie far apart share few places of the caches, and each begins another page. A panel is made once and read for many
rows of the other factor. Panels stand one below the other: memory (panels * rows, LANES), zeros behind the last columns.
"""

from __future__ import annotations

from typing import Any

from .compiler import compiled
from .microkernel import copy_rows, narrow_panel, panel, width
from .squares import LANES, STEP, transpose
from .vectors import vector_lanes


@compiled
def transpose_into(
    source: Any, row: int, column: int, rows: int, columns: int, target: Any, to_row: int, to_column: int
) -> None:
    """target[to_row + j, to_column + i] = source[row + i, column + j] for i < rows, j < columns."""
    step, to_step, lanes = 4 * source.shape[1], 4 * target.shape[1], vector_lanes()
    start = source.ctypes.data + row * step + 4 * column
    end = target.ctypes.data + to_row * to_step + 4 * to_column
    for i in range(0, rows, lanes):
        for j in range(0, columns, lanes):
            if i + lanes <= rows and j + lanes <= columns:
                transpose(start + i * step + 4 * j, step, end + j * to_step + 4 * i, to_step)
            else:
                for q in range(j, min(columns, j + lanes)):
                    for p in range(i, min(rows, i + lanes)):
                        target[to_row + q, to_column + p] = source[row + p, column + q]


@compiled
def turn(x: Any, first: int, last: int, panels: Any) -> None:
    """The columns first:last of x (N, in) as rows of panels of its transpose (in, N)."""
    terms = x.shape[1]
    for n in range(0, len(x), LANES):
        columns, begin = min(LANES, len(x) - n), n // LANES * terms
        transpose_into(x, n, first, columns, last - first, panels, begin + first, 0)
        for k in range(begin + first, begin + last):
            for i in range(columns, LANES):
                panels[k, i] = 0


@compiled
def gather(matrix: Any, row: int, rows: int, column: int, panels: Any, begin: int) -> None:
    """panels[begin:begin+rows] = matrix[row:row+rows, column:column+LANES]."""
    columns = min(LANES, matrix.shape[1] - column)
    source = matrix.ctypes.data + 4 * (row * matrix.shape[1] + column)
    target = panels.ctypes.data + begin * STEP
    whole = columns // width() * width()
    for j in range(0, whole, width()):
        copy_rows(source + 4 * j, 4 * matrix.shape[1], target + 4 * j, STEP, rows)
    for k in range(rows):
        for j in range(whole, columns):
            panels[begin + k, j] = matrix[row + k, column + j]
        for j in range(columns, LANES):
            panels[begin + k, j] = 0


@compiled
def multiply(
    rows: int, terms: int, columns: int, a: int, row_step: int, a_offsets: Any, panels: Any, begin: int, b_offsets: Any,
    sums: Any, first: int, accumulate: int,
) -> None:  # fmt: skip
    """sums[first:first+rows] (+)= A (rows, terms) @ panels[begin:begin+terms]: the first ``columns``, and perhaps more.

    A is as `panel` takes it; the tables are arrays. Steps between rows of ``panels`` and ``sums`` are `STEP`.
    """
    to_a, to_b = a_offsets.ctypes.data, b_offsets.ctypes.data
    b, c = panels.ctypes.data + begin * STEP, sums.ctypes.data + first * STEP
    j = 0
    while columns - j > width() - vector_lanes():
        panel(rows, terms, a, row_step, to_a, b + 4 * j, to_b, c + 4 * j, STEP, accumulate)
        j += width()
    while j < columns:
        narrow_panel(rows, terms, a, row_step, to_a, b + 4 * j, to_b, c + 4 * j, STEP, accumulate)
        j += vector_lanes()
