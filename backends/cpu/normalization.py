"""Batch normalization on rows of channels, in pieces that stay in the cache from one step of the formula to the next."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..reference.normalization import Normalization, as_dtype, dtype_of
from .layout import CACHE_BYTES
from .masking import masked
from .threads import for_each, slices


def as_rows(x: Any) -> Any:
    """(N, C, ...) as a contiguous matrix (M, C); a view where the channels stand last in memory."""
    return np.ascontiguousarray(np.moveaxis(x, 1, -1)).reshape(-1, x.shape[1])


def from_rows(rows: Any, shape: tuple[int, ...]) -> Any:
    """The (N, C, ...) view of (M, C) rows."""
    return np.moveaxis(rows.reshape(shape[0], *shape[2:], shape[1]), -1, 1)


def pieces(rows: Any) -> list[slice]:
    return slices(len(rows), CACHE_BYTES // max(1, rows.shape[1] * rows.itemsize))


def in_pieces(x: Any) -> bool:
    """Whether the methods below serve x: not empty, and wide enough to add up in its own dtype."""
    return x.size > 0 and x.dtype.kind == "f" and x.itemsize >= 4


class ChannelsLastNormalization(Normalization):
    def batch_norm(self, x: Any, weight: Any, bias: Any, eps: float = 1e-5) -> tuple[Any, Any]:
        if not in_pieces(x):
            return super().batch_norm(x, weight, bias, eps)
        return self._normalize_rows(x, weight, bias, eps, rectify=False)

    def batch_norm_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        if not in_pieces(dout):
            return super().batch_norm_backward(saved, dout)
        return self._differentiate_rows(saved, dout, None)

    def batch_norm_relu(self, x: Any, weight: Any, bias: Any, eps: float = 1e-5) -> tuple[Any, Any]:
        if not in_pieces(x):
            return super().batch_norm_relu(x, weight, bias, eps)
        outs, saved = self._normalize_rows(x, weight, bias, eps, rectify=True)
        return outs, (saved, outs[0])

    def batch_norm_relu_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        if not in_pieces(dout):
            return super().batch_norm_relu_backward(saved, dout)
        normalized, out = saved
        return self._differentiate_rows(normalized, dout, as_rows(out))

    def _normalize_rows(self, x: Any, weight: Any, bias: Any, eps: float, rectify: bool) -> tuple[Any, Any]:
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
            if rectify:
                np.maximum(part, 0, out=part)

        mean = sum(for_each(sums, pieces(rows))) / len(rows)
        variance = sum(for_each(squares, pieces(rows))) / len(rows)
        scale = 1 / np.sqrt(variance + eps)
        factor = scale if weight is None else scale * weight
        for_each(normalize, pieces(rows))
        return (from_rows(y, x.shape), mean, variance), (x, mean, scale, weight, dtype_of(bias))

    def _differentiate_rows(self, saved: Any, dout: Any, rectified: Any) -> tuple[Any, ...]:
        """``rectified`` are the rows of the result of ReLU, None where there was none."""
        x, mean, scale, weight, bias_dtype = saved
        rows, grad_rows = as_rows(x), as_rows(dout)
        dx = np.empty_like(rows)
        dy = grad_rows if rectified is None else np.empty_like(rows)

        def sums(piece: slice) -> tuple[Any, Any]:
            part = dy[piece]
            if rectified is not None:
                cut = rectified[piece] <= 0
                masked(grad_rows[piece], np.logical_not(cut, out=cut), out=part)
            return np.ones(len(part), x.dtype) @ part, np.einsum("mc,mc->c", rows[piece] - mean, part)

        def differentiate(piece: slice) -> None:
            part = np.subtract(rows[piece], mean, out=dx[piece])
            part *= slope
            part += dy[piece]
            part -= mean_dy
            part *= factor

        by_piece = for_each(sums, pieces(rows))
        sum_dy = sum(of_dy for of_dy, _ in by_piece)
        sum_dy_z = sum(of_dy_z for _, of_dy_z in by_piece) * scale
        factor = scale if weight is None else scale * weight
        slope, mean_dy = -scale * sum_dy_z / len(rows), sum_dy / len(rows)
        for_each(differentiate, pieces(rows))
        return from_rows(dx, x.shape), as_dtype(sum_dy_z, dtype_of(weight)), as_dtype(sum_dy, bias_dtype)
