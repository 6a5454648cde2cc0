"""Batch normalization on rows of channels, in pieces that stay in the cache from one step of the formula to the next."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..reference.normalization import Normalization
from .layout import CACHE_BYTES
from .threads import for_each, slices


def as_rows(x: Any) -> Any:
    """(N, C, ...) as a contiguous matrix (M, C); a view where the channels stand last in memory."""
    return np.ascontiguousarray(np.moveaxis(x, 1, -1)).reshape(-1, x.shape[1])


def from_rows(rows: Any, shape: tuple[int, ...]) -> Any:
    """The (N, C, ...) view of (M, C) rows."""
    return np.moveaxis(rows.reshape(shape[0], *shape[2:], shape[1]), -1, 1)


def pieces(rows: Any) -> list[slice]:
    return slices(len(rows), CACHE_BYTES // max(1, rows.shape[1] * rows.itemsize))


class ChannelsLastNormalization(Normalization):
    def batch_norm(self, x: Any, weight: Any, bias: Any, eps: float = 1e-5) -> tuple[Any, Any]:
        if x.size == 0:
            return super().batch_norm(x, weight, bias, eps)
        rows = as_rows(x)
        y = np.empty_like(rows)

        def sums(piece: slice) -> Any:
            return np.ones(piece.stop - piece.start, x.dtype) @ rows[piece]  # a sum at the speed of BLAS

        def squares(piece: slice) -> Any:
            centered = rows[piece] - mean
            return np.einsum("mc,mc->c", centered, centered)

        def normalize(piece: slice) -> None:
            part = np.subtract(rows[piece], mean, out=y[piece])
            part *= factor
            if bias is not None:
                part += bias

        mean = sum(for_each(sums, pieces(rows))) / len(rows)
        variance = sum(for_each(squares, pieces(rows))) / len(rows)
        scale = 1 / np.sqrt(variance + eps)
        factor = scale if weight is None else scale * weight
        for_each(normalize, pieces(rows))
        return (from_rows(y, x.shape), mean, variance), (x, mean, scale, weight, bias is not None)

    def batch_norm_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        x, mean, scale, weight, has_bias = saved
        if x.size == 0:
            return super().batch_norm_backward(saved, dout)
        rows, grad_rows = as_rows(x), as_rows(dout)
        dx = np.empty_like(rows)

        def sums(piece: slice) -> tuple[Any, Any]:
            part = grad_rows[piece]
            return np.ones(len(part), x.dtype) @ part, np.einsum("mc,mc->c", rows[piece] - mean, part)

        def differentiate(piece: slice) -> None:
            part = np.subtract(rows[piece], mean, out=dx[piece])
            part *= slope
            part += grad_rows[piece]
            part -= mean_dy
            part *= factor

        by_piece = for_each(sums, pieces(rows))
        sum_dy = sum(dy for dy, _ in by_piece)
        sum_dy_z = sum(dy_z for _, dy_z in by_piece) * scale
        factor = scale if weight is None else scale * weight
        slope, mean_dy = -scale * sum_dy_z / len(rows), sum_dy / len(rows)
        for_each(differentiate, pieces(rows))
        return from_rows(dx, x.shape), None if weight is None else sum_dy_z, sum_dy if has_bias else None
