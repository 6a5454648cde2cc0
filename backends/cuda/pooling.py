"""Pooling as kernels, in the memory order of the input: forward a thread a window, backward as a gather."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..geometry import Pair, output_size
from ..reference.pooling import Pooling
from .layout import BLOCK, blocks_for, is_channels_last
from .program import is_served
from .runtime import Runtime
from .windows import LARGEST_INT, Windows, from_memory, packs, to_memory

MOST_PLACES = 255  # of a kernel, to be numbered by a byte
WARP = 32


class MaxPooled(NamedTuple):
    """What the gradient of max pooling needs.

    Attributes:
        planes: (N, C).
        winners: of each window as memory has them: uint8, which element of the kernel; int64, where in the plane.
    """

    windows: Windows
    planes: tuple[int, ...]
    channels_last: bool
    winners: Any


class AveragePooled(NamedTuple):
    """What the gradient of average pooling needs."""

    windows: Windows
    planes: tuple[int, ...]
    channels_last: bool
    count_include_pad: bool
    divisor: int


class AdaptivelyPooled(NamedTuple):
    """What the gradient of adaptive average pooling needs: ``shape`` is the input's in memory."""

    shape: tuple[int, ...]
    out_size: Pair
    planes: tuple[int, ...]
    channels_last: bool


