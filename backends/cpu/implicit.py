"""Convolution by its definition with the channels last: products whose windows are read from the padded images themselves.

Some images at a time, few enough to stay in the cache while every filter goes over them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ..geometry import Pair, effective_kernel, output_size
from .compiled import implicit as kernels
from .compiled.squares import LANES
from .scratch import scratch
from .threads import for_each, slices

IMAGE_BYTES = 1 << 19  # of padded images at a time
BLOCK = 6  # rows of the micro-kernel
MANY_WINDOWS = 512  # whose products are added up before sums are read and written again
TERMS = 96  # of the filters' gradient at a time: whole blocks, and whole vectors
PARTIAL_SUMS = 4  # of the filters' gradient: enough to share among a few threads, few enough to keep in memory


@dataclass(frozen=True)
class Windows:
    """Where the windows of a convolution lie in its padded images."""

    shape: tuple[int, ...]  # of the input: N, H, W, C
    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair

    @property
    def out_size(self) -> Pair:
        return output_size((self.shape[1], self.shape[2]), self.kernel, self.stride, self.padding, self.dilation)

    @property
    def padded_size(self) -> Pair:
        return self.shape[1] + 2 * self.padding[0], self.shape[2] + 2 * self.padding[1]

    @property
    def terms(self) -> int:
        return self.kernel[0] * self.kernel[1] * self.shape[3]

    def images(self, least: int = 1) -> list[slice]:
        """A few at a time, with at least so many windows."""
        fitting = IMAGE_BYTES // (4 * self.padded_size[0] * self.padded_size[1] * self.shape[3])
        return slices(self.shape[0], max(fitting, -(-least // (self.out_size[0] * self.out_size[1]))))

    def padded(self, x: Any) -> Any:
        """Some images with zeros around them; valid until this thread pads the next ones."""
        made = scratch("padded", (len(x), *self.padded_size, self.shape[3]))
        kernels.pad_images(x, made, *self.padding)
        return made

    def places(self, count: int) -> Any:
        """Offsets in bytes of the windows of ``count`` padded images; the last is repeated up to a multiple of 6."""
        return _places(self, count)

    def steps(self) -> Any:
        """Offsets in bytes of the terms within a window, in the order of (KH, KW, C); the last is repeated likewise."""
        return _steps(self)


@lru_cache(64)
def _places(windows: Windows, count: int) -> Any:
    (height, breadth), (rows, columns) = windows.padded_size, windows.out_size
    n, i, j = np.ogrid[:count, :rows, :columns]
    pixels = (n * height + i * windows.stride[0]) * breadth + j * windows.stride[1]
    return _in_blocks(pixels.reshape(-1) * (4 * windows.shape[3]))


@lru_cache(64)
def _steps(windows: Windows) -> Any:
    u, v, c = np.ogrid[: windows.kernel[0], : windows.kernel[1], : windows.shape[3]]
    pixels = u * windows.dilation[0] * windows.padded_size[1] + v * windows.dilation[1]
    return _in_blocks((4 * (pixels * windows.shape[3] + c)).reshape(-1))


def _in_blocks(table: Any) -> Any:
    return np.concatenate([table, np.repeat(table[-1:], -len(table) % BLOCK)]).astype(np.int64)


def convolve(x: Any, weight: Any, bias: Any, stride: Pair, padding: Pair, dilation: Pair, rectify: bool = False) -> Any:
    """x (N, H, W, C) and weight (O, KH, KW, C), contiguous float32; bias (O) or None: out (N, OH, OW, O).

    ``rectify``: max(0, out).
    """
    windows = Windows(x.shape, weight.shape[1:3], stride, padding, dilation)
    filters = weight.reshape(len(weight), -1)
    packed = scratch("filters", (-(-len(weight) // LANES), windows.terms, LANES))
    for_each(lambda group: kernels.pack_filters(filters, group * LANES, packed[group]), range(len(packed)))
    added = np.zeros(len(weight), np.float32) if bias is None else np.ascontiguousarray(bias)
    return _convolve(x, windows, packed, added, rectify, len(weight))


def _convolve(x: Any, windows: Windows, packed: Any, bias: Any, rectify: bool, outs: int) -> Any:
    out = np.empty((len(x), *windows.out_size, outs), np.float32)
    steps = windows.steps()[: windows.terms]

    def some(part: slice) -> None:
        rows = out[part].reshape(-1, outs)
        places = windows.places(part.stop - part.start)
        kernels.convolve(windows.padded(x[part]).reshape(-1), places, steps, packed, bias, rectify, rows)

    for_each(some, windows.images())
    return out


def input_gradient(dout: Any, weight: Any, shape: tuple[int, ...], stride: Pair, padding: Pair, dilation: Pair) -> Any:
    """dout (N, OH, OW, O), weight (O, KH, KW, C): the gradient of x, which has ``shape`` (N, H, W, C).

    With stride 1 it is the convolution of dout, with as much padding as makes it fit, with the filters turned by half. Any other
    stride is made one by zeros between the rows and columns of dout; more padding than the kernel reaches, by cutting dout.
    """
    extent = effective_kernel(weight.shape[1:3], dilation)
    around = extent[0] - 1 - padding[0], extent[1] - 1 - padding[1]
    spread = _spread(dout, shape, extent, stride, padding)
    windows = Windows(spread.shape, weight.shape[1:3], (1, 1), (max(0, around[0]), max(0, around[1])), dilation)
    packed = scratch("filters", (-(-shape[3] // LANES), windows.terms, LANES))
    for_each(lambda group: kernels.pack_turned_filters(weight, group * LANES, packed[group]), range(len(packed)))
    return _convolve(spread, windows, packed, np.zeros(shape[3], np.float32), False, shape[3])


def _spread(dout: Any, shape: tuple[int, ...], extent: Pair, stride: Pair, padding: Pair) -> Any:
    """dout as it would be with stride 1, for an input of ``shape``: zeros where no window stood."""
    least = tuple(max(0, p - e + 1) for p, e in zip(padding, extent, strict=True))  # rows that see nothing but padding
    size = [length + 2 * p - e + 1 for length, p, e in zip(shape[1:3], padding, extent, strict=True)]
    if stride == (1, 1) and least == (0, 0):
        return dout
    spread = np.zeros((len(dout), *size, dout.shape[3]), np.float32)
    spread[:, :: stride[0], :: stride[1]] = dout
    return np.ascontiguousarray(spread[:, least[0] : size[0] - least[0], least[1] : size[1] - least[1]])


def filter_gradient(x: Any, dout: Any, rectified: Any, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair,
                    of_weight: bool = True) -> tuple[Any, Any]:  # fmt: skip
    """x (N, H, W, C), dout (N, OH, OW, O), contiguous float32: the gradients of weight (O, KH, KW, C) and bias (O).

    ``rectified``: the outputs, where they went through a ReLU, else None. ``of_weight``: else None stands for it.
    """
    windows, outs = Windows(x.shape, kernel, stride, padding, dilation), dout.shape[3]
    pitch = -(-outs // LANES) * LANES
    parts = windows.images(MANY_WINDOWS)
    groups = slices(len(parts), -(-len(parts) // PARTIAL_SUMS))
    sums = scratch("sums", (len(groups), len(windows.steps()), pitch))
    totals = np.zeros((len(groups), outs), np.float32)
    nothing = np.empty((0, 0), np.float32)

    def read(part: slice, total: Any) -> tuple[Any, ...]:
        """What the product of some images needs; their gradients are added to ``total``."""
        rows = dout[part].reshape(-1, outs)
        made, own = scratch("gradients", (len(rows), pitch)), np.zeros(outs, np.float32)
        results = nothing if rectified is None else rectified[part].reshape(-1, outs)
        kernels.read_gradients(rows, results, made, own)
        total += own
        if not of_weight:
            return ()
        return windows.padded(x[part]).reshape(-1), windows.places(part.stop - part.start), made

    def add_up(number: int) -> None:
        for part in parts[groups[number]]:
            operands = read(part, totals[number])
            if of_weight:
                padded, places, made = operands
                again = part.start > parts[groups[number]][0].start
                kernels.add_filter_gradients(padded, places, windows.steps(), made, sums[number], again)

    if len(parts) > 1 or not of_weight:
        for_each(add_up, range(len(groups)))
    else:  # few windows: the terms are shared out
        padded, places, made = read(parts[0], totals[0])
        for_each(
            lambda some: kernels.add_filter_gradients(
                padded, places, windows.steps()[some], made, sums[0][some], False
            ),
            slices(len(windows.steps()), TERMS),
        )
    if not of_weight:
        return None, totals.sum(axis=0)
    gradient = np.empty((outs, *kernel, x.shape[3]), np.float32)

    def finish(some: slice) -> None:
        for partial in sums[1:]:
            sums[0][some] += partial[some]
        kernels.unpack_filters(sums[0], gradient.reshape(outs, -1), some.start, min(some.stop, windows.terms))

    for_each(finish, slices(len(windows.steps()), TERMS))
    return gradient, totals.sum(axis=0)
