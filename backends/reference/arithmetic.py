"""The gates of arithmetic, element by element, with NumPy's broadcasting."""

from __future__ import annotations

from typing import Any


def shape_of(operand: Any) -> tuple[int, ...] | None:
    """The shape of an array; None for a plain Python number, which gets no gradient."""
    return getattr(operand, "shape", None)


def unbroadcast(gradient: Any, shape: tuple[int, ...] | None) -> Any:
    """Sum ``gradient`` over the axes along which an operand of ``shape`` was repeated.

    Broadcasting copies an element to many places; by the chain rule its gradient is the sum over all of them.
    """
    if shape is None:
        return None
    if gradient.shape == shape:
        return gradient
    added = gradient.ndim - len(shape)
    repeated = tuple(i for i, n in enumerate(shape, start=added) if n == 1 and gradient.shape[i] != 1)
    return gradient.sum(axis=(*range(added), *repeated), keepdims=True).reshape(shape)


class Arithmetic:
    """add, sub, mul, div, pow, neg, reciprocal, exp, log, sqrt, abs, maximum, minimum, clamp, where."""

    xp: Any

    def add(self, a: Any, b: Any) -> tuple[Any, Any]:
        return a + b, (shape_of(a), shape_of(b))

    def add_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        shape_a, shape_b = saved
        return unbroadcast(dout, shape_a), unbroadcast(dout, shape_b)

    def sub(self, a: Any, b: Any) -> tuple[Any, Any]:
        return a - b, (shape_of(a), shape_of(b))

    def sub_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        shape_a, shape_b = saved
        return unbroadcast(dout, shape_a), None if shape_b is None else unbroadcast(-dout, shape_b)

    def mul(self, a: Any, b: Any) -> tuple[Any, Any]:
        return a * b, (a, b)

    def mul_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        a, b = saved
        return (
            None if shape_of(a) is None else unbroadcast(dout * b, a.shape),
            None if shape_of(b) is None else unbroadcast(dout * a, b.shape),
        )

    def div(self, a: Any, b: Any) -> tuple[Any, Any]:
        out = a / b
        return out, (shape_of(a), b, out)

    def div_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        shape_a, b, out = saved
        by_b = dout / b  # d(a/b)/da = 1/b, d(a/b)/db = -(a/b)/b
        return unbroadcast(by_b, shape_a), None if shape_of(b) is None else unbroadcast(-by_b * out, b.shape)

    def pow(self, a: Any, b: Any) -> tuple[Any, Any]:
        out = a**b
        return out, (a, b, out)

    def pow_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        xp = self.xp
        a, b, out = saved
        grad_a = grad_b = None
        if shape_of(a) is not None:
            # b * a**(b-1); the power 0 is constant, also at a = 0 where a**-1 is infinite.
            slope = b * a ** (b - 1) if shape_of(b) is None else xp.where(b == 0, 0, b * a ** (b - 1))
            grad_a = xp.zeros_like(a) if shape_of(b) is None and b == 0 else unbroadcast(dout * slope, a.shape)
        if shape_of(b) is not None:
            # out * log(a); 0**b counts as constant for b >= 0, although log(0) is not finite.
            logarithm = xp.log(xp.asarray(a, dtype=b.dtype))
            slope = xp.where((logarithm == -xp.inf) & (b >= 0), 0, out * logarithm)
            grad_b = unbroadcast(dout * slope, b.shape)
        return grad_a, grad_b

    def neg(self, x: Any) -> tuple[Any, Any]:
        return -x, None

    def neg_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        return (-dout,)

    def reciprocal(self, x: Any) -> tuple[Any, Any]:
        out = 1 / x
        return out, out

    def reciprocal_backward(self, out: Any, dout: Any) -> tuple[Any, ...]:
        return (-dout * out * out,)

    def exp(self, x: Any) -> tuple[Any, Any]:
        out = self.xp.exp(x)
        return out, out

    def exp_backward(self, out: Any, dout: Any) -> tuple[Any, ...]:
        return (dout * out,)

    def log(self, x: Any) -> tuple[Any, Any]:
        return self.xp.log(x), x

    def log_backward(self, x: Any, dout: Any) -> tuple[Any, ...]:
        return (dout / x,)

    def sqrt(self, x: Any) -> tuple[Any, Any]:
        out = self.xp.sqrt(x)
        return out, out

    def sqrt_backward(self, out: Any, dout: Any) -> tuple[Any, ...]:
        return (dout / (2 * out),)

    def abs(self, x: Any) -> tuple[Any, Any]:
        return self.xp.abs(x), x

    def abs_backward(self, x: Any, dout: Any) -> tuple[Any, ...]:
        return (dout * self.xp.sign(x),)  # the subgradient at 0 is taken as 0

    def maximum(self, a: Any, b: Any) -> tuple[Any, Any]:
        return self.xp.maximum(a, b), (a, b)

    def maximum_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        a, b = saved
        return self._share(a, b, a > b, dout)

    def minimum(self, a: Any, b: Any) -> tuple[Any, Any]:
        return self.xp.minimum(a, b), (a, b)

    def minimum_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        a, b = saved
        return self._share(a, b, a < b, dout)

    def _share(self, a: Any, b: Any, a_wins: Any, dout: Any) -> tuple[Any, ...]:
        """Give the gradient to the winner; at a tie each gets one half, as in PyTorch."""
        xp = self.xp
        to_a = xp.where(a == b, dout * 0.5, xp.where(a_wins, dout, 0)).astype(dout.dtype, copy=False)
        return unbroadcast(to_a, shape_of(a)), unbroadcast(dout - to_a, shape_of(b))

    def clamp(self, x: Any, low: float | None, high: float | None) -> tuple[Any, Any]:
        if (low is None) != (high is None):  # CuPy's clip finds no bound of its own for bfloat16
            out = self.xp.minimum(x, high) if low is None else self.xp.maximum(x, low)
        else:
            out = self.xp.clip(x, low, high)
        return out, (x, low, high)

    def clamp_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        x, low, high = saved
        outside = self.xp.zeros(x.shape, dtype=bool)
        if low is not None:
            outside |= x < low
        if high is not None:
            outside |= x > high
        return (self.xp.where(outside, 0, dout).astype(dout.dtype, copy=False),)

    def where(self, condition: Any, a: Any, b: Any) -> tuple[Any, Any]:
        return self.xp.where(condition, a, b), (condition, shape_of(a), shape_of(b))

    def where_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        condition, shape_a, shape_b = saved
        zero = dout.dtype.type(0)
        return (
            None,
            unbroadcast(self.xp.where(condition, dout, zero), shape_a),
            unbroadcast(self.xp.where(condition, zero, dout), shape_b),
        )
