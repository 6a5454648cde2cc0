"""Pooling over windows of (N, C, H, W) arrays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..geometry import Pair, adaptive_bounds, output_size, window_bounds


class Pooling:
    """max_pool2d, avg_pool2d, adaptive_avg_pool2d."""

    xp: Any

    def max_pool2d(
        self,
        x: Any,
        kernel: Pair,
        stride: Pair,
        padding: Pair = (0, 0),
        dilation: Pair = (1, 1),
        ceil_mode: bool = False,
    ) -> tuple[Any, Any]:
        """The largest element of each window; the first one at a tie, and NaN where the window has one."""
        (best, _), saved = self.max_pool2d_with_indices(x, kernel, stride, padding, dilation, ceil_mode)
        return best, saved

    def max_pool2d_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        return self.max_pool2d_with_indices_backward(saved, dout)

    def max_pool2d_with_indices(
        self,
        x: Any,
        kernel: Pair,
        stride: Pair,
        padding: Pair = (0, 0),
        dilation: Pair = (1, 1),
        ceil_mode: bool = False,
    ) -> tuple[Any, Any]:
        """out = (maxima, their positions in the plane, row * W + column, int64), both (N, C, OH, OW)."""
        xp = self.xp
        n, c, height, width = x.shape
        out_size = output_size((height, width), kernel, stride, padding, dilation, ceil_mode)
        best = xp.full((n, c, *out_size), -xp.inf, dtype=x.dtype)
        winners = xp.full((n, c, *out_size), -1, dtype=xp.int64)
        plane = xp.arange(height * width, dtype=xp.int64).reshape(height, width)
        for outputs, inputs in self._kernel_places((height, width), out_size, kernel, stride, padding, dilation):
            value, place, rival = x[:, :, *inputs], plane[inputs], best[:, :, *outputs]
            incumbent = winners[:, :, *outputs]
            # ~(value <= rival) is true for a larger value and for NaN on either side; a NaN that came first stays.
            wins = (incumbent < 0) | (~(value <= rival) & (rival == rival))
            best[:, :, *outputs] = xp.where(wins, value, rival)
            winners[:, :, *outputs] = xp.where(wins, place, incumbent)
        return (best, winners), (x.shape, winners, kernel, stride, padding, dilation)

    def max_pool2d_with_indices_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        """A place of the kernel at a time, so that windows that overlap add up in a fixed order."""
        xp = self.xp
        shape, winners, kernel, stride, padding, dilation = saved
        plane = xp.arange(shape[2] * shape[3], dtype=xp.int64).reshape(shape[2:])
        dx = xp.zeros(shape, dtype=dout.dtype)
        places = self._kernel_places(shape[2:], dout.shape[2:], kernel, stride, padding, dilation)
        for outputs, inputs in places:
            won = winners[:, :, *outputs] == plane[inputs]
            dx[:, :, *inputs] += xp.where(won, dout[:, :, *outputs], dout.dtype.type(0))
        return (dx,)

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
        """The sum of each window over the number of its elements (or over ``divisor_override``)."""
        xp = self.xp
        size = x.shape[2:]
        out_size = output_size(size, kernel, stride, padding, (1, 1), ceil_mode)
        divisor = self._divisor(size, out_size, kernel, stride, padding, count_include_pad, divisor_override, x.dtype)
        total = xp.zeros((*x.shape[:2], *out_size), dtype=x.dtype)
        for outputs, inputs in self._kernel_places(size, out_size, kernel, stride, padding, (1, 1)):
            total[:, :, *outputs] += x[:, :, *inputs]
        return total / divisor, (x.shape, divisor, kernel, stride, padding)

    def avg_pool2d_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        shape, divisor, kernel, stride, padding = saved
        share = dout / divisor
        dx = self.xp.zeros(shape, dtype=dout.dtype)
        for outputs, inputs in self._kernel_places(shape[2:], dout.shape[2:], kernel, stride, padding, (1, 1)):
            dx[:, :, *inputs] += share[:, :, *outputs]
        return (dx,)

    def adaptive_avg_pool2d(self, x: Any, out_size: Pair) -> tuple[Any, Any]:
        """The means of OH x OW cells that cover the plane; neighbours overlap where the division leaves a rest."""
        xp = self.xp
        cells = [
            x[:, :, top:bottom, left:right].mean(axis=(2, 3))
            for top, bottom in adaptive_bounds(x.shape[2], out_size[0])
            for left, right in adaptive_bounds(x.shape[3], out_size[1])
        ]
        return xp.stack(cells, axis=2).reshape(*x.shape[:2], *out_size), (x.shape, out_size)

    def adaptive_avg_pool2d_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        shape, out_size = saved
        dx = self.xp.zeros(shape, dtype=dout.dtype)
        for i, (top, bottom) in enumerate(adaptive_bounds(shape[2], out_size[0])):
            for j, (left, right) in enumerate(adaptive_bounds(shape[3], out_size[1])):
                share = dout[:, :, i, j] / ((bottom - top) * (right - left))
                dx[:, :, top:bottom, left:right] += share[:, :, None, None]
        return (dx,)

    @staticmethod
    def _kernel_places(
        size: Pair, out_size: Pair, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair
    ) -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice]]]:
        """For each place of the kernel: the outputs whose window has that place inside the input, and those inputs."""

        def matches(axis: int, place: int) -> tuple[slice, slice]:
            offset, step = place * dilation[axis] - padding[axis], stride[axis]
            first = max(0, -(offset // step))  # the least i with i * step + offset >= 0
            last = min(out_size[axis], (size[axis] - 1 - offset) // step + 1)
            last = max(first, last)
            begin = first * step + offset
            return slice(first, last), slice(begin, begin + (last - first) * step, step)

        for u in range(kernel[0]):
            rows_out, rows_in = matches(0, u)
            for v in range(kernel[1]):
                columns_out, columns_in = matches(1, v)
                yield (rows_out, columns_out), (rows_in, columns_in)

    def _divisor(
        self,
        size: Pair,
        out_size: Pair,
        kernel: Pair,
        stride: Pair,
        padding: Pair,
        count_include_pad: bool,
        override: int | None,
        dtype: Any,
    ) -> Any:
        """How many elements each window has: shape (OH, OW). Padding counts on request, an overhang never."""
        if override is not None:
            return self.xp.full(out_size, override, dtype=dtype)
        lengths = []
        for axis in range(2):
            if count_include_pad:  # as if the padding were input: the origin moves to the first padded element
                padded = size[axis] + 2 * padding[axis]
                bounds = window_bounds(padded, out_size[axis], kernel[axis], stride[axis], 0)
            else:
                bounds = window_bounds(size[axis], out_size[axis], kernel[axis], stride[axis], padding[axis])
            lengths.append(self.xp.asarray([end - start for start, end in bounds], dtype=dtype))
        return lengths[0][:, None] * lengths[1][None, :]
