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

import numpy as np

from .compiler import Intrinsic, compiled

ROWS = 6


def _vectors(context: Any) -> tuple[int, int]:
    """Lanes of a vector and vectors of a row, by the processor that code is made for."""
    _, _, features = context.codegen().magic_tuple()
    return (16, 4) if "+avx512f" in features.split(",") else (8, 2)


def _width(typing: Any) -> Any:
    from numba import types

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lanes, count = _vectors(context)
        return context.get_constant(types.int64, lanes * count)

    return types.int64(), generate


def _block(rows: int) -> Any:
    """The intrinsic for ``rows`` rows: (terms, a, row_step, a_offsets, b, b_offsets, c, c_step, accumulate)."""

    def define(typing: Any, terms: Any, a: Any, row_step: Any, a_offsets: Any, b: Any, b_offsets: Any, c: Any,
               c_step: Any, accumulate: Any) -> Any:  # fmt: skip
        from llvmlite import ir
        from numba import types

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            terms, a, row_step, a_offsets, b, b_offsets, c, c_step, accumulate = arguments
            lanes, count = _vectors(context)
            integer, real = ir.IntType(64), ir.FloatType()
            vector = ir.VectorType(real, lanes)
            name = f"llvm.fma.v{lanes}f32"
            fma = builder.module.globals.get(name) or ir.Function(
                builder.module, ir.FunctionType(vector, [vector] * 3), name
            )
            undefined, zero = ir.Constant(vector, ir.Undefined), ir.Constant(vector, [0.0] * lanes)
            spread = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)

            def number(value: int) -> Any:
                return ir.Constant(integer, value)

            def at(address: Any, kind: Any) -> Any:
                return builder.inttoptr(address, kind.as_pointer())

            def place(row: int, column: int) -> Any:
                return at(builder.add(builder.add(c, builder.mul(c_step, number(row))), number(4 * lanes * column)), vector)

            def entry(table: Any, index: Any) -> Any:
                return builder.load(at(builder.add(table, builder.mul(index, number(8))), integer))

            cells = [(row, column) for row in range(rows) for column in range(count)]
            steps = [builder.mul(row_step, number(row)) for row in range(rows)]
            before = builder.block
            old, loop, end = (builder.append_basic_block(name) for name in ("old", "loop", "end"))
            builder.cbranch(builder.icmp_signed("==", accumulate, number(0)), loop, old)
            builder.position_at_end(old)
            found = {cell: builder.load(place(*cell), align=4) for cell in cells}
            builder.branch(loop)

            builder.position_at_end(loop)
            k = builder.phi(integer)
            k.add_incoming(number(0), before)
            k.add_incoming(number(0), old)
            sums = {cell: builder.phi(vector) for cell in cells}
            for cell in cells:
                sums[cell].add_incoming(zero, before)
                sums[cell].add_incoming(found[cell], old)
            from_a, from_b = builder.add(a, entry(a_offsets, k)), builder.add(b, entry(b_offsets, k))
            columns = [builder.load(at(builder.add(from_b, number(4 * lanes * j)), vector), align=4) for j in range(count)]
            new = {}
            for row in range(rows):
                factor = builder.load(at(builder.add(from_a, steps[row]), real))
                everywhere = builder.shuffle_vector(
                    builder.insert_element(undefined, factor, ir.Constant(ir.IntType(32), 0)), undefined, spread
                )
                for j in range(count):
                    new[row, j] = builder.call(fma, [everywhere, columns[j], sums[row, j]])
            after = builder.add(k, number(1))
            k.add_incoming(after, loop)
            for cell in cells:
                sums[cell].add_incoming(new[cell], loop)
            builder.cbranch(builder.icmp_signed("<", after, terms), loop, end)

            builder.position_at_end(end)
            for cell in cells:
                builder.store(new[cell], place(*cell), align=4)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 9), generate

    return define


width = Intrinsic(_width)
block_6, block_4, block_3, block_2, block_1 = (Intrinsic(_block(rows)) for rows in (6, 4, 3, 2, 1))


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
