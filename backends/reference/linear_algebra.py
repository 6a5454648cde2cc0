"""Matrix products and the matrix functions of the course: trace, inverse, log-determinant, norm.

The gradients are those of K. B. Petersen and M. S. Pedersen, "The Matrix Cookbook", 2012, sections 2 and 4.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from .arithmetic import unbroadcast
from .reduction import Axes, accumulator, spread

Needs = tuple[bool, ...]


def as_matrix(x: Any) -> Any:
    """(..., columns) as (rows, columns); there may be none of either."""
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


class LinearAlgebra:
    xp: Any
    bias_relu: Callable[..., Any]
    bias_relu_backward: Callable[..., Any]

    def matmul(self, a: Any, b: Any) -> tuple[Any, Any]:
        """The matrix product over the last two axes; the axes before them broadcast; a vector is a row or a column."""
        return self._product(a, b), (a, b)

    def matmul_backward(self, saved: Any, dout: Any, needs: Needs = (True, True)) -> tuple[Any, ...]:
        a, b = saved
        rows = a[None, :] if a.ndim == 1 else a
        columns = b[:, None] if b.ndim == 1 else b
        if a.ndim == 1:
            dout = dout[..., None, :] if b.ndim > 1 else dout.reshape(1, 1)
        if b.ndim == 1 and a.ndim > 1:
            dout = dout[..., None]
        grad_a = grad_b = None
        if needs[0]:
            grad_a = unbroadcast(self._product(dout, columns.swapaxes(-1, -2)), rows.shape).reshape(a.shape)
        if needs[1]:
            grad_b = unbroadcast(self._product(rows.swapaxes(-1, -2), dout), columns.shape).reshape(b.shape)
        return grad_a, grad_b

    def linear(self, x: Any, weight: Any, bias: Any) -> tuple[Any, Any]:
        """x (..., in) times weight (out, in) transposed, plus bias (out): (..., out)."""
        out = self._product(x, weight.T)
        if bias is not None:
            out += bias
        return out, (x, weight, bias is not None)

    def linear_backward(self, saved: Any, dout: Any, needs: Needs = (True, True, True)) -> tuple[Any, ...]:
        x, weight, has_bias = saved
        rows = as_matrix(dout)
        grad_x = self._product(dout, weight) if needs[0] else None
        grad_weight = self._product(rows.T, as_matrix(x)) if needs[1] else None
        grad_bias = rows.sum(axis=0) if has_bias and needs[2] else None
        return grad_x, grad_weight, grad_bias

    def linear_relu(self, x: Any, weight: Any, bias: Any) -> tuple[Any, Any]:
        """relu(linear(x (N, in), weight, bias (out))), in fewer passes over memory where a device can."""
        out, saved = self.linear(x, weight, None)
        out, rectified = self.bias_relu(out, bias)
        return out, (saved, rectified)

    def linear_relu_backward(self, saved: Any, dout: Any, needs: Needs = (True, True, True)) -> tuple[Any, ...]:
        multiplied, rectified = saved
        grad_out, grad_bias = self.bias_relu_backward(rectified, dout)
        grad_x, grad_weight, _ = self.linear_backward(multiplied, grad_out, (*needs[:2], False))
        return grad_x, grad_weight, grad_bias

    def _product(self, a: Any, b: Any) -> Any:
        """The matrix product; half precision is added up in float32 and rounded once."""
        if a.dtype != b.dtype or accumulator(a.dtype) == a.dtype:
            return self.xp.matmul(a, b)
        wide = accumulator(a.dtype)
        return self.xp.matmul(a.astype(wide), b.astype(wide)).astype(a.dtype)

    def trace(self, x: Any) -> tuple[Any, Any]:
        return self.xp.trace(x), x.shape

    def trace_backward(self, shape: Any, dout: Any) -> tuple[Any, ...]:
        return (dout * self.xp.eye(*shape, dtype=dout.dtype),)

    def inverse(self, x: Any) -> tuple[Any, Any]:
        out = self.xp.linalg.inv(x)
        return out, out

    def inverse_backward(self, out: Any, dout: Any) -> tuple[Any, ...]:
        """d(X^-1) = -X^-1 dX X^-1, so the gradient is -X^-T dout X^-T."""
        transposed = out.swapaxes(-1, -2)
        return (-self.xp.matmul(self.xp.matmul(transposed, dout), transposed),)

    def logdet(self, x: Any) -> tuple[Any, Any]:
        """log(det(X)); NaN where the determinant is negative, -inf where it is 0."""
        sign, logarithm = self.xp.linalg.slogdet(x)
        out = self.xp.where(sign < 0, self.xp.nan, logarithm).astype(x.dtype, copy=False)
        return out, x

    def logdet_backward(self, x: Any, dout: Any) -> tuple[Any, ...]:
        return (dout[..., None, None] * self.xp.linalg.inv(x).swapaxes(-1, -2),)

    def norm(self, x: Any, p: float = 2.0, axis: Axes = None, keepdims: bool = False) -> tuple[Any, Any]:
        """(sum |x|^p)^(1/p) for 0 < p < inf, scaled by the largest magnitude so that no power overflows."""
        xp = self.xp
        if x.size == 0:
            out = xp.sum(x, axis=axis, keepdims=keepdims)
            return out, (x, out, p, axis)
        peak = xp.max(xp.abs(x), axis=axis, keepdims=True)
        scale = xp.where((peak > 0) & xp.isfinite(peak), peak, 1).astype(x.dtype, copy=False)
        out = scale * xp.sum(xp.abs(x / scale) ** p, axis=axis, keepdims=True) ** (1 / p)
        return (out if keepdims else xp.squeeze(out, axis=axis)), (x, out, p, axis)

    def norm_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        """sign(x) (|x| / norm)^(p - 1); the subgradient at the zero vector is taken as 0."""
        xp = self.xp
        x, out, p, axis = saved
        length = out.reshape(spread(dout, x.shape, axis).shape)
        safe = xp.where(length == 0, 1, length).astype(x.dtype, copy=False)
        slope = x / safe if p == 2 else xp.where(x == 0, 0, xp.sign(x) * xp.abs(x / safe) ** (p - 1))
        return (spread(dout, x.shape, axis) * slope.astype(x.dtype, copy=False),)
