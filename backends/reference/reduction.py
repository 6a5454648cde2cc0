"""Reductions: many elements to one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..dtypes import is_floating

FLOAT32 = np.dtype("float32")
Axes = int | tuple[int, ...] | None


def spread(reduced: Any, shape: tuple[int, ...], axis: Axes) -> Any:
    """Give a reduced array its lost axes back, with length 1, so that it broadcasts against ``shape``."""
    axes = range(len(shape)) if axis is None else (axis,) if isinstance(axis, int) else axis
    lost = {a % len(shape) for a in axes} if shape else set()
    return reduced.reshape(tuple(1 if i in lost else n for i, n in enumerate(shape)))


def accumulator(dtype: Any) -> Any:
    """The dtype to add up in: float32 for half precision, which ends at 65,504, else the dtype itself."""
    return FLOAT32 if dtype.itemsize == 2 and is_floating(dtype) else dtype


class Reductions:
    """sum, mean, amax, amin (a tie shares the gradient), max_along, min_along (the first index takes it), logsumexp."""

    xp: Any

    def sum(self, x: Any, axis: Axes = None, keepdims: bool = False) -> tuple[Any, Any]:
        if is_floating(x.dtype):
            out = self.xp.sum(x, axis=axis, keepdims=keepdims, dtype=accumulator(x.dtype)).astype(x.dtype, copy=False)
        else:
            out = self.xp.sum(x, axis=axis, keepdims=keepdims, dtype=self.xp.int64)
        return out, (x.shape, axis)

    def sum_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        shape, axis = saved
        return (self.xp.broadcast_to(spread(dout, shape, axis), shape),)

    def mean(self, x: Any, axis: Axes = None, keepdims: bool = False) -> tuple[Any, Any]:
        # A sum divided by the count, and not xp.mean, which warns about an empty input; 0/0 is NaN, as in PyTorch.
        total = self.xp.sum(x, axis=axis, keepdims=keepdims, dtype=accumulator(x.dtype))
        count = x.size // max(total.size, 1) if x.size else 0
        out = (total / count if count else total * math.nan).astype(x.dtype, copy=False)
        return out, (x.shape, axis, count)

    def mean_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        shape, axis, count = saved
        return (self.xp.broadcast_to(spread(dout / max(count, 1), shape, axis), shape),)

    def amax(self, x: Any, axis: Axes = None, keepdims: bool = False) -> tuple[Any, Any]:
        out = self.xp.max(x, axis=axis, keepdims=keepdims)
        return out, (x, out, axis)

    def amax_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        x, out, axis = saved
        peak = spread(out, x.shape, axis)
        winners = ((x == peak) | ((x != x) & (peak != peak))).astype(dout.dtype)  # NaN is its own winner
        return (winners * (spread(dout, x.shape, axis) / winners.sum(axis=axis, keepdims=True)),)

    def amin(self, x: Any, axis: Axes = None, keepdims: bool = False) -> tuple[Any, Any]:
        out = self.xp.min(x, axis=axis, keepdims=keepdims)
        return out, (x, out, axis)

    def amin_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        return self.amax_backward(saved, dout)

    def max_along(self, x: Any, axis: int, keepdims: bool = False) -> tuple[Any, Any]:
        """The maximum along one axis and the index of its first place: out = (values, indices)."""
        indices = self.xp.argmax(x, axis=axis)
        return self._at(x, indices, axis, keepdims)

    def max_along_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        xp = self.xp
        shape, indices, axis = saved
        places = xp.arange(shape[axis]).reshape([-1 if i == axis % len(shape) else 1 for i in range(len(shape))])
        chosen = places == indices
        return (xp.where(chosen, spread(dout, shape, axis), dout.dtype.type(0)),)

    def min_along(self, x: Any, axis: int, keepdims: bool = False) -> tuple[Any, Any]:
        indices = self.xp.argmin(x, axis=axis)
        return self._at(x, indices, axis, keepdims)

    def min_along_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        return self.max_along_backward(saved, dout)

    def _at(self, x: Any, indices: Any, axis: int, keepdims: bool) -> tuple[Any, Any]:
        kept = self.xp.expand_dims(indices, axis)
        values = self.xp.take_along_axis(x, kept, axis=axis)
        out = (values, kept) if keepdims else (values.squeeze(axis), indices)
        return out, (x.shape, kept, axis)

    def logsumexp(self, x: Any, axis: Axes, keepdims: bool = False) -> tuple[Any, Any]:
        """log(sum(exp(x))), shifted by the maximum so that no exponential overflows."""
        xp = self.xp
        peak = xp.max(x, axis=axis, keepdims=True)
        shift = xp.where(xp.isfinite(peak), peak, 0).astype(x.dtype, copy=False)  # inf - inf would be NaN
        out = xp.log(xp.sum(xp.exp(x - shift), axis=axis, keepdims=True)) + shift
        return (out if keepdims else xp.squeeze(out, axis=axis)), (x, out)

    def logsumexp_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        x, out = saved
        return (dout.reshape(out.shape) * self.xp.exp(x - out),)
