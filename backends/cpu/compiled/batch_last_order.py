"""Images (N, C, H, W) into memory with the batch last (C, H, W, N): a transposition, a square of floats at a time."""

from __future__ import annotations

from typing import Any

from .compiler import compiled
from .sharing import done, leave, share, take, wait
from .squares import transpose
from .vectors import vector_lanes


@compiled
def rearrange_alone(images: Any, out: Any, top: int, left: int, board: Any) -> None:
    leads = share(board)
    rearrange(images, out, top, left, board)
    leave(board, leads)


@compiled
def rearrange(images: Any, out: Any, top: int, left: int, board: Any) -> None:
    """images (N, C, H, W) into out (C, H + 2 top, W + 2 left, N), with zeros around."""
    height = out.shape[1]
    pieces = out.shape[0] * height
    piece = take(board, 0)
    while piece < pieces:
        c, row = piece // height, piece % height
        if row < top or row >= height - top:
            out[c, row].reshape(-1)[:] = 0
        else:
            _rearrange_row(images, out, c, row, top, left)
        done(board, 0)
        piece = take(board, 0)
    wait(board, 0, pieces)


@compiled(inline=True)
def _rearrange_row(images: Any, out: Any, c: int, row: int, top: int, left: int) -> None:
    count, channels, height, width = images.shape
    square = vector_lanes()
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
            transpose(source + n * step + 4 * w, step, target + 4 * (w * count + n), 4 * count)
            w += square
        n += square
