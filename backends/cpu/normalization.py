"""Batch normalization by channels, as they lie in memory: rows (M, C) where they stand last, runs (C, M) where the batch does."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..reference.normalization import Normalization, as_dtype, dtype_of
from .batch_last import batch_first, in_order, is_batch_last
from .compiled import is_available
from .compiled import normalization as kernels
from .compiled import normalization_batch_last as of_runs
from .layout import CACHE_BYTES, channels_first, channels_last
from .masking import masked
from .threads import for_each, slices, together


def as_rows(x: Any) -> Any:
    """(N, C, ...) as a contiguous matrix (M, C); a view where the channels stand last in memory."""
    return channels_last(x).reshape(-1, x.shape[1])


def from_rows(rows: Any, shape: tuple[int, ...]) -> Any:
    """The (N, C, ...) view of (M, C) rows."""
    return channels_first(rows.reshape(shape[0], *shape[2:], shape[1]))


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


def _lines(x: Any, batch_last: bool) -> Any:
    """(N, C, ...) as a matrix: rows of channels (M, C), or, with the batch last in memory, a run for each channel (C, M)."""
    return in_order(x).reshape(x.shape[1], -1) if batch_last else as_rows(x)


def _from_lines(lines: Any, shape: tuple[int, ...], batch_last: bool) -> Any:
    return batch_first(lines.reshape(*shape[1:], shape[0])) if batch_last else from_rows(lines, shape)


def _normalize_compiled(x: Any, weight: Any, bias: Any, eps: float, rectify: bool) -> tuple[Any, Any]:
    batch_last = is_batch_last(x)
    lines, channels = _lines(x, batch_last), x.shape[1]
    y, found = np.empty_like(lines), np.empty((4, channels), x.dtype)
    mean, variance, scale, factor = found
    per_channel = _of_channels(weight, x, 1), _of_channels(bias, x, 0)
    given = lines, *per_channel, x.dtype.type(eps), rectify
    if batch_last:
        together(of_runs.normalize_batch, *given, *found, y)
    else:
        step = _step(lines)
        sums = np.empty((2, -(-len(lines) // step), channels), x.dtype)
        together(kernels.normalize_batch, *given, step, *sums, *found, y)
    saved = _Normalized(x, mean, scale, factor, per_channel[1], dtype_of(weight), dtype_of(bias), rectify)
    return (_from_lines(y, x.shape, batch_last), mean, variance), saved


def _normalize_by(
    x: Any, weight: Any, bias: Any, mean: Any, variance: Any, eps: float, rectify: bool
) -> tuple[Any, Any]:
    """By given statistics; what is saved is what the reference saves."""
    batch_last = is_batch_last(x)
    lines, mean = _lines(x, batch_last), np.ascontiguousarray(mean, x.dtype)
    scale = 1 / np.sqrt(variance.astype(x.dtype, copy=False) + eps)
    factor = np.ascontiguousarray(scale if weight is None else scale * weight, x.dtype)
    y, given = np.empty_like(lines), (lines, mean, factor, _of_channels(bias, x, 0), rectify)
    if batch_last:
        together(of_runs.normalize, *given, y)
    else:
        together(kernels.normalize, *given, _step(lines), y)
    return _from_lines(y, x.shape, batch_last), (x, weight, dtype_of(bias), mean, scale)


def _differentiate_compiled(saved: _Normalized, dout: Any) -> tuple[Any, ...]:
    x, channels, batch_last = saved.x, len(saved.mean), is_batch_last(saved.x)
    lines, gradient = _lines(x, batch_last), _lines(dout.astype(x.dtype, copy=False), batch_last)
    given = lines, gradient, saved.mean, saved.scale, saved.factor, saved.bias, saved.rectified
    dx = np.empty_like(lines)
    if batch_last:
        sum_dy, distances = np.empty((2, channels), x.dtype)
        together(of_runs.differentiate_batch, *given, sum_dy, distances, dx)
    else:
        step = _step(lines)
        sums, slopes = np.empty((2, -(-len(lines) // step), channels), x.dtype), np.empty((2, channels), x.dtype)
        together(kernels.differentiate_batch, *given, step, *sums, *slopes, dx)
        sum_dy, distances = sums.sum(axis=1)
    sum_dy_z = distances * saved.scale
    return (
        _from_lines(dx, x.shape, batch_last),
        as_dtype(sum_dy_z, saved.weight_dtype),
        as_dtype(sum_dy, saved.bias_dtype),
    )


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
