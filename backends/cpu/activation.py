"""The rectifier on all cores, its gradient without a branch."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..reference.activation import Activations
from .layout import images
from .masking import masked
from .threads import for_each


class BranchlessActivations(Activations):
    def relu(self, x: Any) -> tuple[Any, Any]:
        if x.ndim < 2:
            return super().relu(x)
        out = np.empty_like(x)  # in the memory order of x

        def rectify(part: slice) -> None:
            np.maximum(x[part], 0, out=out[part])

        for_each(rectify, images(x))
        return out, out

    def relu_backward(self, out: Any, dout: Any) -> tuple[Any, ...]:
        if out.ndim < 2:
            return super().relu_backward(out, dout)
        dx = np.empty_like(dout)

        def mask(part: slice) -> None:
            cut = out[part] <= 0
            masked(dout[part], np.logical_not(cut, out=cut), out=dx[part])

        for_each(mask, images(out))
        return (dx,)

    def bias_relu(self, x: Any, bias: Any) -> tuple[Any, Any]:
        if bias.dtype != x.dtype:
            return super().bias_relu(x, bias)
        out, by_channel = np.empty_like(x), bias.reshape((1, -1) + (1,) * (x.ndim - 2))

        def add(part: slice) -> None:
            np.maximum(np.add(x[part], by_channel, out=out[part]), 0, out=out[part])

        for_each(add, images(x))
        return out, out

    def bias_relu_backward(self, out: Any, dout: Any) -> tuple[Any, ...]:
        if dout.size == 0 or dout.dtype.kind != "f" or dout.itemsize < 4:
            return super().bias_relu_backward(out, dout)
        (dx,) = self.relu_backward(out, dout)
        rows = np.moveaxis(dx, 1, -1).reshape(-1, dx.shape[1])  # no copy where the channels stand last
        return dx, rows.sum(axis=0)
