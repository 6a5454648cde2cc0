"""Batch normalization on rows of channels, in pieces that stay in the cache from one step of the formula to the next."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..reference.normalization import Normalization, as_dtype, dtype_of
from .compiled import is_available
from .compiled import normalization as kernels
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


class _Normalized(NamedTuple):
    """What the compiled kernels save: y = (x - mean) factor + shift, all but x (C) in the dtype of x."""

    x: Any
    mean: Any
    scale: Any
    factor: Any
    shift: Any
    weight_dtype: Any
    bias_dtype: Any
    rectified: bool


def _normalize_compiled(x: Any, weight: Any, bias: Any, eps: float, rectify: bool) -> tuple[Any, Any]:
    rows = as_rows(x)
    y, parts = np.empty_like(rows), pieces(rows)
    totals, squares = np.empty((2, len(parts), rows.shape[1]), x.dtype)

    def moments(number: int) -> None:
        kernels.moments(rows[parts[number]], totals[number], squares[number])

    def normalize(piece: slice) -> None:
        kernel = kernels.normalize_rectified if rectify else kernels.normalize
        kernel(rows[piece], mean, factor, shift, y[piece])

    for_each(moments, range(len(parts)))
    counts = np.array([[part.stop - part.start] for part in parts])
    wide_totals = totals.astype(np.float64)
    wide_mean = wide_totals.sum(axis=0) / len(rows)
    between = counts * (wide_totals / counts - wide_mean) ** 2  # of the pieces' means
    mean = wide_mean.astype(x.dtype)
    variance = ((squares + between).sum(axis=0) / len(rows)).astype(x.dtype)
    scale = 1 / np.sqrt(variance + eps)
    factor = scale if weight is None else (scale * weight).astype(x.dtype, copy=False)
    shift = np.zeros_like(mean) if bias is None else np.ascontiguousarray(bias, x.dtype)
    for_each(normalize, parts)
    saved = _Normalized(x, mean, scale, factor, shift, dtype_of(weight), dtype_of(bias), rectify)
    return (from_rows(y, x.shape), mean, variance), saved


def _normalize_by(x: Any, weight: Any, bias: Any, mean: Any, variance: Any, eps: float, kernel: Any) -> tuple[Any, Any]:
    """By given statistics; what is saved is what the reference saves."""
    rows = as_rows(x)
    mean = np.ascontiguousarray(mean, x.dtype)
    scale = 1 / np.sqrt(variance.astype(x.dtype, copy=False) + eps)
    factor = np.ascontiguousarray(scale if weight is None else scale * weight, x.dtype)
    shift = np.zeros_like(mean) if bias is None else np.ascontiguousarray(bias, x.dtype)
    y = np.empty_like(rows)
    for_each(lambda part: kernel(rows[part], mean, factor, shift, y[part]), pieces(rows))
    return from_rows(y, x.shape), (x, weight, dtype_of(bias), mean, scale)


def _differentiate_compiled(saved: _Normalized, dout: Any) -> tuple[Any, ...]:
    rows, grad_rows = as_rows(saved.x), as_rows(dout.astype(saved.x.dtype, copy=False))
    mean, factor, shift = saved.mean, saved.factor, saved.shift
    dx, parts = np.empty_like(rows), pieces(rows)
    totals, distances = np.empty((2, len(parts), rows.shape[1]), rows.dtype)

    def sums(number: int) -> None:
        part, total, distance = parts[number], totals[number], distances[number]
        if saved.rectified:
            kernels.gradient_sums_rectified(rows[part], grad_rows[part], mean, factor, shift, total, distance)
        else:
            kernels.gradient_sums(rows[part], grad_rows[part], mean, total, distance)

    def differentiate(part: slice) -> None:
        if saved.rectified:
            arguments = (mean, factor, shift, slope, offset, dx[part])
            kernels.differentiate_rectified(rows[part], grad_rows[part], *arguments)
        else:
            kernels.differentiate(rows[part], grad_rows[part], mean, factor, slope, offset, dx[part])

    for_each(sums, range(len(parts)))
    sum_dy = totals.sum(axis=0)
    sum_dy_z = distances.sum(axis=0) * saved.scale
    slope, offset = -factor * saved.scale * sum_dy_z / len(rows), -factor * sum_dy / len(rows)
    for_each(differentiate, parts)
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
        return _normalize_by(x, weight, bias, mean, variance, eps, kernels.normalize)

    def batch_norm_inference_relu(
        self, x: Any, weight: Any, bias: Any, mean: Any, variance: Any, eps: float = 1e-5
    ) -> tuple[Any, Any]:
        if not in_pieces(x) or not is_available():
            return super().batch_norm_inference_relu(x, weight, bias, mean, variance, eps)
        out, normalized = _normalize_by(x, weight, bias, mean, variance, eps, kernels.normalize_rectified)
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
