"""Images (N, C, H, W) into memory with the batch last (C, H, W, N): a transposition, a square of vectors at a time."""

from __future__ import annotations

from typing import Any

from .compiler import Intrinsic, compiled
from .sharing import done, take, wait
from .vectors import Vectors, lanes


def _side(typing: Any) -> Any:
    from numba import types

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return context.get_constant(types.int64, lanes(context))

    return types.int64(), generate


def _square(typing: Any, source: Any, source_step: Any, target: Any, target_step: Any) -> Any:
    """Transpose `side` rows of `side` floats; addresses and the steps from row to row in bytes."""
    from llvmlite import ir
    from numba import types

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, source_step, target, target_step = arguments
        vectors = Vectors(context, builder)
        count = vectors.lanes
        low, high = (
            ir.Constant(ir.VectorType(ir.IntType(32), count), [start + i // 2 + i % 2 * count for i in range(count)])
            for start in (0, count // 2)
        )
        rows = [vectors.load(vectors.place(source, source_step, row)) for row in range(count)]
        for _ in range(count.bit_length() - 1):  # each riffle turns the bits of (row, lane) by one place
            pairs = [(rows[i], rows[i + count // 2]) for i in range(count // 2)]
            rows = [builder.shuffle_vector(a, b, half) for a, b in pairs for half in (low, high)]
        for row in range(count):
            vectors.store(rows[row], vectors.place(target, target_step, row))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), generate


side, transpose_square = Intrinsic(_side, __name__), Intrinsic(_square, __name__)


@compiled
def rearrange(images: Any, out: Any, top: int, left: int, counters: Any) -> None:
    """images (N, C, H, W) into out (C, H + 2 top, W + 2 left, N), with zeros around."""
    height = out.shape[1]
    pieces = out.shape[0] * height
    piece = take(counters, 0)
    while piece < pieces:
        c, row = piece // height, piece % height
        if row < top or row >= height - top:
            out[c, row].reshape(-1)[:] = 0
        else:
            _rearrange_row(images, out, c, row, top, left)
        done(counters, 0)
        piece = take(counters, 0)
    wait(counters, 0, pieces)


@compiled
def _rearrange_row(images: Any, out: Any, c: int, row: int, top: int, left: int) -> None:
    count, channels, height, width = images.shape
    square = side()
    source = images.ctypes.data + 4 * (c * height + row - top) * width
    target = out.ctypes.data + 4 * ((c * out.shape[1] + row) * out.shape[2] + left) * count
    line = out[c, row].reshape(-1)
    line[: left * count] = 0
    line[(left + width) * count :] = 0
    if count < square or width < square:
        for w in range(width):
            for n in range(count):
                line[(left + w) * count + n] = images[n, c, row - top, w]
        return
    step = 4 * channels * height * width
    n = 0
    while n < count:
        n = min(n, count - square)  # the last square begins within the one before
        w = 0
        while w < width:
            w = min(w, width - square)
            transpose_square(source + n * step + 4 * w, step, target + 4 * (w * count + n), 4 * count)
            w += square
        n += square
