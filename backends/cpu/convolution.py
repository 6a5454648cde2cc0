"""Convolution as a matrix product over windows: im2col and GEMM, a few images at a time.

K. Chellapilla, S. Puri and P. Simard, "High performance convolutional neural networks for document processing", 2006.
The windows of a few images fill the cache, are multiplied there and overwritten by the next few; backward gathers them
again, which costs less than to keep nine copies of each activation in memory.

Two orders of the same windows serve: a row a window (channels last: a window is a few long runs), and, where the channels
are few, a row a place in the kernel (each row runs along whole image rows).
"""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np

from ..geometry import Pair, effective_kernel, output_size
from ..reference.convolution import Convolution, Needs
from ..reference.reduction import accumulator
from .layout import channels_first, channels_last
from .threads import for_each, slices

COLUMN_BYTES = 2 << 20  # of windows at a time, for each thread
PARTIAL_SUMS = 4  # of the weights' gradient: enough to share among a few threads, few enough to keep in memory
FEW_CHANNELS = 4
MANY_GROUPS = 8  # from here on the einsum of the reference is quicker than a product a group


class ChannelsLastConvolution(Convolution):
    def zero_filters(self, shape: tuple[int, ...], dtype: Any) -> Any:
        out, channels, *kernel = shape
        return channels_first(np.zeros((out, *kernel, channels), dtype))

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
        if accumulator(x.dtype) != x.dtype:  # half precision is added up in float32, which also is what BLAS has
            wide_x, wide_weight, wide_bias = (
                v if v is None else v.astype(accumulator(x.dtype)) for v in (x, weight, bias)
            )
            out, saved = self.conv2d(wide_x, wide_weight, wide_bias, stride, padding, dilation, groups)
            return out.astype(x.dtype), ("half", saved)
        if groups > MANY_GROUPS or x.size == 0 or weight.size == 0:
            out, saved = super().conv2d(x, weight, bias, stride, padding, dilation, groups)
            return out, ("reference", saved)
        if groups > 1:
            return self._grouped(x, weight, bias, stride, padding, dilation, groups)
        windows = _Windows(x, weight.shape[2:], stride, padding, dilation)
        matrix = windows.weight_matrix(weight)
        out = np.empty((x.shape[0], *windows.out_size, weight.shape[0]), np.result_type(x, weight))

        def multiply(part: slice) -> None:
            rows = out[part].reshape(-1, weight.shape[0])
            np.matmul(windows.gather(part), matrix.T, out=rows)
            if bias is not None:
                rows += bias

        for_each(multiply, windows.parts())
        return channels_first(out), ("windows", x, weight, bias is not None, stride, padding, dilation)

    def conv2d_backward(self, saved: Any, dout: Any, needs: Needs = (True, True, True)) -> tuple[Any, ...]:
        kind, *rest = saved
        if kind == "reference":
            return super().conv2d_backward(rest[0], dout, needs)
        if kind == "half":
            gradients = self.conv2d_backward(rest[0], dout.astype(accumulator(dout.dtype)), needs)
            return tuple(None if g is None else g.astype(dout.dtype) for g in gradients)
        if kind == "groups":
            return self._grouped_backward(rest[0], dout, needs)
        x, weight, has_bias, stride, padding, dilation = rest
        windows = _Windows(x, weight.shape[2:], stride, padding, dilation)
        grad_out = channels_last(dout)
        return (
            self._input_gradient(windows, weight, grad_out) if needs[0] else None,
            self._weight_gradient(windows, weight, grad_out) if needs[1] else None,
            grad_out.reshape(-1, weight.shape[0]).sum(axis=0) if has_bias and needs[2] else None,
        )

    def _weight_gradient(self, windows: _Windows, weight: Any, grad_out: Any) -> Any:
        parts = windows.parts()

        def add_up(some: slice) -> Any:
            total = None
            for part in parts[some]:
                product = grad_out[part].reshape(-1, weight.shape[0]).T @ windows.gather(part)
                total = product if total is None else np.add(total, product, out=total)
            return total

        sums = for_each(add_up, slices(len(parts), -(-len(parts) // PARTIAL_SUMS)))
        for partial in sums[1:]:
            sums[0] += partial
        return windows.weight_from_matrix(sums[0], weight.shape)

    def _input_gradient(self, windows: _Windows, weight: Any, grad_out: Any) -> Any:
        """With stride 1 it is the convolution of the output's gradient with the flipped filters, else a scatter."""
        extent = effective_kernel(windows.kernel, windows.dilation)
        around = (extent[0] - 1 - windows.padding[0], extent[1] - 1 - windows.padding[1])
        if windows.stride == (1, 1) and min(around) >= 0:
            flipped = weight.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1]
            return self.conv2d(channels_first(grad_out), flipped, None, (1, 1), around, windows.dilation)[0]
        matrix = windows.weight_matrix(weight)
        grad_x = windows.zero_gradient()

        def scatter(part: slice) -> None:
            windows.scatter(grad_out[part].reshape(-1, weight.shape[0]), matrix, grad_x[part])

        for_each(scatter, windows.parts())
        return windows.unpadded(grad_x)

    def _grouped(
        self, x: Any, weight: Any, bias: Any, stride: Pair, padding: Pair, dilation: Pair, groups: int
    ) -> tuple[Any, Any]:
        parts = zip(
            np.split(x, groups, axis=1),
            np.split(weight, groups),
            [None] * groups if bias is None else np.split(bias, groups),
            strict=True,
        )
        results = [self.conv2d(*part, stride, padding, dilation) for part in parts]
        out = np.concatenate([out.transpose(0, 2, 3, 1) for out, _ in results], axis=3)
        return channels_first(out), ("groups", [saved for _, saved in results])

    def _grouped_backward(self, saved: Any, dout: Any, needs: Needs) -> tuple[Any, ...]:
        parts = [
            self.conv2d_backward(one, gradient, needs)
            for one, gradient in zip(saved, np.split(dout, len(saved), axis=1), strict=True)
        ]
        grads_x, grads_weight, grads_bias = zip(*parts, strict=True)
        return (
            channels_first(np.concatenate([g.transpose(0, 2, 3, 1) for g in grads_x], axis=3)) if needs[0] else None,
            np.concatenate(grads_weight) if needs[1] else None,
            None if grads_bias[0] is None else np.concatenate(grads_bias),
        )


def _buffer(shape: tuple[int, ...], dtype: Any) -> Any:
    """Uninitialized memory that belongs to this thread and is used again by its next call."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = getattr(_own, "memory", None)
    if memory is None or memory.nbytes < size:
        memory = _own.memory = np.empty(size, np.uint8)
    return memory[:size].view(dtype).reshape(shape)


_own = threading.local()


class _Windows:
    """The windows of one input, gathered into matrices of (places, kernel elements) and scattered back."""

    def __init__(self, x: Any, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair) -> None:
        n, channels, height, width = x.shape
        self.kernel, self.stride, self.padding, self.dilation = kernel, stride, padding, dilation
        self.out_size = output_size((height, width), kernel, stride, padding, dilation)
        self.by_place = channels <= FEW_CHANNELS
        self.size = (height, width)
        columns_per_image = self.out_size[0] * self.out_size[1] * kernel[0] * kernel[1] * channels
        self.step = max(1, min(n, COLUMN_BYTES // max(1, columns_per_image * x.itemsize)))
        self.x = x if self.by_place else x.transpose(0, 2, 3, 1)

    def weight_matrix(self, weight: Any) -> Any:
        """(O, C, KH, KW) as (O, K), K in the order of the columns."""
        if self.by_place:
            return np.ascontiguousarray(weight).reshape(weight.shape[0], -1)
        rows = weight.transpose(0, 2, 3, 1)
        if rows.flags.c_contiguous:
            return rows.reshape(len(rows), -1)
        matrix = np.empty(rows.shape, rows.dtype)
        for u in range(rows.shape[1]):
            for v in range(rows.shape[2]):  # one transposed plane at a time is three times as quick as all at once
                matrix[:, u, v] = rows[:, u, v]
        return matrix.reshape(len(rows), -1)

    def weight_from_matrix(self, matrix: Any, shape: tuple[int, ...]) -> Any:
        if self.by_place:
            return matrix.reshape(shape)
        out, channels, *kernel = shape
        return channels_first(matrix.reshape(out, *kernel, channels))

    def parts(self) -> list[slice]:
        """The images, a few at a time."""
        return slices(len(self.x), self.step)

    def gather(self, part: slice) -> Any:
        """The windows of some images as a matrix (M, K); valid until this thread gathers the next ones."""
        view = self._view(self._padded(self.x[part]))
        columns = _buffer(view.shape, view.dtype)
        np.copyto(columns, view)
        places = (part.stop - part.start) * self.out_size[0] * self.out_size[1]
        return columns.reshape(-1, places).T if self.by_place else columns.reshape(places, -1)

    def _padded(self, images: Any) -> Any:
        top, left = self.padding
        if not (top or left):
            return images
        n, a, b, c = images.shape
        if self.by_place:
            padded = np.zeros((n, a, b + 2 * top, c + 2 * left), images.dtype)
            padded[:, :, top : top + b, left : left + c] = images
        else:
            padded = np.zeros((n, a + 2 * top, b + 2 * left, c), images.dtype)
            padded[:, top : top + a, left : left + b] = images
        return padded

    def _view(self, images: Any) -> Any:
        """All windows as a view: (C, KH, KW, N, OH, OW) by place, else (N, OH, OW, KH, KW, C)."""
        if self.by_place:
            n, c, h, w = images.strides
        else:
            n, h, w, c = images.strides
        batch = ([len(images), *self.out_size], [n, h * self.stride[0], w * self.stride[1]])
        places = (list(self.kernel), [h * self.dilation[0], w * self.dilation[1]])
        if self.by_place:
            shape, strides = [images.shape[1], *places[0], *batch[0]], [c, *places[1], *batch[1]]
        else:
            shape, strides = [*batch[0], *places[0], images.shape[3]], [*batch[1], *places[1], c]
        return np.lib.stride_tricks.as_strided(images, shape, strides, writeable=False)

    def zero_gradient(self) -> Any:
        """Zeros for the gradient of the padded input, in the memory order of the windows."""
        top, left = self.padding
        if self.by_place:
            n, c, height, width = self.x.shape
            return np.zeros((n, c, height + 2 * top, width + 2 * left), self.x.dtype)
        n, height, width, c = self.x.shape
        return np.zeros((n, height + 2 * top, width + 2 * left, c), self.x.dtype)

    def scatter(self, grad_rows: Any, matrix: Any, grad_x: Any) -> None:
        """Add (M, O) @ (O, K), the gradients of the windows, to the elements that the windows saw."""
        (out_height, out_width), n = self.out_size, len(grad_x)
        channels = grad_x.shape[1] if self.by_place else grad_x.shape[3]
        if self.by_place:
            columns = (matrix.T @ grad_rows.T).reshape(channels, *self.kernel, n, out_height, out_width)
        else:
            columns = (grad_rows @ matrix).reshape(n, out_height, out_width, *self.kernel, channels)
        for u in range(self.kernel[0]):
            rows = self._span(u, 0, out_height)
            for v in range(self.kernel[1]):
                places = self._span(v, 1, out_width)
                if self.by_place:
                    grad_x[:, :, rows, places] += columns[:, u, v].swapaxes(0, 1)
                else:
                    grad_x[:, rows, places] += columns[:, :, :, u, v]

    def _span(self, place: int, axis: int, length: int) -> slice:
        """The padded rows (or columns) that kernel place ``place`` sees, one for each output."""
        first = place * self.dilation[axis]
        return slice(first, first + (length - 1) * self.stride[axis] + 1, self.stride[axis])

    def unpadded(self, grad_x: Any) -> Any:
        top, left = self.padding
        height, width = self.size
        if self.by_place:
            return grad_x[:, :, top : top + height, left : left + width]
        return channels_first(grad_x[:, top : top + height, left : left + width])
