"""The micro-kernel of filters' gradients with the batch last: inner products of long runs of memory, several with several.

    sums[r, c, lane] += sum over i of  A[r, i * lanes + lane] * B[c, i * lanes + lane]      for rows r and columns c

for 4 rows (or fewer, at the end) and ``COLUMNS`` columns, whose sums stay in vector registers. All is float32. Addresses are
integers, in bytes, and nothing checks them.
"""

from __future__ import annotations

from typing import Any

from .compiler import Intrinsic, compiled
from .vectors import Vectors, vector_lanes

ROWS, COLUMNS = 4, 5


def _block(rows: int) -> Any:
    """The intrinsic for ``rows`` rows: (length, a, row_step, b, b_offsets, sums)."""

    def define(typing: Any, length: Any, a: Any, row_step: Any, b: Any, b_offsets: Any, sums: Any) -> Any:
        from numba import types

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            length, a, row_step, b, b_offsets, sums = arguments
            vectors = Vectors(context, builder)
            size = builder.mul(length, vectors.number(4))
            tables = [vectors.beyond(b_offsets, 8 * column) for column in range(COLUMNS)]
            columns = [builder.add(b, vectors.load_integer(table)) for table in tables]
            together = 4 if vectors.lanes == 16 else 2  # as many rows as there are registers for: 32 or 16
            for first in range(0, rows, together):
                some = range(first, min(first + together, rows))
                _loop(vectors, some, [vectors.place(a, row_step, row) for row in some], columns, size, sums)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 6), generate

    return define


def _loop(vectors: Vectors, numbers: range, rows: list[Any], columns: list[Any], size: Any, sums: Any) -> None:
    """Add the products of ``rows`` with ``columns`` (addresses of runs of ``size`` bytes) to their places in ``sums``."""
    builder = vectors.builder
    cells = [(r, c) for r in range(len(rows)) for c in range(len(columns))]
    places = {(r, c): vectors.beyond(sums, vectors.bytes * (COLUMNS * numbers[r] + c)) for r, c in cells}
    before = builder.block
    old = {cell: vectors.load(places[cell]) for cell in cells}
    loop, end = builder.append_basic_block("loop"), builder.append_basic_block("end")
    builder.branch(loop)

    builder.position_at_end(loop)
    offset = builder.phi(vectors.integer)
    offset.add_incoming(vectors.number(0), before)
    totals = {cell: builder.phi(vectors.kind) for cell in cells}
    for cell in cells:
        totals[cell].add_incoming(old[cell], before)
    from_a = [vectors.load(builder.add(row, offset)) for row in rows]
    from_b = [vectors.load(builder.add(column, offset)) for column in columns]
    new = {(r, c): vectors.multiply_add(from_a[r], from_b[c], totals[r, c]) for r, c in cells}
    after = builder.add(offset, vectors.number(vectors.bytes))
    offset.add_incoming(after, loop)
    for cell in cells:
        totals[cell].add_incoming(new[cell], loop)
    builder.cbranch(builder.icmp_signed("<", after, size), loop, end)

    builder.position_at_end(end)
    for cell in cells:
        vectors.store(new[cell], places[cell])


block_4, block_3, block_2, block_1 = (Intrinsic(_block(rows), __name__) for rows in (4, 3, 2, 1))


@compiled
def multiply_runs(
    rows: int, columns: int, length: int, a: int, row_step: int, b: int, b_offsets: Any, sums: int
) -> None:
    """Add the products of ``length`` elements, lane by lane, to ``sums``, which holds a block after the other.

    ``length`` is a multiple of ``vector_lanes()``, at least 1. A's row r lies at ``a + r row_step``, B's column c at
    ``b + b_offsets[c]``; ``columns`` is a multiple of COLUMNS.
    """
    r = 0
    while r < rows:
        count = block_rows(rows - r)
        for c in range(0, columns, COLUMNS):
            from_a, offsets = a + r * row_step, b_offsets.ctypes.data + 8 * c
            if count == 4:
                block_4(length, from_a, row_step, b, offsets, sums)
            elif count == 3:
                block_3(length, from_a, row_step, b, offsets, sums)
            elif count == 2:
                block_2(length, from_a, row_step, b, offsets, sums)
            else:
                block_1(length, from_a, row_step, b, offsets, sums)
            sums += 4 * vector_lanes() * COLUMNS * count
        r += count


@compiled
def block_rows(left: int) -> int:
    """How many of the rows that are left the next block takes: blocks are as even as can be."""
    blocks = (left + ROWS - 1) // ROWS
    return (left + blocks - 1) // blocks


@compiled
def add_lanes(sums: Any, rows: int, columns: int, result: Any) -> None:
    """What `multiply_runs` has summed up, added over its lanes: result (rows, columns, less those that fill a block up)."""
    count, r, place = vector_lanes(), 0, 0
    while r < rows:
        block = block_rows(rows - r)
        for c in range(0, columns, COLUMNS):
            for row in range(block):
                for column in range(COLUMNS):
                    if c + column < result.shape[1]:
                        total = sums[place]
                        for lane in range(1, count):
                            total += sums[place + lane]
                        result[r + row, c + column] = total
                    place += count
        r += block
