"""Convolution by its definition with the channels last: products whose windows are read from the images themselves.

Some images at a time, few enough to stay in the cache while every filter goes over them. What lies outside the images is not
multiplied (see reach.py); so a weight that is infinite leaves no NaN at the border.

Not so where large filters have a few outputs only, as of a single image: to rearrange the filters would take longer than to
multiply them. There the windows are gathered, with their zeros, and the filters read once, as they lie.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ..geometry import Pair, output_size
from . import linear_algebra, reach
from .compiled import implicit as kernels
from .compiled import implicit_filters as filter_kernels
from .compiled.squares import LANES
from .layout import channels_first
from .scratch import address, scratch
from .threads import slices, together
from .windows import Windows

IMAGE_BYTES = 1 << 19  # at a time
MANY_PLACES = 1024  # at a time at least, so that filters, and their gradients, are read for enough of them
PIECES = 64  # about so many, to share among threads
LARGE_FILTERS = 1 << 20  # bytes, which are many to have several gradients of
FEW_OUTPUTS, MANY_FILTERS = 24, 1 << 20  # places of all images, and bytes of the filters beside them
PARTIAL_SUMS = 4  # of the gradient of smaller ones: enough to share among a few threads, few enough to keep in memory
NOTHING = np.empty((0, 0), np.float32)


@dataclass(frozen=True)
class Geometry:
    """Of a convolution."""

    size: Pair  # of an input image
    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair

    @property
    def out_size(self) -> Pair:
        return output_size(self.size, self.kernel, self.stride, self.padding, self.dilation)

    def tables(self, kind: Any) -> tuple[Any, Any]:
        """Down and across, by `reach.seen_by_outputs` or `reach.outputs_that_saw`."""
        axes = zip(self.size, self.out_size, self.kernel, self.stride, self.padding, self.dilation, strict=True)
        down, across = (kind(*axis) for axis in axes)
        return down, across


@lru_cache(64)
def _of_outputs(geometry: Geometry, images: int, channels: int) -> reach.Tables:
    return reach.places_by_terms(images, *geometry.tables(reach.seen_by_outputs), geometry.size, channels)


@lru_cache(64)
def _of_inputs(geometry: Geometry, images: int, channels: int) -> reach.Tables:
    return reach.places_by_terms(images, *geometry.tables(reach.outputs_that_saw), geometry.out_size, channels)


@lru_cache(64)
def _of_filters(geometry: Geometry, images: int, channels: int, pitch: int) -> reach.Tables:
    seen = geometry.tables(reach.seen_by_outputs)
    return reach.terms_by_places(images, *seen, geometry.size, channels, pitch, filter_kernels.TERMS)


def convolve(x: Any, weight: Any, bias: Any, stride: Pair, padding: Pair, dilation: Pair, rectify: bool = False) -> Any:
    """x (N, H, W, C) and weight (O, KH, KW, C), contiguous float32; bias (O) or None: out (N, OH, OW, O).

    ``rectify``: max(0, out).
    """
    geometry = Geometry(x.shape[1:3], weight.shape[1:3], stride, padding, dilation)
    shape = (len(x), *geometry.out_size, len(weight))
    few = shape[0] * shape[1] * shape[2] < FEW_OUTPUTS and weight.nbytes > MANY_FILTERS
    if few and x.shape[3] >= LANES:  # a window is a few long runs
        windows = Windows(channels_first(x), geometry.kernel, stride, padding, dilation)
        rows, filters = windows.gather(slice(0, len(x))), weight.reshape(len(weight), -1)
        return linear_algebra.multiply(rows, filters, bias, rectify).reshape(shape)
    out = np.empty(shape, np.float32)
    batch = _batch(x, out)
    tables = _of_outputs(geometry, batch, x.shape[3])
    added = np.zeros(len(weight), np.float32) if bias is None else np.ascontiguousarray(bias)
    _multiply(x, batch, tables, weight, False, added, rectify, out)
    return out


def input_gradient(dout: Any, weight: Any, shape: tuple[int, ...], stride: Pair, padding: Pair, dilation: Pair) -> Any:
    """dout (N, OH, OW, O), weight (O, KH, KW, C): the gradient of x, which has ``shape`` (N, H, W, C)."""
    geometry = Geometry((shape[1], shape[2]), weight.shape[1:3], stride, padding, dilation)
    found = np.empty(shape, np.float32)
    batch = _batch(dout, found)
    tables = _of_inputs(geometry, batch, len(weight))
    _multiply(dout, batch, tables, weight, True, np.zeros(shape[3], np.float32), False, found)
    return found


def _batch(x: Any, out: Any) -> int:
    """How many images are taken at a time."""
    fitting = IMAGE_BYTES // max(x[0].nbytes, out[0].nbytes)
    return min(len(x), max(1, fitting, -(-MANY_PLACES // (out.shape[1] * out.shape[2]))))


def _multiply(x: Any, batch: int, tables: Any, weight: Any, across: bool, bias: Any, rectify: bool, out: Any) -> None:
    filters, channels = weight.reshape(len(weight), -1), weight.shape[3] if across else 0
    panels = -(-out.shape[3] // LANES)
    packed = scratch("filters", (panels, weight.shape[1] * weight.shape[2] * x.shape[3], LANES))
    step = max(1, panels * -(-len(x) // batch) // PIECES)
    together(
        kernels.convolve, *_of_images(x, batch), *tables.for_kernels(), filters, channels, packed, step, bias, rectify,
        out.reshape(-1, out.shape[3]),
    )  # fmt: skip


def _of_images(x: Any, batch: int) -> tuple[int, ...]:
    """What kernels take: where images are, how far apart, how many, and how many at a time."""
    return address(x), x[0].nbytes, len(x), batch


def filter_gradient(x: Any, dout: Any, rectified: Any, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair,
                    of_weight: bool = True, of_bias: bool = True) -> tuple[Any, Any]:  # fmt: skip
    """x (N, H, W, C), dout (N, OH, OW, O), contiguous float32: the gradients of weight (O, KH, KW, C) and bias (O).

    ``rectified``: the outputs, where they went through a ReLU, else None. None stands for what is not asked for.
    """
    geometry = Geometry(x.shape[1:3], kernel, stride, padding, dilation)
    outs, channels = dout.shape[3], x.shape[3]
    panels, terms = -(-outs // LANES), kernel[0] * kernel[1] * channels
    pitch, copied = panels * LANES, of_weight and (rectified is not None or outs % LANES > 0)
    batch = _batch(x, dout)
    batches = -(-len(x) // batch)
    totals = np.zeros((batches, outs), np.float32)
    rows = dout.reshape(-1, outs)
    results = NOTHING if rectified is None else rectified.reshape(-1, outs)
    gradient: Any = np.empty((outs, *kernel, channels), np.float32) if of_weight else None
    if of_weight and batches > 1 and 4 * terms * pitch < LARGE_FILTERS:
        runs = slices(batches, -(-batches // PARTIAL_SUMS))
        sums = scratch("sums", (len(runs), panels, terms, LANES))
        tables = _of_filters(geometry, batch, channels, pitch)
        together(
            filter_kernels.add_gradients, *_of_images(x, batch), *tables.for_kernels(), rows, results, copied, of_bias, totals,
            sums, gradient.reshape(outs, terms),
        )  # fmt: skip
    else:
        made = scratch("gradients", (len(rows) if copied else 0, pitch))
        if copied or of_bias:
            together(filter_kernels.read_gradients, rows, results, batch * (len(rows) // len(x)), made, totals)
        if of_weight:
            tables = _of_filters(geometry, len(x), channels, pitch)
            step = -(-panels * len(tables.spans) // PIECES)
            together(
                filter_kernels.multiply_gradients, address(x), *tables.for_kernels(), address(made if copied else rows),
                gradient.reshape(outs, terms), step,
            )  # fmt: skip
    return gradient, totals.sum(axis=0) if of_bias else None
