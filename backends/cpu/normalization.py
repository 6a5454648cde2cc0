"""Batch normalization on rows of channels, in pieces that stay in the cache from one step of the formula to the next."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..reference.normalization import Normalization, as_dtype, dtype_of
from .compiled import is_available
from .compiled import normalization as kernels
from .layout import CACHE_BYTES
from .masking import masked
from .threads import for_each, slices, together


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


class _Normalized(NamedTuple):
    """What the compiled kernels save: y = (x - mean) factor + bias, all but x (C) in the dtype of x."""

    x: Any
    mean: Any
    scale: Any
    factor: Any
    bias: Any
    weight_dtype: Any
    bias_dtype: Any
    rectified: bool


def _of_channels(values: Any, x: Any, default: float) -> Any:
    """The weight or the bias (C) in the dtype of x (N, C, ...)."""
    return np.full(x.shape[1], default, x.dtype) if values is None else np.ascontiguousarray(values, x.dtype)


def _step(rows: Any) -> int:
    """Rows of a part: a quarter of the cache, so that there are parts for several threads."""
    return max(1, CACHE_BYTES // (4 * rows.shape[1] * rows.itemsize))


def _normalize_compiled(x: Any, weight: Any, bias: Any, eps: float, rectify: bool) -> tuple[Any, Any]:
    rows = as_rows(x)
    y, step, (count, channels) = np.empty_like(rows), _step(rows), rows.shape
    totals, squares = np.empty((2, -(-count // step), channels), x.dtype)
    mean, variance, scale, factor = np.empty((4, channels), x.dtype)
    per_channel = _of_channels(weight, x, 1), _of_channels(bias, x, 0)
    found = mean, variance, scale, factor, y
    together(kernels.normalize_batch, rows, *per_channel, x.dtype.type(eps), rectify, step, totals, squares, *found)
    saved = _Normalized(x, mean, scale, factor, per_channel[1], dtype_of(weight), dtype_of(bias), rectify)
    return (from_rows(y, x.shape), mean, variance), saved


def _normalize_by(
    x: Any, weight: Any, bias: Any, mean: Any, variance: Any, eps: float, rectify: bool
) -> tuple[Any, Any]:
    """By given statistics; what is saved is what the reference saves."""
    rows = as_rows(x)
    mean = np.ascontiguousarray(mean, x.dtype)
    scale = 1 / np.sqrt(variance.astype(x.dtype, copy=False) + eps)
    factor = np.ascontiguousarray(scale if weight is None else scale * weight, x.dtype)
    y = np.empty_like(rows)
    together(kernels.normalize, rows, mean, factor, _of_channels(bias, x, 0), rectify, _step(rows), y)
    return from_rows(y, x.shape), (x, weight, dtype_of(bias), mean, scale)


def _differentiate_compiled(saved: _Normalized, dout: Any) -> tuple[Any, ...]:
    rows, grad_rows = as_rows(saved.x), as_rows(dout.astype(saved.x.dtype, copy=False))
    dx, step, (count, channels) = np.empty_like(rows), _step(rows), rows.shape
    totals, distances = np.empty((2, -(-count // step), channels), rows.dtype)
    slope, offset = np.empty((2, channels), rows.dtype)
    statistics = saved.mean, saved.scale, saved.factor, saved.bias, saved.rectified
    together(kernels.differentiate_batch, rows, grad_rows, *statistics, step, totals, distances, slope, offset, dx)
    sum_dy, sum_dy_z = totals.sum(axis=0), distances.sum(axis=0) * saved.scale
    return from_rows(dx, saved.x.shape), as_dtype(sum_dy_z, saved.weight_dtype), as_dtype(sum_dy, saved.bias_dtype)


class ChannelsLastNormalization(Normalization):
    def batch_norm(self, x: Any, weight: Any, bias: Any, eps: float = 1e-5) -> tuple[Any, Any]:
        if not in_pieces(x):
            return super().batch_norm(x, weight, bias, eps)
        if is_available():
            return _normalize_compiled(x, weight, bias, eps, rectify=False)
        return self._normalize_rows(x, weight, bias, eps, rectify=False)

    def batch_norm_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        if not in_pieces(dout):
            return super().batch_norm_backward(saved, dout)
        if isinstance(saved, _Normalized):
            return _differentiate_compiled(saved, dout)
        return self._differentiate_rows(saved, dout, None)

    def batch_norm_relu(self, x: Any, weight: Any, bias: Any, eps: float = 1e-5) -> tuple[Any, Any]:
        if not in_pieces(x):
            return super().batch_norm_relu(x, weight, bias, eps)
        if is_available():
            return _normalize_compiled(x, weight, bias, eps, rectify=True)
        outs, saved = self._normalize_rows(x, weight, bias, eps, rectify=True)
        return outs, (saved, outs[0])

    def batch_norm_relu_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        if not in_pieces(dout):
            return super().batch_norm_relu_backward(saved, dout)
        if isinstance(saved, _Normalized):
            return _differentiate_compiled(saved, dout)
        normalized, out = saved
        return self._differentiate_rows(normalized, dout, as_rows(out))

    def batch_norm_inference(
        self, x: Any, weight: Any, bias: Any, mean: Any, variance: Any, eps: float = 1e-5
    ) -> tuple[Any, Any]:
        if not in_pieces(x) or not is_available():
            return super().batch_norm_inference(x, weight, bias, mean, variance, eps)
        return _normalize_by(x, weight, bias, mean, variance, eps, rectify=False)

    def batch_norm_inference_relu(
        self, x: Any, weight: Any, bias: Any, mean: Any, variance: Any, eps: float = 1e-5
    ) -> tuple[Any, Any]:
        if not in_pieces(x) or not is_available():
            return super().batch_norm_inference_relu(x, weight, bias, mean, variance, eps)
        out, normalized = _normalize_by(x, weight, bias, mean, variance, eps, rectify=True)
        return out, (normalized, out)

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
