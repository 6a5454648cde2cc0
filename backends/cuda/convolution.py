"""Convolution in channels-last memory: by cuDNN where it is installed and serves, else by im2col and matrix products."""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

from ..geometry import Pair, output_size
from ..reference.convolution import Convolution, Needs
from .cudnn import Unsupported, connect
from .im2col import MatrixConvolution
from .layout import channels_first, channels_last
from .program import is_served
from .runtime import Runtime
from .windows import Windows


class Convolved(NamedTuple):
    """What the gradients need: image (N, H, W, C), filters (O, KH, KW, C / groups)."""

    image: Any
    filters: Any
    has_bias: bool
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int


class KernelConvolution(Convolution):
    runtime: Runtime
    launch: Any
    zeros: Any
    _add_bias_: Any
    _row_sums: Any

    @cached_property
    def cudnn(self) -> Any:
        """cuDNN's convolutions, or None."""
        return connect(self.runtime)

    def zero_filters(self, shape: tuple[int, ...], dtype: Any) -> Any:
        out, channels, *kernel = shape
        return channels_first(self.xp, self.zeros((out, *kernel, channels), dtype))

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
        if not _is_served(x, weight, stride, padding, dilation):
            return super().conv2d(x, weight, bias, stride, padding, dilation, groups)
        image, filters = channels_last(self.xp, x), channels_last(self.xp, weight)
        out = self._first_way("forward", image, filters, stride, padding, dilation, groups)
        if bias is not None:
            self._add_bias_(out.reshape(-1, out.shape[3]), bias)
        saved = Convolved(image, filters, bias is not None, stride, padding, dilation, groups)
        return channels_first(self.xp, out), saved

    def conv2d_backward(self, saved: Any, dout: Any, needs: Needs = (True, True, True)) -> tuple[Any, ...]:
        if not isinstance(saved, Convolved):
            return super().conv2d_backward(saved, dout, needs)
        image, filters, has_bias, *geometry = saved
        gradient = channels_last(self.xp, dout)
        grad_x = grad_weight = grad_bias = None
        if needs[0]:
            grad_image = self._first_way("input_gradient", gradient, filters, image.shape, *geometry)
            grad_x = channels_first(self.xp, grad_image)
        if needs[1]:
            grad_filters = self._first_way("weight_gradient", image, gradient, filters.shape, *geometry)
            grad_weight = channels_first(self.xp, grad_filters)
        if has_bias and needs[2]:
            grad_bias = self._row_sums(gradient.reshape(-1, gradient.shape[3]))
        return grad_x, grad_weight, grad_bias

    def _first_way(self, product: str, *arguments: Any) -> Any:
        """One of the three products of a convolution, by the first way that serves it."""
        if self.cudnn is not None:
            try:
                return getattr(self.cudnn, product)(*arguments)
            except Unsupported:
                pass
        return getattr(self._by_matrices, product)(*arguments)

    @cached_property
    def _by_matrices(self) -> MatrixConvolution:
        return MatrixConvolution(self.runtime, self.launch)


def _is_served(x: Any, weight: Any, stride: Pair, padding: Pair, dilation: Pair) -> bool:
    if not is_served(x.dtype) or x.dtype != weight.dtype or 0 in (x.shape[1], weight.shape[0]):
        return False
    n, channels, *size = x.shape
    kernel = (weight.shape[2], weight.shape[3])
    out_size = output_size((size[0], size[1]), kernel, stride, padding, dilation)
    windows = Windows(n, channels, (size[0], size[1]), out_size, kernel, stride, padding, dilation)
    return windows.fit_in_int()
