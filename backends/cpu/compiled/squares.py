"""Intrinsics on squares: of vectors, times a small constant matrix from both sides, M X M'; and of floats, transposed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from .compiler import Intrinsic
from .vectors import Vectors

LANES = 64  # floats that stand side by side at each place of a square
STEP = 4 * LANES

Matrix = Sequence[Sequence[float]]
Load = Callable[[int, int], Any]  # of a row and a column: a vector
Store = Callable[[Any, int, int], None]


def square(matrix: Matrix, beside: bool = False) -> Any:
    """The intrinsic (source, down, across, target, target_down, target_across) for M X M', with M of (outs, ins).

    X has ins x ins places, of `LANES` floats each, at equal steps down and across from ``source``; the result's outs x outs
    places are written likewise. All are addresses or numbers of bytes. ``beside``: the result is written beside the caches, to
    multiples of 64 bytes.
    """

    def define(typing: Any, source: Any, down: Any, across: Any, target: Any, target_down: Any,
               target_across: Any) -> Any:  # fmt: skip
        from numba import types

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            source, down, across, target, target_down, target_across = arguments
            vectors = Vectors(context, builder)
            with each_vector(vectors) as offset:
                load = load_at_steps(vectors, builder.add(source, offset), down, across)
                place = builder.add(target, offset)
                store = store_at_steps(vectors, place, target_down, target_across, beside)
                transform(vectors, matrix, load, store)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 6), generate

    return define


@contextmanager
def each_vector(vectors: Vectors) -> Iterator[Any]:
    """A loop over the vectors that `LANES` floats take: the offset of each, in bytes."""
    from numba.core import cgutils

    with cgutils.for_range(vectors.builder, vectors.number(STEP // vectors.bytes), intp=vectors.integer) as loop:
        yield vectors.builder.mul(loop.index, vectors.number(vectors.bytes))


def transform(vectors: Vectors, matrix: Matrix, load: Load, store: Store) -> None:
    """M X M' for a vector of each place: what is between the two products stays in registers, if there are enough."""
    ins = range(len(matrix[0]))
    columns = [vectors.product(matrix, [load(row, column) for row in ins]) for column in ins]
    for row in range(len(matrix)):
        for column, value in enumerate(vectors.product(matrix, [values[row] for values in columns])):
            store(value, row, column)


def load_at_steps(vectors: Vectors, source: Any, down: Any, across: Any) -> Load:
    return lambda row, column: vectors.load(vectors.place(vectors.place(source, across, column), down, row))


def store_at_steps(vectors: Vectors, target: Any, down: Any, across: Any, beside: bool = False) -> Store:
    store = vectors.store_beside_caches if beside else vectors.store
    return lambda value, row, column: store(value, vectors.place(vectors.place(target, down, row), across, column))


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
