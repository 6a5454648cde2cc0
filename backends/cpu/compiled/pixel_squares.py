"""Intrinsics on squares of pixels, which lie anywhere, times a small constant matrix from both sides, M X M'.

A table holds an address for each pixel of a square, row by row; ``offset``, in bytes, is added to all of them: that of the
first of `LANES` channels. The other side of each map are the places of a tile at equal steps, as of `squares.square`.
"""

from __future__ import annotations

from typing import Any

from .squares import Matrix, each_vector, load_at_steps, store_at_steps, transform
from .vectors import Vectors


def gathered(matrix: Matrix) -> Any:
    """The intrinsic (table, offset, target, down, across): M X M' of the pixels."""

    def define(typing: Any, table: Any, offset: Any, target: Any, down: Any, across: Any) -> Any:
        from numba import types

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            table, offset, target, down, across = arguments
            vectors = Vectors(context, builder)
            with each_vector(vectors) as lane:
                pixels = _pixels(vectors, table, builder.add(offset, lane), len(matrix[0]))
                store = store_at_steps(vectors, builder.add(target, lane), down, across)
                transform(vectors, matrix, lambda row, column: vectors.load(pixels(row, column)), store)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 5), generate

    return define


def let_through(matrix: Matrix) -> Any:
    """The intrinsic (table, others, offset, totals, target, down, across): `gathered`, for gradients that pass a ReLU.

    ``others`` is a table of the outputs: where one is not positive, its pixel counts as 0. The pixels, column by column, are
    added to ``totals``, of `LANES` floats.
    """

    def define(typing: Any, table: Any, others: Any, offset: Any, totals: Any, target: Any, down: Any,
               across: Any) -> Any:  # fmt: skip
        from numba import types

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            table, others, offset, totals, target, down, across = arguments
            vectors = Vectors(context, builder)
            with each_vector(vectors) as lane:
                start = builder.add(offset, lane)
                pixels, outs = (_pixels(vectors, some, start, len(matrix[0])) for some in (table, others))
                place = builder.add(totals, lane)
                total = vectors.load(place)

                def load(row: int, column: int) -> Any:
                    nonlocal total
                    shut = builder.fcmp_ordered("<=", vectors.load(outs(row, column)), vectors.zero)
                    value = builder.select(shut, vectors.zero, vectors.load(pixels(row, column)))
                    total = builder.fadd(total, value)
                    return value

                transform(vectors, matrix, load, store_at_steps(vectors, builder.add(target, lane), down, across))
                vectors.store(total, place)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 7), generate

    return define


def finished(matrix: Matrix) -> Any:
    """The intrinsic (source, down, across, table, offset, bias, floor): M X M' + bias, written to the pixels.

    ``bias`` has `LANES` floats. ``floor`` is the address of one: what is not above it becomes it, but NaN.
    """

    def define(typing: Any, source: Any, down: Any, across: Any, table: Any, offset: Any, bias: Any,
               floor: Any) -> Any:  # fmt: skip
        from numba import types

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            source, down, across, table, offset, bias, floor = arguments
            vectors = Vectors(context, builder)
            least = vectors.load_everywhere(floor)
            with each_vector(vectors) as lane:
                pixels = _pixels(vectors, table, builder.add(offset, lane), len(matrix))
                added = vectors.load(builder.add(bias, lane))

                def store(value: Any, row: int, column: int) -> None:
                    value = builder.fadd(value, added)
                    value = builder.select(builder.fcmp_ordered("<=", value, least), least, value)
                    vectors.store(value, pixels(row, column))

                transform(vectors, matrix, load_at_steps(vectors, builder.add(source, lane), down, across), store)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 7), generate

    return define


def added(matrix: Matrix) -> Any:
    """The intrinsic (source, down, across, before, table, offset): M X M' plus the pixels ``before``, a table too."""

    def define(typing: Any, source: Any, down: Any, across: Any, before: Any, table: Any, offset: Any) -> Any:
        from numba import types

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            source, down, across, before, table, offset = arguments
            vectors = Vectors(context, builder)
            with each_vector(vectors) as lane:
                start = builder.add(offset, lane)
                old, pixels = (_pixels(vectors, some, start, len(matrix)) for some in (before, table))

                def store(value: Any, row: int, column: int) -> None:
                    vectors.store(builder.fadd(vectors.load(old(row, column)), value), pixels(row, column))

                transform(vectors, matrix, load_at_steps(vectors, builder.add(source, lane), down, across), store)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 6), generate

    return define


def _pixels(vectors: Vectors, table: Any, offset: Any, extent: int) -> Any:
    """The address of the pixel in a row and a column of a square."""

    def address(row: int, column: int) -> Any:
        entry = vectors.beyond(table, 8 * (row * extent + column))
        return vectors.builder.add(vectors.load_integer(entry), offset)

    return address
