"""Convolution as a matrix product over windows: im2col and GEMM, as many images at a time as the workspace holds.

K. Chellapilla, S. Puri and P. Simard, "High performance convolutional neural networks for document processing", 2006.
All arrays are channels-last and contiguous: images (N, H, W, C), filters (O, KH, KW, C / groups), results (N, OH, OW, O).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ..geometry import Pair, output_size
from . import layout
from .layout import BLOCK, blocks_for
from .options import options
from .program import accumulator
from .runtime import Runtime
from .windows import Windows, packs

RUN = 8  # windows that a thread of im2col takes one after another; as in im2col.cu
MOST_BLOCKS_DOWN = 65_535  # CUDA's limit for the second axis of a grid


class MatrixConvolution:
    """The three products of a convolution. How the images are cut depends on shapes and the limit alone."""

    def __init__(self, runtime: Runtime, launch: Callable[..., None]) -> None:
        self.runtime, self.launch = runtime, launch

    def forward(
        self, x: Any, weight: Any, stride: Pair, padding: Pair, dilation: Pair = (1, 1), groups: int = 1
    ) -> Any:
        """x (N, H, W, C) and weight (O, KH, KW, C / groups): (N, OH, OW, O)."""
        xp = self.runtime.xp
        windows = _windows(x.shape, weight.shape, stride, padding, dilation)
        shape = (*windows.out_size, weight.shape[0])
        filters = _matrices(weight, groups)
        parts, out = list(images_at_a_time(windows, x.itemsize, groups)), None
        for part in parts:
            columns = self._columns(x[part], windows, groups)
            rows = _joined(xp, self.runtime.matmul(columns, filters.swapaxes(-1, -2))).reshape(-1, *shape)
            if len(parts) == 1:
                return rows
            out = xp.empty((x.shape[0], *shape), x.dtype) if out is None else out
            out[part] = rows
        return xp.empty((0, *shape), x.dtype) if out is None else out

    def input_gradient(
        self,
        dout: Any,
        weight: Any,
        shape: tuple[int, ...],
        stride: Pair,
        padding: Pair,
        dilation: Pair = (1, 1),
        groups: int = 1,
    ) -> Any:
        """dout (N, OH, OW, O) and weight (O, KH, KW, C / groups): the gradient of x, ``shape`` (N, H, W, C)."""
        windows = _windows(shape, weight.shape, stride, padding, dilation)
        filters = _matrices(weight, groups)
        if _are_pixels(windows, groups):
            return self.runtime.matmul(_split(dout, groups), filters).reshape(shape)
        dx = self.runtime.output(shape, dout.dtype)
        for part in images_at_a_time(windows, dout.itemsize, groups):
            columns = self.runtime.matmul(_split(dout[part], groups), filters)
            piece = windows._replace(images=part.stop - part.start)
            arguments = (self.runtime.xp.ascontiguousarray(columns), dx[part], *piece.arguments(), groups)
            self.launch("im2col", "col2im", dout.dtype, blocks_for(piece.cells(dx.itemsize)), BLOCK, arguments)
        return dx

    def weight_gradient(
        self,
        x: Any,
        dout: Any,
        shape: tuple[int, ...],
        stride: Pair,
        padding: Pair,
        dilation: Pair = (1, 1),
        groups: int = 1,
    ) -> Any:
        """x (N, H, W, C) and dout (N, OH, OW, O): the gradient of the filters, ``shape`` (O, KH, KW, C / groups)."""
        windows = _windows(x.shape, shape, stride, padding, dilation)
        parts, total = list(images_at_a_time(windows, x.itemsize, groups)), None
        # Several products of half precision are added up in float32, and rounded once.
        dtype = accumulator(x.dtype) if len(parts) > 1 else None
        for part in parts:
            columns = self._columns(x[part], windows, groups)
            product = self.runtime.matmul(_split(dout[part], groups).swapaxes(-1, -2), columns, dtype)
            total = product if total is None else total + product
        if total is None:
            return self.runtime.xp.zeros(shape, x.dtype)
        return total.astype(x.dtype, copy=False).reshape(shape)

    def _columns(self, images: Any, windows: Windows, groups: int) -> Any:
        """The windows of some images as rows: (M, K), or (groups, M, K / groups)."""
        if _are_pixels(windows, groups):
            return images.reshape(-1, windows.channels)
        piece = windows._replace(images=len(images))
        lines = piece.images * piece.out_size[0] * piece.out_size[1]
        places, per_group = piece.kernel[0] * piece.kernel[1], piece.channels // groups
        columns = self.runtime.output((groups, lines, places * per_group), images.dtype)
        across = groups * places * packs(per_group, images.itemsize)  # threads for a window
        width = min(BLOCK, -(-across // 32) * 32)
        block = (width, BLOCK // width)
        grid = (
            min(-(-lines // (RUN * block[1])), layout.MOST_BLOCKS),
            min(-(-across // width), MOST_BLOCKS_DOWN),
        )
        self.launch("im2col", "im2col", images.dtype, grid, block, (images, columns, *piece.arguments(), groups))
        return columns[0] if groups == 1 else columns


def _windows(image: tuple[int, ...], weight: tuple[int, ...], stride: Pair, padding: Pair, dilation: Pair) -> Windows:
    n, height, width, channels = image
    kernel = (weight[1], weight[2])
    out_size = output_size((height, width), kernel, stride, padding, dilation)
    return Windows(n, channels, (height, width), out_size, kernel, stride, padding, dilation)


def _are_pixels(windows: Windows, groups: int) -> bool:
    """Whether each window is a pixel, so that the image is the matrix of columns as it lies there."""
    return windows.kernel == windows.stride == (1, 1) and windows.padding == (0, 0) and groups == 1


def images_at_a_time(windows: Windows, itemsize: int, groups: int = 1) -> Iterator[slice]:
    """The images, as many at a time as have no more columns than the workspace holds, but at least one."""
    (out_height, out_width), (kernel_height, kernel_width) = windows.out_size, windows.kernel
    of_one = out_height * out_width * kernel_height * kernel_width * windows.channels * itemsize
    step = windows.images if _are_pixels(windows, groups) else options.workspace_limit // max(1, of_one)
    for first in range(0, windows.images, max(1, step)):
        yield slice(first, min(first + max(1, step), windows.images))


def _matrices(weight: Any, groups: int) -> Any:
    """(O, KH, KW, C / groups) as a matrix (O, K), or as (groups, O / groups, K)."""
    out = weight.shape[0]
    return weight.reshape(out, -1) if groups == 1 else weight.reshape(groups, out // groups, -1)


def _split(images: Any, groups: int) -> Any:
    """(n, OH, OW, O) as rows (M, O), or as a view (groups, M, O / groups)."""
    channels = images.shape[3]
    if groups == 1:
        return images.reshape(-1, channels)
    return images.reshape(-1, groups, channels // groups).swapaxes(0, 1)


def _joined(xp: Any, rows: Any) -> Any:
    """The way back: (M, O) as it is, (groups, M, O / groups) copied to (M, O)."""
    return xp.ascontiguousarray(rows if rows.ndim == 2 else rows.swapaxes(0, 1))
