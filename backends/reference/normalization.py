"""Batch normalization over the channel axis 1 of (N, C) or (N, C, ...) arrays.

S. Ioffe and C. Szegedy, "Batch normalization: accelerating deep network training", 2015.
"""

from __future__ import annotations

from typing import Any

from .reduction import accumulator


def by_channel(values: Any, ndim: int) -> Any:
    """(C) reshaped to broadcast along axis 1 of an array with ``ndim`` axes."""
    return values.reshape((1, -1) + (1,) * (ndim - 2))


class Normalization:
    xp: Any

    def batch_norm(self, x: Any, weight: Any, bias: Any, eps: float = 1e-5) -> tuple[Any, Any]:
        """Training mode: out = (y, mean, variance) with the batch's statistics, the variance divided by the count m.

        y = weight * (x - mean) / sqrt(variance + eps) + bias; weight and bias are (C) or None.
        """
        xp = self.xp
        axes = (0, *range(2, x.ndim))
        count = max(x.size // max(x.shape[1], 1), 1)  # an empty batch has mean and variance 0, and no warning
        mean = (x.sum(axis=axes, dtype=accumulator(x.dtype)) / count).astype(x.dtype)
        centered = x - by_channel(mean, x.ndim)
        squares = (centered * centered).sum(axis=axes, dtype=accumulator(x.dtype))
        variance = (squares / count).astype(x.dtype)  # two passes: E[x^2] - E[x]^2 would cancel
        scale = 1 / xp.sqrt(variance + eps)
        y = centered * by_channel(scale if weight is None else scale * weight, x.ndim)
        if bias is not None:
            y += by_channel(bias, x.ndim)
        return (y, mean, variance), (x, mean, scale, weight, bias is not None)

    def batch_norm_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        """With z the normalized x and m the count: dx = weight scale (dy - sum(dy) / m - z sum(dy z) / m)."""
        x, mean, scale, weight, has_bias = saved
        axes = (0, *range(2, x.ndim))
        count = max(x.size // max(x.shape[1], 1), 1)
        z = (x - by_channel(mean, x.ndim)) * by_channel(scale, x.ndim)
        sum_dy = dout.sum(axis=axes, dtype=accumulator(x.dtype)).astype(x.dtype)
        sum_dy_z = (dout * z).sum(axis=axes, dtype=accumulator(x.dtype)).astype(x.dtype)
        factor = scale if weight is None else scale * weight
        dx = dout - by_channel(sum_dy / count, x.ndim) - z * by_channel(sum_dy_z / count, x.ndim)
        dx *= by_channel(factor, x.ndim)
        return dx, None if weight is None else sum_dy_z, sum_dy if has_bias else None

    def batch_norm_inference(
        self, x: Any, weight: Any, bias: Any, mean: Any, variance: Any, eps: float = 1e-5
    ) -> tuple[Any, Any]:
        """Evaluation mode: the given (running) statistics are constants."""
        scale = 1 / self.xp.sqrt(variance + eps)
        factor = scale if weight is None else scale * weight
        shift = -mean * factor if bias is None else bias - mean * factor
        y = x * by_channel(factor, x.ndim) + by_channel(shift, x.ndim)
        return y, (x, weight, bias is not None, mean, scale)

    def batch_norm_inference_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        x, weight, has_bias, mean, scale = saved
        axes = (0, *range(2, x.ndim))
        dx = dout * by_channel(scale if weight is None else scale * weight, x.ndim)
        grad_weight = grad_bias = None
        if weight is not None:
            z = (x - by_channel(mean, x.ndim)) * by_channel(scale, x.ndim)
            grad_weight = (dout * z).sum(axis=axes)
        if has_bias:
            grad_bias = dout.sum(axis=axes)
        return dx, grad_weight, grad_bias, None, None