class KernelPooling(Pooling):
    runtime: Runtime
    launch: Any

    def max_pool2d(
        self,
        x: Any,
        kernel: Pair,
        stride: Pair,
        padding: Pair = (0, 0),
        dilation: Pair = (1, 1),
        ceil_mode: bool = False,
    ) -> tuple[Any, Any]:
        windows = _windows(x, kernel, stride, padding, dilation, ceil_mode)
        if kernel[0] * kernel[1] > MOST_PLACES or not is_served(x.dtype) or not windows.fit_in_int():
            return super().max_pool2d(x, kernel, stride, padding, dilation, ceil_mode)
        (out, _), saved = self._max_pool("max_pool_forward", x, windows, "uint8")
        return out, saved

    def max_pool2d_with_indices(
        self,
        x: Any,
        kernel: Pair,
        stride: Pair,
        padding: Pair = (0, 0),
        dilation: Pair = (1, 1),
        ceil_mode: bool = False,
    ) -> tuple[Any, Any]:
        windows = _windows(x, kernel, stride, padding, dilation, ceil_mode)
        if not is_served(x.dtype) or not windows.fit_in_int():
            return super().max_pool2d_with_indices(x, kernel, stride, padding, dilation, ceil_mode)
        return self._max_pool("max_pool_with_indices_forward", x, windows, "int64")

    def max_pool2d_with_indices_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        if not isinstance(saved, MaxPooled):
            return super().max_pool2d_with_indices_backward(saved, dout)
        windows, planes, channels_last, winners = saved
        gradient = to_memory(self.xp, dout, channels_last)
        dx = self.runtime.output((windows.images, *windows.size, windows.channels), dout.dtype)
        by_place = winners.dtype == "uint8"
        kernel = "max_pool_backward" if by_place else "max_pool_with_indices_backward"
        blocks = blocks_for(windows.cells(dx.itemsize))
        arguments = (gradient, winners, dx, *windows.arguments())
        self.launch("max_pooling", kernel, dout.dtype, blocks, BLOCK, arguments)
        return (from_memory(self.xp, dx, planes, channels_last),)

    def _max_pool(self, kernel: str, x: Any, windows: Windows, numbers: str) -> tuple[Any, Any]:
        planes, channels_last = x.shape[:2], is_channels_last(x)
        memory = to_memory(self.xp, x, channels_last)
        shape = (windows.images, *windows.out_size, windows.channels)
        out, winners = self.runtime.output(shape, x.dtype), self.runtime.output(shape, numbers)
        blocks = blocks_for(windows.outputs(x.itemsize))
        self.launch("max_pooling", kernel, x.dtype, blocks, BLOCK, (memory, out, winners, *windows.arguments()))
        results = tuple(from_memory(self.xp, result, planes, channels_last) for result in (out, winners))
        return results, MaxPooled(windows, planes, channels_last, winners)

    def avg_pool2d(
        self,
        x: Any,
        kernel: Pair,
        stride: Pair,
        padding: Pair = (0, 0),
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> tuple[Any, Any]:
        windows = _windows(x, kernel, stride, padding, (1, 1), ceil_mode)
        if not is_served(x.dtype) or not windows.fit_in_int():
            return super().avg_pool2d(x, kernel, stride, padding, ceil_mode, count_include_pad, divisor_override)
        planes, channels_last = x.shape[:2], is_channels_last(x)
        saved = AveragePooled(windows, planes, channels_last, count_include_pad, divisor_override or 0)
        memory = to_memory(self.xp, x, channels_last)
        out = self.runtime.output((windows.images, *windows.out_size, windows.channels), x.dtype)
        blocks = blocks_for(windows.outputs(x.itemsize))
        arguments = (memory, out, *windows.arguments(), saved.count_include_pad, saved.divisor)
        self.launch("average_pooling", "average_pool_forward", x.dtype, blocks, BLOCK, arguments)
        return from_memory(self.xp, out, planes, channels_last), saved

    def avg_pool2d_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        if not isinstance(saved, AveragePooled):
            return super().avg_pool2d_backward(saved, dout)
        windows, planes, channels_last, count_include_pad, divisor = saved
        gradient = to_memory(self.xp, dout, channels_last)
        dx = self.runtime.output((windows.images, *windows.size, windows.channels), dout.dtype)
        blocks = blocks_for(windows.cells(dx.itemsize))
        arguments = (gradient, dx, *windows.arguments(), count_include_pad, divisor)
        self.launch("average_pooling", "average_pool_backward", dout.dtype, blocks, BLOCK, arguments)
        return (from_memory(self.xp, dx, planes, channels_last),)

    def adaptive_avg_pool2d(self, x: Any, out_size: Pair) -> tuple[Any, Any]:
        height, width = x.shape[2:]
        # The bounds of the cells are quotients of these products.
        largest = max(x.shape[1], height * width, (height + 1) * (out_size[0] + 1), (width + 1) * (out_size[1] + 1))
        if not is_served(x.dtype) or largest > LARGEST_INT:
            return super().adaptive_avg_pool2d(x, out_size)
        planes, channels_last = x.shape[:2], is_channels_last(x)
        memory = to_memory(self.xp, x, channels_last)
        images, channels = memory.shape[0], memory.shape[3]
        out = self.runtime.output((images, *out_size, channels), x.dtype)
        if channels == 1 and height * width >= WARP * out_size[0] * out_size[1]:
            kernel, threads = "adaptive_average_pool_forward_by_warp", out.size * WARP
            arguments: tuple[Any, ...] = (memory, out, images, height, width, *out_size)
        else:
            kernel = "adaptive_average_pool_forward"
            threads = images * out_size[0] * out_size[1] * packs(channels, x.itemsize)
            arguments = (memory, out, images, channels, height, width, *out_size)
        self.launch("average_pooling", kernel, x.dtype, blocks_for(threads), BLOCK, arguments)
        saved = AdaptivelyPooled(memory.shape, out_size, planes, channels_last)
        return from_memory(self.xp, out, planes, channels_last), saved

    def adaptive_avg_pool2d_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        if not isinstance(saved, AdaptivelyPooled):
            return super().adaptive_avg_pool2d_backward(saved, dout)
        images, height, width, channels = saved.shape
        gradient = to_memory(self.xp, dout, saved.channels_last)
        dx = self.runtime.output(saved.shape, dout.dtype)
        blocks = blocks_for(images * height * width * packs(channels, dx.itemsize))
        arguments = (gradient, dx, images, channels, height, width, *saved.out_size)
        self.launch("average_pooling", "adaptive_average_pool_backward", dout.dtype, blocks, BLOCK, arguments)
        return (from_memory(self.xp, dx, saved.planes, saved.channels_last),)


def _windows(x: Any, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool) -> Windows:
    """The windows over x as it lies in memory."""
    n, c, *size = x.shape
    out_size = output_size((size[0], size[1]), kernel, stride, padding, dilation, ceil_mode)
    images, channels = (n, c) if is_channels_last(x) else (n * c, 1)
    return Windows(images, channels, (size[0], size[1]), out_size, kernel, stride, padding, dilation)
