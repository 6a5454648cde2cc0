"""The rectifier on all cores, its gradient without a branch; in one pass over memory where kernels are compiled."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..reference.activation import Activations
from .compiled import activation as kernels
from .compiled import is_available
from .layout import CACHE_BYTES, as_line, channels_to_end, images, same_memory
from .masking import masked
from .normalization import from_rows, pieces
from .threads import for_each, slices


def rows_of(x: Any) -> Any:
    """(N, C, ...) as a matrix (M, C), a view; None where memory is not so, or the dtype is not one of the kernels'."""
    last = channels_to_end(x)
    served = x.size > 0 and x.dtype.kind == "f" and x.itemsize >= 4 and last.flags.c_contiguous
    return last.reshape(-1, x.shape[1]) if served else None


def _bias_relu_backward(rows: Any, grad_rows: Any, shape: tuple[int, ...]) -> tuple[Any, Any]:
    made, parts = np.empty_like(grad_rows), pieces(rows)
    totals = np.empty((len(parts), rows.shape[1]), rows.dtype)

    def mask(number: int) -> None:
        part = parts[number]
        kernels.bias_relu_backward(rows[part], grad_rows[part], made[part], totals[number])

    for_each(mask, range(len(parts)))
    return from_rows(made, shape), totals.sum(axis=0)


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
        if is_available() and out.dtype == dout.dtype and dout.dtype.kind == "f" and dout.itemsize >= 4:
            lines = [as_line(array) for array in (out, dout, dx)]
            if same_memory(out, dout) and all(line is not None for line in lines):
                parts = slices(out.size, CACHE_BYTES // out.itemsize)
                for_each(lambda part: kernels.relu_backward(*[line[part] for line in lines]), parts)
                return (dx,)

        def mask(part: slice) -> None:
            cut = out[part] <= 0
            masked(dout[part], np.logical_not(cut, out=cut), out=dx[part])

        for_each(mask, images(out))
        return (dx,)

    def bias_relu(self, x: Any, bias: Any) -> tuple[Any, Any]:
        if bias.dtype != x.dtype:
            return super().bias_relu(x, bias)
        rows = rows_of(x) if is_available() else None
        if rows is not None:
            made, per_channel = np.empty_like(rows), np.ascontiguousarray(bias)
            for_each(lambda part: kernels.bias_relu(rows[part], per_channel, made[part]), pieces(rows))
            out = from_rows(made, x.shape)
            return out, out
        out, by_channel = np.empty_like(x), bias.reshape((1, -1) + (1,) * (x.ndim - 2))

        def add(part: slice) -> None:
            np.maximum(np.add(x[part], by_channel, out=out[part]), 0, out=out[part])

        for_each(add, images(x))
        return out, out

    def bias_relu_backward(self, out: Any, dout: Any) -> tuple[Any, ...]:
        if dout.size == 0 or dout.dtype.kind != "f" or dout.itemsize < 4:
            return super().bias_relu_backward(out, dout)
        rows, grad_rows = (rows_of(out), rows_of(dout)) if is_available() and out.dtype == dout.dtype else (None, None)
        if rows is not None and grad_rows is not None:
            return _bias_relu_backward(rows, grad_rows, dout.shape)
        (dx,) = self.relu_backward(out, dout)
        rows = channels_to_end(dx).reshape(-1, dx.shape[1])  # no copy where the channels stand last
        return dx, rows.sum(axis=0)
