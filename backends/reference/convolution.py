"""Two-dimensional convolution (cross-correlation, as in every framework) by windows and one tensor product.

y[n, o, i, j] = b[o] + sum over c, u, v of w[o, c, u, v] * x[n, c, i * stride + u * dilation - padding, ...], for each group
of channels by itself; V. Dumoulin and F. Visin, "A guide to convolution arithmetic for deep learning", 2016.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..geometry import Pair, effective_kernel
from .reduction import accumulator

Needs = tuple[bool, ...]


def windows(xp: Any, x: Any, kernel: Pair, stride: Pair, dilation: Pair) -> Any:
    """All windows of a padded (N, C, H, W) array as a view of shape (N, C, OH, OW, KH, KW); no element is copied."""
    n, c, height, width = x.shape
    span = effective_kernel(kernel, dilation)
    out = tuple((size - k) // s + 1 for size, k, s in zip((height, width), span, stride, strict=True))
    sn, sc, sh, sw = x.strides
    return xp.lib.stride_tricks.as_strided(
        x,
        (n, c, *out, *kernel),
        (sn, sc, sh * stride[0], sw * stride[1], sh * dilation[0], sw * dilation[1]),
    )


class Convolution:
    xp: Any
    bias_relu: Callable[..., Any]
    bias_relu_backward: Callable[..., Any]

    def conv2d(
        self,
        x: Any,
        weight: Any,
        bias: Any,
        stride: Pair = (1, 1),
        padding: Pair = (0, 0),
        dilation: Pair = (1, 1),
        groups: int = 1,
    ) -> tuple[Any, Any]:
        """x (N, C, H, W), weight (O, C / groups, KH, KW), bias (O) or None: (N, O, OH, OW)."""
        xp = self.xp
        window = (stride, padding, dilation, groups)
        saved = (x, weight, bias is not None, *window)
        if accumulator(x.dtype) != x.dtype:  # half precision is added up in float32 and rounded once
            wide_x, wide_weight, wide_bias = (
                v if v is None else v.astype(accumulator(v.dtype)) for v in (x, weight, bias)
            )
            out, _ = Convolution.conv2d(self, wide_x, wide_weight, wide_bias, *window)
            return out.astype(x.dtype), saved
        grouped = self._group_windows(x, weight.shape[2:], stride, padding, dilation, groups)
        filters = weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])
        # n batch, g group, c channel in, o channel out, i j output place, u v kernel place
        out = xp.einsum("ngcijuv,gocuv->ngoij", grouped, filters, optimize=True)
        out = out.reshape(x.shape[0], weight.shape[0], *out.shape[3:])
        if bias is not None:
            out = out + bias[:, None, None]
        return out, saved

    def conv2d_backward(self, saved: Any, dout: Any, needs: Needs = (True, True, True)) -> tuple[Any, ...]:
        xp = self.xp
        x, weight, has_bias, stride, padding, dilation, groups = saved
        if accumulator(x.dtype) != x.dtype:
            wide = [v.astype(accumulator(v.dtype)) for v in (x, weight, dout)]
            gradients = Convolution.conv2d_backward(self, (*wide[:2], *saved[2:]), wide[2], needs)
            return tuple(None if g is None else g.astype(x.dtype) for g in gradients)
        kernel = weight.shape[2:]
        per_group = dout.reshape(dout.shape[0], groups, dout.shape[1] // groups, *dout.shape[2:])
        grad_x = grad_weight = grad_bias = None
        if needs[0]:
            filters = weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])
            grad_windows = xp.einsum("ngoij,gocuv->ngcijuv", per_group, filters, optimize=True)
            grad_windows = grad_windows.reshape(x.shape[0], x.shape[1], *dout.shape[2:], *kernel)
            grad_x = self._fold(grad_windows, x.shape, stride, padding, dilation)
        if needs[1]:
            grouped = self._group_windows(x, kernel, stride, padding, dilation, groups)
            grad_weight = xp.einsum("ngcijuv,ngoij->gocuv", grouped, per_group, optimize=True).reshape(weight.shape)
        if has_bias and needs[2]:
            grad_bias = dout.sum(axis=(0, 2, 3))
        return grad_x, grad_weight, grad_bias

    def conv2d_relu(
        self,
        x: Any,
        weight: Any,
        bias: Any,
        stride: Pair = (1, 1),
        padding: Pair = (0, 0),
        dilation: Pair = (1, 1),
        groups: int = 1,
    ) -> tuple[Any, Any]:
        """relu(conv2d(...)) with a bias (O), in fewer passes over memory where a device can."""
        out, saved = self.conv2d(x, weight, None, stride, padding, dilation, groups)
        out, rectified = self.bias_relu(out, bias)
        return out, (saved, rectified)

    def conv2d_relu_backward(self, saved: Any, dout: Any, needs: Needs = (True, True, True)) -> tuple[Any, ...]:
        convolved, rectified = saved
        grad_out, grad_bias = self.bias_relu_backward(rectified, dout)
        grad_x, grad_weight, _ = self.conv2d_backward(convolved, grad_out, (*needs[:2], False))
        return grad_x, grad_weight, grad_bias

    def _group_windows(self, x: Any, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> Any:
        (top, left), xp = padding, self.xp
        padded = xp.pad(x, ((0, 0), (0, 0), (top, top), (left, left))) if top or left else x
        views = windows(xp, padded, kernel, stride, dilation)
        return views.reshape(x.shape[0], groups, x.shape[1] // groups, *views.shape[2:])

    def _fold(self, grad_windows: Any, shape: tuple[int, ...], stride: Pair, padding: Pair, dilation: Pair) -> Any:
        """The transpose of taking windows: every element sums the gradients of all windows it was seen in."""
        n, c, height, width = shape
        out_height, out_width, kernel_height, kernel_width = grad_windows.shape[2:]
        padded = self.xp.zeros((n, c, height + 2 * padding[0], width + 2 * padding[1]), dtype=grad_windows.dtype)
        for u in range(kernel_height):
            for v in range(kernel_width):
                top, left = u * dilation[0], v * dilation[1]
                rows = slice(top, top + out_height * stride[0], stride[0])
                columns = slice(left, left + out_width * stride[1], stride[1])
                padded[:, :, rows, columns] += grad_windows[..., u, v]
        return padded[:, :, padding[0] : padding[0] + height, padding[1] : padding[1] + width]
