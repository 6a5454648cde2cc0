"""Batch normalization on rows of channels, in pieces that stay in the cache from one step of the formula to the next."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..reference.normalization import Normalization
from .layout import CACHE_BYTES


def as_rows(x: Any) -> Any:
    """(N, C, ...) as a contiguous matrix (M, C); a view where the channels stand last in memory."""
    return np.ascontiguousarray(np.moveaxis(x, 1, -1)).reshape(-1, x.shape[1])


def from_rows(rows: Any, shape: tuple[int, ...]) -> Any:
    """The (N, C, ...) view of (M, C) rows."""
    return np.moveaxis(rows.reshape(shape[0], *shape[2:], shape[1]), -1, 1)


def pieces(rows: Any) -> Iterator[slice]:
    step = max(1, CACHE_BYTES // max(1, rows.shape[1] * rows.itemsize))
    for first in range(0, len(rows), step):
        yield slice(first, first + step)


class ChannelsLastNormalization(Normalization):
    def batch_norm(self, x: Any, weight: Any, bias: Any, eps: float = 1e-5) -> tuple[Any, Any]:
        if x.size == 0:
            return super().batch_norm(x, weight, bias, eps)
        rows = as_rows(x)
        share = np.full(len(rows), 1 / len(rows), x.dtype)  # a product with it is a mean, at the speed of BLAS
        mean = share @ rows
        variance = np.zeros_like(mean)
        for piece in pieces(rows):
            centered = rows[piece] - mean
            variance += np.einsum("mc,mc->c", centered, centered)
        variance /= len(rows)
        scale = 1 / np.sqrt(variance + eps)
        factor = scale if weight is None else scale * weight
        y = np.empty_like(rows)
        for piece in pieces(rows):
            np.subtract(rows[piece], mean, out=y[piece])
            y[piece] *= factor
            if bias is not None:
                y[piece] += bias
        return (from_rows(y, x.shape), mean, variance), (x, mean, scale, weight, bias is not None)

    def batch_norm_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        x, mean, scale, weight, has_bias = saved
        if x.size == 0:
            return super().batch_norm_backward(saved, dout)
        rows, grad_rows = as_rows(x), as_rows(dout)
        count = len(rows)
        sum_dy = np.ones(count, x.dtype) @ grad_rows
        sum_dy_z = np.zeros_like(mean)
        for piece in pieces(rows):
            sum_dy_z += np.einsum("mc,mc->c", rows[piece] - mean, grad_rows[piece])
        sum_dy_z *= scale
        factor = scale if weight is None else scale * weight
        slope = -scale * sum_dy_z / count
        dx = np.empty_like(rows)
        for piece in pieces(rows):
            part = np.subtract(rows[piece], mean, out=dx[piece])
            part *= slope
            part += grad_rows[piece]
            part -= sum_dy / count
            part *= factor
        return from_rows(dx, x.shape), None if weight is None else sum_dy_z, sum_dy if has_bias else None
