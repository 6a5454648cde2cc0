"""Convolutions of many images with few channels: in memory the batch stands last, behind N,C,H,W shapes.

With channels last a pixel of 6 channels is a vector of 6 lanes, mostly empty; with the batch last each vector is filled by
images, and a convolution's matrix product reads them where they lie (see compiled/batch_last.py). An array of shape
(N, C, H, W) whose memory runs C, H, W, N is the transposed view of a contiguous (C, H, W, N) array; elementwise operations
keep that order.

From `WIDEST` images on, zeros around them are not multiplied in the input's gradient: a weight that is infinite leaves no NaN
there.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ..geometry import Pair, output_size
from .compiled import batch_last as kernels
from .compiled.batch_last_order import rearrange_alone
from .compiled.batch_last_products import COLUMNS
from .scratch import address, aligned
from .threads import together

WIDEST = 64  # columns of a block of the micro-kernel
PARTS = 8  # of the output's rows whose gradients are added up by themselves
NOTHING = np.empty((0, 0, 0, 0), np.float32)


def is_batch_last(x: Any) -> bool:
    """Whether (N, C, H, W) has the memory order C, H, W, N, without gaps."""
    return bool(x.ndim == 4 and x.transpose(1, 2, 3, 0).flags.c_contiguous)


def batch_first(memory: Any) -> Any:
    """The (N, C, H, W) view of a (C, H, W, N) array."""
    return memory.transpose(3, 0, 1, 2)


def in_order(x: Any) -> Any:
    """(N, C, H, W) of any dtype as (C, H, W, N); a view where it is one already."""
    return rearranged(x) if x.dtype == np.float32 else np.ascontiguousarray(x.transpose(1, 2, 3, 0))


def rearranged(x: Any, padding: Pair = (0, 0)) -> Any:
    """(N, C, H, W) as (C, H + 2 top, W + 2 left, N) with zeros around; a view where it is one already."""
    source, out = _order(x, padding)
    if source.size:
        together(rearrange_alone, source, out, *padding)
    return out


def transposed(matrix: Any) -> Any:
    """The transpose of a contiguous float32 matrix, contiguous."""
    return rearranged(matrix[:, np.newaxis, np.newaxis]).reshape(matrix.shape[::-1])


def _order(x: Any, padding: Pair) -> tuple[Any, Any]:
    """What `rearrange` is to read and to fill; the former is empty where the latter is complete."""
    top, left = padding
    n, channels, height, width = x.shape
    if not is_batch_last(x):
        return np.ascontiguousarray(x), aligned((channels, height + 2 * top, width + 2 * left, n))
    memory = x.transpose(1, 2, 3, 0)
    if not (top or left):
        return NOTHING, memory
    out = aligned((channels, height + 2 * top, width + 2 * left, n))
    out[:, :top] = out[:, top + height :] = 0
    out[:, top : top + height, :left] = out[:, top : top + height, left + width :] = 0
    out[:, top : top + height, left : left + width] = memory
    return NOTHING, out


class Terms(NamedTuple):
    """The tables of `kernels.convolve`."""

    a_offsets: Any
    b_offsets: Any
    spans: Any


@lru_cache(maxsize=256)
def _terms(
    channels: int, kernel: Pair, strides: tuple[int, ...], size: Pair, out_width: int, left: int, n: int
) -> Terms:
    """For inputs of ``size``; ``strides`` are the weight's of a channel, a row and a column, in bytes.

    The columns of the output that see the same columns of the kernel stand side by side.
    """
    per_channel, per_row, per_column = strides
    height, width = size
    seen = [(max(0, left - w), min(kernel[1], left - w + width)) for w in range(out_width)]
    spans: list[list[int]] = []
    a_offsets: list[int] = []
    b_offsets: list[int] = []
    for w in range(out_width):
        if w > 0 and seen[w] == seen[w - 1]:
            spans[-1][1] = w + 1
            continue
        begin, end = seen[w]
        spans.append([w, w + 1, len(a_offsets), channels * (end - begin)])
        for u in range(kernel[0]):
            for c in range(channels):
                for v in range(begin, end):
                    a_offsets.append(c * per_channel + u * per_row + v * per_column)
                    b_offsets.append(4 * n * ((c * height + u) * width + v - left))
    return Terms(*(np.array(table, np.int64) for table in (a_offsets, b_offsets, spans)))


class Saved(NamedTuple):
    """What backward needs of a convolution."""

    algorithm: str
    images: Any  # (C, H, W, N), padding included
    weight: Any
    padding: Pair
    out: Any  # (O, OH, OW, N) after ReLU, or nothing
    has_bias: bool


def convolve(x: Any, weight: Any, bias: Any, padding: Pair, rectify: bool) -> tuple[Any, Saved]:
    """x (N, C, H, W), weight (O, C, KH, KW), float32 of any strides, bias (O) or None: out (N, O, OH, OW), and what to keep."""
    source, images = _order(x, padding)
    channels, *size, n = images.shape
    kernel = weight.shape[2:]
    out_size = output_size((size[0], size[1]), kernel, (1, 1), (0, 0))
    terms = _terms(channels, kernel, weight.strides[1:], (size[0], size[1]), out_size[1], 0, n)
    out = aligned((len(weight), *out_size, n))
    added = np.zeros(len(weight), np.float32) if bias is None else np.ascontiguousarray(bias)
    filters = (address(weight), weight.strides[0], terms.a_offsets, terms.b_offsets, terms.spans, kernel[0])
    together(kernels.forward, source, images, padding, *filters, added, rectify, out)
    return batch_first(out), Saved("batch last", images, weight, padding, out if rectify else NOTHING, bias is not None)


def gradients(saved: Saved, dout: Any, needs: tuple[bool, ...]) -> tuple[Any, Any, Any]:
    """Of the input, the weight and the bias; None where not asked for."""
    weight, images, rectified = saved.weight, saved.images, saved.out
    wants_bias = needs[2] and saved.has_bias
    grad_out = rearranged(dout.astype(np.float32, copy=False))
    outs, height, _, n = grad_out.shape
    channels, kernel, padding = images.shape[0], weight.shape[2:], saved.padding
    size = (images.shape[1] - 2 * padding[0], images.shape[2] - 2 * padding[1])
    masked = aligned(grad_out.shape) if rectified.size and needs[0] else NOTHING
    step = -(-height // PARTS)
    parts = -(-height // step) if needs[1] or wants_bias or masked.size else 0
    of_weight = np.empty((parts, outs, weight[0].size if needs[1] else 0), np.float32)
    of_bias = np.empty((parts, outs), np.float32)
    parameters = (images, rectified, grad_out, masked, _places(images.shape, kernel), of_weight, of_bias, step)
    passed = masked if masked.size else grad_out
    around = (kernel[0] - 1 - padding[0], kernel[1] - 1 - padding[1])
    grad_x = aligned((channels, *size, n)) if needs[0] else NOTHING

    def work(parameters: tuple[Any, ...], source: Any, around: Pair, grad_x: Any) -> None:
        strides = weight.strides
        terms = _terms(outs, kernel, (strides[0], -strides[2], -strides[3]), source.shape[1:3], size[1], around[1], n)
        last = address(weight) + (kernel[0] - 1) * strides[2] + (kernel[1] - 1) * strides[3]
        filters = (last, strides[1], terms.a_offsets, terms.b_offsets, terms.spans, kernel[0], around[0])
        no_bias = np.zeros(channels, np.float32)
        together(kernels.backward, *parameters, source, *filters, no_bias, grad_x)

    if needs[0] and around[1] and n < WIDEST:  # too few columns see the same part of the kernel: let them see zeros
        work(parameters, passed, around, NOTHING)
        done = (*parameters[:-3], of_weight[:0], of_bias[:0], step)
        work(done, rearranged(batch_first(passed), around), (0, 0), grad_x)
    else:
        work(parameters, passed, around, grad_x)
    return (
        batch_first(grad_x) if needs[0] else None,
        of_weight.sum(axis=0).reshape(weight.shape) if needs[1] else None,
        of_bias.sum(axis=0) if wants_bias else None,
    )


@lru_cache(maxsize=256)
def _places(shape: tuple[int, ...], kernel: Pair) -> Any:
    """Where images of ``shape`` (C, H, W, N) have what the kernel's places see: (C KH KW), filled up to a multiple of COLUMNS."""
    channels, height, width, n = shape
    places = [
        4 * n * ((c * height + u) * width + v)
        for c in range(channels)
        for u in range(kernel[0])
        for v in range(kernel[1])
    ]
    return np.array(places + places[-1:] * (-len(places) % COLUMNS), np.int64)
