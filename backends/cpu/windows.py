"""im2col: the windows of one input, gathered into a matrix a few images at a time, and scattered back.

K. Chellapilla, S. Puri and P. Simard, "High performance convolutional neural networks for document processing", 2006.
The windows of a few images fill the cache, are multiplied there and overwritten by the next few.

Two orders of the same windows serve: a row a window (channels last: a window is a few long runs), and, where the channels
are few, a row a place in the kernel (each row runs along whole image rows).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..geometry import Pair, output_size
from . import compiled
from .compiled import windows as kernels
from .layout import channels_first
from .scratch import scratch
from .threads import slices

COLUMN_BYTES = 2 << 20  # of windows at a time, for each thread
FEW_CHANNELS = 4


def buffer(shape: tuple[int, ...], dtype: Any) -> Any:
    """`scratch` of any dtype."""
    count = math.prod(shape)
    floats = -(-count * np.dtype(dtype).itemsize // 4)
    return scratch("columns", (floats,)).view(dtype)[:count].reshape(shape)


class Windows:
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
        columns = buffer(view.shape, view.dtype)
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
            columns = np.matmul(grad_rows, matrix, out=buffer((len(grad_rows), matrix.shape[1]), grad_x.dtype))
            if compiled.is_available():
                lines = grad_x.reshape(n, grad_x.shape[1], -1)
                kernels.scatter(columns, lines, self.kernel, self.stride, self.dilation, self.out_size)
                return
            columns = columns.reshape(n, out_height, out_width, *self.kernel, channels)
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
