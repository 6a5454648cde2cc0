"""Scalar products of rows with rows, for products of matrices whose terms lie side by side in both.

    C[r, q] (+)= sum over k of  X[r, k] * W[q, k],      q = 0 to 3

Here the lanes of a vector are neighbouring terms, where in `microkernel` they are neighbouring columns: neither matrix has to be
rearranged, and each is read in long runs. The sums of the lanes are added up at the end, always in one order.
"""

from __future__ import annotations

from typing import Any

from .compiler import Intrinsic, compiled
from .vectors import Vectors, vector_lanes

QUAD = 4  # rows of W that are taken together


def _rows(count: int) -> Any:
    """The intrinsic for ``count`` rows of X: (terms, x, x_step, w, w_1, w_2, w_3, c, c_step, accumulate, near, far)."""

    def define(typing: Any, terms: Any, x: Any, x_step: Any, w: Any, w_1: Any, w_2: Any, w_3: Any, c: Any,
               c_step: Any, accumulate: Any, near: Any, far: Any) -> Any:  # fmt: skip
        from numba import types

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            terms, x, x_step, *starts, c, c_step, accumulate, near, far = arguments
            vectors = Vectors(context, builder)
            cells = [(row, q) for row in range(count) for q in range(QUAD)]

            before = builder.block
            loop, end = builder.append_basic_block("loop"), builder.append_basic_block("end")
            builder.branch(loop)
            builder.position_at_end(loop)
            k = builder.phi(vectors.integer)
            k.add_incoming(vectors.number(0), before)
            sums = {cell: builder.phi(vectors.kind) for cell in cells}
            for cell in cells:
                sums[cell].add_incoming(vectors.zero, before)
            offset = builder.mul(k, vectors.number(4))
            from_x = builder.add(x, offset)
            of_x = [vectors.load(vectors.place(from_x, x_step, row)) for row in range(count)]
            new = {}
            for later in (near, far):
                vectors.prefetch(builder.add(later, offset))
            for q in range(QUAD):
                of_w = vectors.load(builder.add(starts[q], offset))
                for row in range(count):
                    new[row, q] = vectors.multiply_add(of_x[row], of_w, sums[row, q])
            after = builder.add(k, vectors.number(vectors.lanes))
            k.add_incoming(after, loop)
            for cell in cells:
                sums[cell].add_incoming(new[cell], loop)
            builder.cbranch(builder.icmp_signed("<", after, terms), loop, end)

            builder.position_at_end(end)
            found = [_sums(vectors, [new[row, q] for q in range(QUAD)]) for row in range(count)]
            places = [
                builder.inttoptr(vectors.place(c, c_step, row), found[row].type.as_pointer()) for row in range(count)
            ]
            with builder.if_else(builder.icmp_signed("==", accumulate, vectors.number(0))) as (first, later):
                with first:
                    for value, place in zip(found, places, strict=True):
                        builder.store(value, place, align=4)
                with later:
                    for value, place in zip(found, places, strict=True):
                        builder.store(builder.fadd(builder.load(place, align=4), value), place, align=4)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 12), generate

    return define


def _sums(vectors: Vectors, four: list[Any]) -> Any:
    """Four vectors' sums, as one vector of four."""
    from llvmlite import ir

    builder = vectors.builder

    def chosen(a: Any, b: Any, lanes: list[int]) -> Any:
        return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes))

    length = vectors.lanes
    while length > QUAD:
        half = length // 2
        low, high = list(range(half)), list(range(half, length))
        four = [builder.fadd(chosen(v, v, low), chosen(v, v, high)) for v in four]
        length = half
    a, b, c, d = four
    pairs = [builder.fadd(chosen(p, q, [0, 4, 1, 5]), chosen(p, q, [2, 6, 3, 7])) for p, q in ((a, b), (c, d))]
    return builder.fadd(chosen(pairs[0], pairs[1], [0, 1, 4, 5]), chosen(pairs[0], pairs[1], [2, 3, 6, 7]))


rows_6, rows_4, rows_2, rows_1 = (Intrinsic(_rows(count), __name__) for count in (6, 4, 2, 1))


@compiled
def dots(rows: int, terms: int, x: int, x_step: int, w: int, w_1: int, w_2: int, w_3: int, c: int, c_step: int,
         accumulate: int, near: int, far: int) -> None:  # fmt: skip
    """C (rows, 4) (+)= X (rows, terms) times the four rows of W that begin at w, w_1, w_2 and w_3, transposed.

    Row r of X lies at ``x + r x_step``, of C at ``c + r c_step``: all in bytes. ``terms`` is a multiple of ``vector_lanes()``,
    and at least that. ``accumulate`` 0 overwrites C. ``near`` and ``far`` are where two rows lie that are needed later.
    """
    r = 0
    if vector_lanes() == 16:  # which has the registers for it
        while r + 6 <= rows:
            rows_6(terms, x + r * x_step, x_step, w, w_1, w_2, w_3, c + r * c_step, c_step, accumulate, near, far)
            r += 6
        if r + 4 <= rows:
            rows_4(terms, x + r * x_step, x_step, w, w_1, w_2, w_3, c + r * c_step, c_step, accumulate, near, far)
            r += 4
    while r + 2 <= rows:
        rows_2(terms, x + r * x_step, x_step, w, w_1, w_2, w_3, c + r * c_step, c_step, accumulate, near, far)
        r += 2
    if r < rows:
        rows_1(terms, x + r * x_step, x_step, w, w_1, w_2, w_3, c + r * c_step, c_step, accumulate, near, far)
