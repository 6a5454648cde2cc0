"""The heart of all products of matrices: a block of outputs that stays in the processor's vector registers.

    C[r, 0:width] (+)= sum over k of  A[r, k] * B[k, 0:width]

for 6 rows (or fewer, at the end) and ``width()`` columns: 64 with AVX-512, else 16. Where the terms lie is told by tables of
offsets, so one kernel serves plain and transposed matrices, and convolutions, whose A or B is an image that no one has to
rearrange. The scheme is that of K. Goto and R. van de Geijn, "Anatomy of high-performance matrix multiplication", 2008.

Written in the code generator's own language, since no plain loop keeps 24 vectors in registers. All is float32. Addresses
are integers, in bytes, and nothing checks them.
"""

from __future__ import annotations

from typing import Any

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


def _block(rows: int, by_table: bool = False) -> Any:
    """The intrinsic for ``rows`` rows: (terms, a, row_step, a_offsets, b, b_offsets, c, c_step, accumulate).

    ``by_table``: row_step is the address of a table, of the offset of each row of A.
    """

    def define(typing: Any, terms: Any, a: Any, row_step: Any, a_offsets: Any, b: Any, b_offsets: Any, c: Any,
               c_step: Any, accumulate: Any) -> Any:  # fmt: skip
        from numba import types

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            terms, a, row_step, a_offsets, b, b_offsets, c, c_step, accumulate = arguments
            vectors, columns = Vectors(context, builder), range(_columns(context))
            cells = [(row, column) for row in range(rows) for column in columns]

            def place(row: int, column: int) -> Any:
                return vectors.beyond(vectors.place(c, c_step, row), vectors.bytes * column)

            def entry(table: Any, index: Any) -> Any:
                return vectors.load_integer(builder.add(table, builder.mul(index, vectors.number(8))))

            starts = [
                entry(row_step, vectors.number(row)) if by_table else builder.mul(row_step, vectors.number(row))
                for row in range(rows)
            ]
            before = builder.block
            old, loop, end = (builder.append_basic_block(name) for name in ("old", "loop", "end"))
            builder.cbranch(builder.icmp_signed("==", accumulate, vectors.number(0)), loop, old)
            builder.position_at_end(old)
            found = {cell: vectors.load(place(*cell)) for cell in cells}
            builder.branch(loop)

            builder.position_at_end(loop)
            k = builder.phi(vectors.integer)
            k.add_incoming(vectors.number(0), before)
            k.add_incoming(vectors.number(0), old)
            sums = {cell: builder.phi(vectors.kind) for cell in cells}
            for cell in cells:
                sums[cell].add_incoming(vectors.zero, before)
                sums[cell].add_incoming(found[cell], old)
            from_a, from_b = builder.add(a, entry(a_offsets, k)), builder.add(b, entry(b_offsets, k))
            row_of_b = [vectors.load(vectors.beyond(from_b, vectors.bytes * column)) for column in columns]
            factors = [vectors.load_everywhere(builder.add(from_a, start)) for start in starts]
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
            for cell in cells:
                vectors.store(new[cell], place(*cell))
            return context.get_dummy_value()

        return types.void(*[types.int64] * 9), generate

    return define


width = Intrinsic(_width, __name__)
block_6, block_4, block_3, block_2, block_1 = (Intrinsic(_block(rows), __name__) for rows in (6, 4, 3, 2, 1))
scattered_block = Intrinsic(_block(6, by_table=True), __name__)


@compiled
def panel(rows: int, terms: int, a: int, row_step: int, a_offsets: int, b: int, b_offsets: int, c: int, c_step: int,
          accumulate: int) -> None:  # fmt: skip
    """C (rows, width()) (+)= A (rows, terms) @ B (terms, width()).

    A's element (r, k) lies at ``a + r row_step + a_offsets[k]``, B's row k at ``b + b_offsets[k]``, C's row r at ``c + r c_step``:
    all in bytes; the tables are addresses of int64. ``accumulate`` 0 overwrites C. At least one term.
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
def scattered_panel(rows: int, terms: int, a: int, a_rows: int, a_offsets: int, b: int, b_offsets: int, c: int, c_step: int,
                    accumulate: int) -> None:  # fmt: skip
    """As `panel`, with A's element (r, k) at ``a + a_rows[r] + a_offsets[k]``; ``rows`` is a multiple of 6."""
    for r in range(0, rows, 6):
        scattered_block(terms, a, a_rows + 8 * r, a_offsets, b, b_offsets, c + r * c_step, c_step, accumulate)
