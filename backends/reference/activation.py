"""Activation functions, element by element. NaN stays NaN; no input overflows."""

from __future__ import annotations

from typing import Any

from .reduction import accumulator


class Activations:
    """relu, bias_relu, elu, leaky_relu, prelu, sigmoid, tanh, softplus."""

    xp: Any

    def relu(self, x: Any) -> tuple[Any, Any]:
        """max(0, x); -0.0 gives 0."""
        out = self.xp.maximum(x, 0)
        return out, out

    def relu_backward(self, out: Any, dout: Any) -> tuple[Any, ...]:
        return (self.xp.where(out <= 0, dout.dtype.type(0), dout),)

    def bias_relu(self, x: Any, bias: Any) -> tuple[Any, Any]:
        """max(0, x + bias) with a bias for each channel (axis 1), in one pass where a device can."""
        return self.relu(x + bias.reshape((1, -1) + (1,) * (x.ndim - 2)))

    def bias_relu_backward(self, out: Any, dout: Any) -> tuple[Any, ...]:
        (grad_x,) = self.relu_backward(out, dout)
        others = tuple(i for i in range(grad_x.ndim) if i != 1)
        return grad_x, grad_x.sum(axis=others, dtype=accumulator(grad_x.dtype)).astype(grad_x.dtype, copy=False)

    def elu(self, x: Any, alpha: float = 1.0) -> tuple[Any, Any]:
        """x for x > 0, else alpha (exp(x) - 1). D. Clevert, T. Unterthiner and S. Hochreiter, 2016."""
        xp = self.xp
        return xp.where(x <= 0, alpha * xp.expm1(xp.minimum(x, 0)), x).astype(x.dtype, copy=False), (x, alpha)

    def elu_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        xp = self.xp
        x, alpha = saved
        return (xp.where(x <= 0, dout * (alpha * xp.exp(xp.minimum(x, 0))), dout).astype(dout.dtype, copy=False),)

    def leaky_relu(self, x: Any, slope: float = 0.01) -> tuple[Any, Any]:
        """x for x > 0, else slope * x. A. Maas, A. Hannun and A. Ng, 2013."""
        return self.xp.where(x <= 0, slope * x, x).astype(x.dtype, copy=False), (x, slope)

    def leaky_relu_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        x, slope = saved
        return (self.xp.where(x <= 0, slope * dout, dout).astype(dout.dtype, copy=False),)

    def prelu(self, x: Any, weight: Any) -> tuple[Any, Any]:
        """x for x > 0, else weight * x, the weight one for all or one a channel (axis 1). K. He et al., 2015."""
        slope = self._by_channel(weight, x.ndim)
        return self.xp.where(x <= 0, slope * x, x), (x, weight)

    def prelu_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        xp = self.xp
        x, weight = saved
        zero = dout.dtype.type(0)
        grad_x = xp.where(x <= 0, self._by_channel(weight, x.ndim) * dout, dout)
        per_element = xp.where(x <= 0, x * dout, zero)
        others = tuple(i for i in range(x.ndim) if i != 1) if weight.size > 1 else None
        return grad_x, per_element.sum(axis=others).reshape(weight.shape)

    @staticmethod
    def _by_channel(weight: Any, ndim: int) -> Any:
        return weight.reshape((1, -1) + (1,) * (ndim - 2)) if weight.size > 1 else weight.reshape(-1)[0]

    def sigmoid(self, x: Any) -> tuple[Any, Any]:
        """1 / (1 + exp(-x)), by exp(-|x|) so that nothing overflows."""
        xp = self.xp
        small = xp.exp(-xp.abs(x))
        out = xp.where(x >= 0, 1, small) / (1 + small)
        return out.astype(x.dtype, copy=False), out

    def sigmoid_backward(self, out: Any, dout: Any) -> tuple[Any, ...]:
        return (dout * out * (1 - out),)

    def tanh(self, x: Any) -> tuple[Any, Any]:
        out = self.xp.tanh(x)
        return out, out

    def tanh_backward(self, out: Any, dout: Any) -> tuple[Any, ...]:
        return (dout * (1 - out * out),)

    def softplus(self, x: Any, beta: float = 1.0, threshold: float = 20.0) -> tuple[Any, Any]:
        """log(1 + exp(beta x)) / beta, and x itself where beta x > threshold. C. Dugas et al., 2001."""
        xp = self.xp
        scaled = beta * x
        smooth = (xp.maximum(scaled, 0) + xp.log1p(xp.exp(-xp.abs(scaled)))) / beta
        return xp.where(scaled > threshold, x, smooth).astype(x.dtype, copy=False), (x, beta, threshold)

    def softplus_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        x, beta, threshold = saved
        scaled = beta * x
        slope, _ = self.sigmoid(scaled)
        return (self.xp.where(scaled > threshold, dout, dout * slope).astype(dout.dtype, copy=False),)
