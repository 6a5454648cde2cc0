"""The heart of most products of matrices: a block of outputs that stays in the processor's vector registers.

    C[r, 0:width] (+)= sum over k of  A[r, k] * B[k, 0:width]

for 6 rows (or fewer, at the end) and ``width()`` columns: 64 with AVX-512, else 16. Where the terms lie is told by tables of
offsets, so one kernel serves plain and transposed matrices, and convolutions, whose A or B is an image that no one has to
rearrange. The scheme is that of K. Goto and R. van de Geijn, "Anatomy of high-performance matrix multiplication", 2008.

What C holds is added to a finished sum, so that a long sum taken in blocks of terms rounds like one of blocks; were it added
up term by term, its error would be several times as large.

Written in the code generator's own language, since no plain loop keeps 24 vectors in registers. All is float32. Addresses
are integers, in bytes, and nothing checks them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiler import Intrinsic, compiled
from .vectors import Vectors, lanes


def _columns(context: Any) -> int:
    """Vectors in a row: as many as leave registers for one row of B, of the 32 that AVX-512 has, or 16."""
    return 4 if lanes(context) == 16 else 2


def _width(typing: Any) -> Any:
    from numba import types

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return context.get_constant(types.int64, lanes(context) * _columns(context))

    return types.int64(), generate


def _block(rows: int, by_table: bool = False, one: bool = False, ahead: bool = False, beside: bool = False) -> Any:
    """The intrinsic for ``rows`` rows: (terms, a, row_step, a_offsets, b, b_offsets, c, c_step, accumulate).

    ``by_table``: row_step and c_step are addresses of tables, of the offset of each row of A and of C. ``one``: a row of C is
    one vector. ``beside``: C is written beside the caches. ``ahead``: two further arguments, the distances, in bytes, from each
    row of B of what will be needed later and begins to be loaded.
    """

    def define(typing: Any, terms: Any, a: Any, row_step: Any, a_offsets: Any, b: Any, b_offsets: Any, c: Any,
               c_step: Any, accumulate: Any) -> Any:  # fmt: skip
        from numba import types

        return types.void(*[types.int64] * 9), generate

    def define_ahead(typing: Any, terms: Any, a: Any, row_step: Any, a_offsets: Any, b: Any, b_offsets: Any, c: Any,
                     c_step: Any, accumulate: Any, distance: Any, other_distance: Any) -> Any:  # fmt: skip
        from numba import types

        return types.void(*[types.int64] * 11), generate

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        terms, a, row_step, a_offsets, b, b_offsets, c, c_step, accumulate, *distances = arguments
        vectors, columns = Vectors(context, builder), range(1 if one else _columns(context))
        cells = [(row, column) for row in range(rows) for column in columns]

        def place(row: int, column: int) -> Any:
            start = builder.add(c, targets[row]) if by_table else vectors.place(c, c_step, row)
            return vectors.beyond(start, vectors.bytes * column)

        def entry(table: Any, index: Any) -> Any:
            return vectors.load_integer(builder.add(table, builder.mul(index, vectors.number(8))))

        starts = [
            entry(row_step, vectors.number(row)) if by_table else builder.mul(row_step, vectors.number(row))
            for row in range(rows)
        ]
        targets = [entry(c_step, vectors.number(row)) for row in range(rows)] if by_table else []
        before = builder.block
        loop, end = (builder.append_basic_block(name) for name in ("loop", "end"))
        builder.branch(loop)

        builder.position_at_end(loop)
        k = builder.phi(vectors.integer)
        k.add_incoming(vectors.number(0), before)
        sums = {cell: builder.phi(vectors.kind) for cell in cells}
        for cell in cells:
            sums[cell].add_incoming(vectors.zero, before)
        from_a, from_b = builder.add(a, entry(a_offsets, k)), builder.add(b, entry(b_offsets, k))
        row_of_b = [vectors.load(vectors.beyond(from_b, vectors.bytes * column)) for column in columns]
        factors = [vectors.load_everywhere(builder.add(from_a, start)) for start in starts]
        for distance in distances:
            vectors.prefetch(builder.add(from_b, distance))
        new = {
            (row, column): vectors.multiply_add(factors[row], row_of_b[column], sums[row, column])
            for row, column in cells
        }
        after = builder.add(k, vectors.number(1))
        k.add_incoming(after, loop)
        for cell in cells:
            sums[cell].add_incoming(new[cell], loop)
        builder.cbranch(builder.icmp_signed("<", after, terms), loop, end)

        builder.position_at_end(end)
        store = vectors.store_beside_caches if beside else vectors.store
        with builder.if_else(builder.icmp_signed("==", accumulate, vectors.number(0))) as (first, later):
            with first:
                for cell in cells:
                    store(new[cell], place(*cell))
            with later:
                for cell in cells:
                    store(builder.fadd(vectors.load(place(*cell)), new[cell]), place(*cell))
        return context.get_dummy_value()

    return define_ahead if ahead else define


def _fetch(typing: Any, address: Any, count: Any) -> Any:
    """The intrinsic (address, count): ask for ``count`` bytes ahead of their use; they come into the second cache."""
    from numba import types
    from numba.core import cgutils

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address, count = arguments
        vectors = Vectors(context, builder)
        line = vectors.number(64)
        with cgutils.for_range(builder, builder.sdiv(count, line), intp=vectors.integer) as loop:
            vectors.prefetch(builder.add(address, builder.mul(loop.index, line)))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


def _expect(typing: Any, address: Any, step: Any, rows: Any) -> Any:
    """The intrinsic (address, step, rows): ask for rows of width() floats that will be written to."""
    from numba import types
    from numba.core import cgutils

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address, step, rows = arguments
        vectors = Vectors(context, builder)
        with cgutils.for_range(builder, rows, intp=vectors.integer) as loop:
            row = builder.add(address, builder.mul(loop.index, step))
            for offset in range(0, vectors.bytes * _columns(context), 64):
                vectors.prefetch(vectors.beyond(row, offset), to_write=True)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


def _copy(typing: Any, source: Any, source_step: Any, target: Any, target_step: Any, rows: Any) -> Any:
    """The intrinsic (source, source_step, target, target_step, rows): copy rows of width() floats."""
    from numba import types
    from numba.core import cgutils

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, source_step, target, target_step, rows = arguments
        vectors = Vectors(context, builder)
        with cgutils.for_range(builder, rows, intp=vectors.integer) as loop:
            start = builder.add(source, builder.mul(loop.index, source_step))
            end = builder.add(target, builder.mul(loop.index, target_step))
            for offset in range(0, vectors.bytes * _columns(context), vectors.bytes):
                vectors.store(vectors.load(vectors.beyond(start, offset)), vectors.beyond(end, offset))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), generate


width, fetch, expect, copy_rows = (Intrinsic(define, __name__) for define in (_width, _fetch, _expect, _copy))
block_6, block_4, block_3, block_2, block_1 = (Intrinsic(_block(rows), __name__) for rows in (6, 4, 3, 2, 1))
one_6, one_2, one_1 = (Intrinsic(_block(rows, one=True), __name__) for rows in (6, 2, 1))
ahead_6, ahead_4 = (Intrinsic(_block(rows, ahead=True), __name__) for rows in (6, 4))
beside_6 = Intrinsic(_block(6, beside=True), __name__)
scattered_6, scattered_3, scattered_1 = (Intrinsic(_block(rows, by_table=True), __name__) for rows in (6, 3, 1))


@compiled
def offsets(count: int, step: int) -> Any:
    """A table for `panel`: the multiples of ``step``, from 0 on."""
    table = np.empty(count, np.int64)
    for k in range(count):
        table[k] = k * step
    return table


@compiled
def panel(rows: int, terms: int, a: int, row_step: int, a_offsets: int, b: int, b_offsets: int, c: int, c_step: int,
          accumulate: int) -> None:  # fmt: skip
    """C (rows, width()) (+)= A (rows, terms) @ B (terms, width()).

    A's element (r, k) lies at ``a + r row_step + a_offsets[k]``, B's row k at ``b + b_offsets[k]``, C's row r at
    ``c + r c_step``: all in bytes; the tables are addresses of int64. ``accumulate`` 0 overwrites C. At least one term.
    """
    r = 0
    while r + 6 <= rows:
        block_6(terms, a + r * row_step, row_step, a_offsets, b, b_offsets, c + r * c_step, c_step, accumulate)
        r += 6
    rest = rows - r
    if rest == 5:
        block_3(terms, a + r * row_step, row_step, a_offsets, b, b_offsets, c + r * c_step, c_step, accumulate)
        r += 3
        rest = 2
    if rest == 4:
        block_4(terms, a + r * row_step, row_step, a_offsets, b, b_offsets, c + r * c_step, c_step, accumulate)
    elif rest == 3:
        block_3(terms, a + r * row_step, row_step, a_offsets, b, b_offsets, c + r * c_step, c_step, accumulate)
    elif rest == 2:
        block_2(terms, a + r * row_step, row_step, a_offsets, b, b_offsets, c + r * c_step, c_step, accumulate)
    elif rest == 1:
        block_1(terms, a + r * row_step, row_step, a_offsets, b, b_offsets, c + r * c_step, c_step, accumulate)


@compiled
def scattered_product(rows: int, columns: int, terms: int, at_once: int, a: int, a_rows: int, a_offsets: int, b: int,
                      b_offsets: int, c: int, c_rows: int, accumulate: int) -> None:  # fmt: skip
    """C (rows, columns) (+)= A (rows, terms) @ B (terms, columns), so many terms ``at_once``.

    As `panel`, with A's element (r, k) at ``a + a_rows[r] + a_offsets[k]`` and C's row r at ``c + c_rows[r]``; the rows of B
    and C go on to a multiple of ``width()`` columns. Without a term nothing is written.
    """
    for k in range(0, terms, at_once):
        count, from_a, more = min(at_once, terms - k), a_offsets + 8 * k, accumulate + k
        for j in range(0, columns, width()):
            from_b, to_c, r = b + 4 * j, c + 4 * j, 0
            while r + 6 <= rows:
                scattered_6(count, a, a_rows + 8 * r, from_a, from_b, b_offsets + 8 * k, to_c, c_rows + 8 * r, more)
                r += 6
            if r + 3 <= rows:
                scattered_3(count, a, a_rows + 8 * r, from_a, from_b, b_offsets + 8 * k, to_c, c_rows + 8 * r, more)
                r += 3
            while r < rows:
                scattered_1(count, a, a_rows + 8 * r, from_a, from_b, b_offsets + 8 * k, to_c, c_rows + 8 * r, more)
                r += 1


@compiled
def narrow_panel(rows: int, terms: int, a: int, row_step: int, a_offsets: int, b: int, b_offsets: int, c: int, c_step: int,
                 accumulate: int) -> None:  # fmt: skip
    """As `panel`, for the columns of one vector, of which ``width()`` holds a few."""
    r = 0
    while r + 6 <= rows:
        one_6(terms, a + r * row_step, row_step, a_offsets, b, b_offsets, c + r * c_step, c_step, accumulate)
        r += 6
    while r + 2 <= rows:
        one_2(terms, a + r * row_step, row_step, a_offsets, b, b_offsets, c + r * c_step, c_step, accumulate)
        r += 2
    if r < rows:
        one_1(terms, a + r * row_step, row_step, a_offsets, b, b_offsets, c + r * c_step, c_step, accumulate)


@compiled
def panel_ahead(rows: int, terms: int, a: int, row_step: int, a_offsets: int, b: int, b_offsets: int, c: int, c_step: int,
                accumulate: int, later: int) -> None:  # fmt: skip
    """As `panel`; meanwhile the next B is fetched from memory, whose rows lie ``later`` bytes behind those of this one."""
    blocks = (rows + 5) // 6
    # With each block a part of them: a half, two quarters of which may be the same, or a quarter.
    for i in range(blocks):
        r, quarter, other_quarter = 6 * i, min(3, i * 4 // min(4, blocks)), min(3, (i * 4 + 3) // min(4, blocks))
        near, far = later + quarter * width(), later + other_quarter * width()
        from_a, to_c = a + r * row_step, c + r * c_step
        if rows - r >= 6:
            ahead_6(terms, from_a, row_step, a_offsets, b, b_offsets, to_c, c_step, accumulate, near, far)
        elif rows - r == 4:
            ahead_4(terms, from_a, row_step, a_offsets, b, b_offsets, to_c, c_step, accumulate, near, far)
        else:
            panel(rows - r, terms, from_a, row_step, a_offsets, b, b_offsets, to_c, c_step, accumulate)


@compiled
def panel_expecting(rows: int, terms: int, a: int, row_step: int, a_offsets: int, b: int, b_offsets: int, c: int, c_step: int,
                    accumulate: int) -> None:  # fmt: skip
    """As `panel`, for a C that lies in no near cache: what is written to is asked for before its sums are taken."""
    whole = rows // 6 * 6
    for r in range(0, whole, 6):
        expect(c + r * c_step, c_step, 6)
        block_6(terms, a + r * row_step, row_step, a_offsets, b, b_offsets, c + r * c_step, c_step, accumulate)
    panel(
        rows - whole,
        terms,
        a + whole * row_step,
        row_step,
        a_offsets,
        b,
        b_offsets,
        c + whole * c_step,
        c_step,
        accumulate,
    )


@compiled
def panel_beside(rows: int, terms: int, a: int, row_step: int, a_offsets: int, b: int, b_offsets: int, c: int,
                 c_step: int) -> None:  # fmt: skip
    """As `panel`, for a C that no cache holds: it is written to memory, not read. ``c`` and ``c_step`` are multiples of 64.

    As with any store, another thread sees it after both have taken the same lock.
    """
    whole = rows // 6 * 6
    for r in range(0, whole, 6):
        beside_6(terms, a + r * row_step, row_step, a_offsets, b, b_offsets, c + r * c_step, c_step, 0)
    panel(rows - whole, terms, a + whole * row_step, row_step, a_offsets, b, b_offsets, c + whole * c_step, c_step, 0)
