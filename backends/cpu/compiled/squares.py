"""Intrinsics on squares: of vectors, times a small constant matrix from both sides, M X M'; and of floats, transposed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .compiler import Intrinsic
from .vectors import Vectors

LANES = 64  # floats that stand side by side at each place of a square
STEP = 4 * LANES

Matrix = Sequence[Sequence[float]]


def square(matrix: Matrix) -> Any:
    """The intrinsic (source, down, across, target, target_down, target_across, scratch) for M X M', with M of (outs, ins).

    X has ins x ins places, of `LANES` floats each, at equal steps down and across from ``source``; the result's outs x outs
    places are written likewise. All are addresses or numbers of bytes. ``scratch`` has room for ins * outs places.
    """
    outs, ins = len(matrix), len(matrix[0])

    def define(typing: Any, source: Any, down: Any, across: Any, target: Any, target_down: Any, target_across: Any,
               scratch: Any) -> Any:  # fmt: skip
        from numba import types
        from numba.core import cgutils

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            source, down, across, target, target_down, target_across, scratch = arguments
            vectors = Vectors(context, builder)
            row = vectors.number(ins * STEP)
            with cgutils.for_range(builder, vectors.number(ins), intp=vectors.integer) as loop:
                column = builder.mul(loop.index, vectors.number(STEP))
                _line(vectors, matrix, builder.add(source, builder.mul(loop.index, across)), down,
                      builder.add(scratch, column), row)  # fmt: skip
            with cgutils.for_range(builder, vectors.number(outs), intp=vectors.integer) as loop:
                _line(vectors, matrix, builder.add(scratch, builder.mul(loop.index, row)), vectors.number(STEP),
                      builder.add(target, builder.mul(loop.index, target_down)), target_across)  # fmt: skip
            return context.get_dummy_value()

        return types.void(*[types.int64] * 7), generate

    return define


def _line(vectors: Vectors, matrix: Matrix, source: Any, source_step: Any, target: Any, target_step: Any) -> None:
    """Instructions for target[j] = sum over i of matrix[j][i] source[i]; all is read before the first is written."""
    for offset in range(0, STEP, vectors.bytes):
        inputs = [
            vectors.load(vectors.beyond(vectors.place(source, source_step, i), offset)) for i in range(len(matrix[0]))
        ]
        for j, row in enumerate(matrix):
            vectors.store(
                vectors.weighted_sum(row, inputs), vectors.beyond(vectors.place(target, target_step, j), offset)
            )


def transposition(typing: Any, source: Any, source_step: Any, target: Any, target_step: Any) -> Any:
    """The intrinsic (source, source_step, target, target_step): a square of lanes x lanes floats, its rows as columns."""
    from llvmlite import ir
    from numba import types

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, source_step, target, target_step = arguments
        vectors = Vectors(context, builder)
        count = vectors.lanes
        rows = [vectors.load(vectors.place(source, source_step, i)) for i in range(count)]
        apart = 1
        while apart < count:  # exchange the corners of squares of 2 apart x 2 apart
            upper = [lane if not lane & apart else count + (lane ^ apart) for lane in range(count)]
            lower = [lane ^ apart if not lane & apart else count + lane for lane in range(count)]
            for i in range(count):
                if not i & apart:
                    a, b = rows[i], rows[i | apart]
                    rows[i], rows[i | apart] = (
                        builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), count), mask))
                        for mask in (upper, lower)
                    )
            apart *= 2
        for i in range(count):
            vectors.store(rows[i], vectors.place(target, target_step, i))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), generate


transpose = Intrinsic(transposition, __name__)
