"""Batch normalization over the channel axis 1 of (N, C) or (N, C, ...) arrays.

S. Ioffe and C. Szegedy, "Batch normalization: accelerating deep network training", 2015.
"""

from __future__ import annotations

from typing import Any

from .reduction import accumulator


def by_channel(values: Any, ndim: int) -> Any:
    """(C) reshaped to broadcast along axis 1 of an array with ``ndim`` axes."""
    return values.reshape((1, -1) + (1,) * (ndim - 2))


def dtype_of(values: Any) -> Any:
    """The dtype of an array, None for one that is absent."""
    return None if values is None else values.dtype


def as_dtype(values: Any, dtype: Any) -> Any:
    """``values`` in the dtype that is asked for; None where that is None."""
    return None if dtype is None else values.astype(dtype, copy=False)


class Normalization:
    xp: Any
    relu: Any
    relu_backward: Any

    def batch_norm(self, x: Any, weight: Any, bias: Any, eps: float = 1e-5) -> tuple[Any, Any]:
        """Training mode: out = (y, mean, variance) with the batch's statistics, the variance divided by the count m.

        y = weight * (x - mean) / sqrt(variance + eps) + bias; weight and bias are (C) or None. y has the dtype of x; mean and
        variance have that of its sums (float32 for half precision), whatever the dtype of weight and bias.
        """
        xp = self.xp
        axes = (0, *range(2, x.ndim))
        count = max(x.size // max(x.shape[1], 1), 1)  # an empty batch has mean and variance 0, and no warning
        mean = x.sum(axis=axes, dtype=accumulator(x.dtype)) / count
        centered = x - by_channel(mean, x.ndim)
        variance = (centered * centered).sum(axis=axes) / count  # two passes: E[x^2] - E[x]^2 would cancel
        scale = 1 / xp.sqrt(variance + eps)
        y = centered * by_channel(scale if weight is None else scale * weight, x.ndim)
        if bias is not None:
            y = y + by_channel(bias, x.ndim)
        return (y.astype(x.dtype, copy=False), mean, variance), (x, mean, scale, weight, dtype_of(bias))

    def batch_norm_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        """With z the normalized x and m the count: dx = weight scale (dy - sum(dy) / m - z sum(dy z) / m)."""
        x, mean, scale, weight, bias_dtype = saved
        axes = (0, *range(2, x.ndim))
        count = max(x.size // max(x.shape[1], 1), 1)
        z = (x - by_channel(mean, x.ndim)) * by_channel(scale, x.ndim)
        sum_dy = dout.sum(axis=axes, dtype=accumulator(x.dtype))
        sum_dy_z = (dout * z).sum(axis=axes)
        factor = scale if weight is None else scale * weight
        dx = dout - by_channel(sum_dy / count, x.ndim) - z * by_channel(sum_dy_z / count, x.ndim)
        dx = dx * by_channel(factor, x.ndim)
        return dx.astype(x.dtype, copy=False), as_dtype(sum_dy_z, dtype_of(weight)), as_dtype(sum_dy, bias_dtype)

    def batch_norm_inference(
        self, x: Any, weight: Any, bias: Any, mean: Any, variance: Any, eps: float = 1e-5
    ) -> tuple[Any, Any]:
        """Evaluation mode: the given (running) statistics are constants."""
        wide = accumulator(x.dtype)
        mean, scale = mean.astype(wide, copy=False), 1 / self.xp.sqrt(variance.astype(wide, copy=False) + eps)
        factor = scale if weight is None else scale * weight
        shift = -mean * factor if bias is None else bias - mean * factor
        y = x * by_channel(factor, x.ndim) + by_channel(shift, x.ndim)
        return y.astype(x.dtype, copy=False), (x, weight, dtype_of(bias), mean, scale)

    def batch_norm_inference_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        x, weight, bias_dtype, mean, scale = saved
        axes = (0, *range(2, x.ndim))
        dx = dout * by_channel(scale if weight is None else scale * weight, x.ndim)
        grad_weight = grad_bias = None
        if weight is not None:
            z = (x - by_channel(mean, x.ndim)) * by_channel(scale, x.ndim)
            grad_weight = as_dtype((dout * z).sum(axis=axes), weight.dtype)
        if bias_dtype is not None:
            grad_bias = as_dtype(dout.sum(axis=axes, dtype=accumulator(x.dtype)), bias_dtype)
        return dx.astype(x.dtype, copy=False), grad_weight, grad_bias, None, None

    def batch_norm_relu(self, x: Any, weight: Any, bias: Any, eps: float = 1e-5) -> tuple[Any, Any]:
        """relu(`batch_norm`): one operation, because a GPU then reads and writes y once instead of twice."""
        (y, mean, variance), normalized = self.batch_norm(x, weight, bias, eps)
        out, rectified = self.relu(y)
        return (out.astype(x.dtype, copy=False), mean, variance), (normalized, rectified)

    def batch_norm_relu_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        normalized, rectified = saved
        return self.batch_norm_backward(normalized, *self.relu_backward(rectified, dout))

    def batch_norm_inference_relu(
        self, x: Any, weight: Any, bias: Any, mean: Any, variance: Any, eps: float = 1e-5
    ) -> tuple[Any, Any]:
        """relu(`batch_norm_inference`)."""
        y, normalized = self.batch_norm_inference(x, weight, bias, mean, variance, eps)
        out, rectified = self.relu(y)
        return out.astype(x.dtype, copy=False), (normalized, rectified)

    def batch_norm_inference_relu_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        normalized, rectified = saved
        return self.batch_norm_inference_backward(normalized, *self.relu_backward(rectified, dout))
