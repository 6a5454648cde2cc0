"""Convolutions of many images with few channels: in memory the batch stands last, behind N,C,H,W shapes.

With channels last a pixel of 6 channels is a vector of 6 lanes, mostly empty; with the batch last each vector is filled by
images, and a convolution's matrix product reads them where they lie (see compiled/batch_last.py). An array of shape
(N, C, H, W) whose memory runs C, H, W, N is the transposed view of a contiguous (C, H, W, N) array; elementwise operations
keep that order.

Zeros around the images are not multiplied in the input's gradient: a weight that is infinite leaves no NaN there.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ..geometry import Pair, output_size
from .compiled import batch_last as kernels
from .compiled.batch_last_products import COLUMNS
from .threads import for_each, slices

LINE = 64  # bytes of a line of the cache, where a large array begins
WIDEST = 64  # columns of the micro-kernel
PARTS = 8  # of the output's rows whose gradients are added up by themselves
NOTHING = np.empty((0, 0, 0, 0), np.float32)


def is_batch_last(x: Any) -> bool:
    """Whether (N, C, H, W) has the memory order C, H, W, N, without gaps."""
    return bool(x.ndim == 4 and x.transpose(1, 2, 3, 0).flags.c_contiguous)


def batch_first(memory: Any) -> Any:
    """The (N, C, H, W) view of a (C, H, W, N) array."""
    return memory.transpose(3, 0, 1, 2)


def empty(shape: tuple[int, ...]) -> Any:
    """Uninitialized float32 that begins at a line of the cache."""
    count = int(np.prod(shape))
    memory = np.empty(count + LINE // 4, np.float32)
    skipped = -memory.__array_interface__["data"][0] % LINE // 4
    return memory[skipped : skipped + count].reshape(shape)


def rearranged(x: Any, padding: Pair) -> Any:
    """(N, C, H, W) as (C, H + 2 top, W + 2 left, N) with zeros around; a view where it is one already."""
    top, left = padding
    n, channels, height, width = x.shape
    if is_batch_last(x):
        memory = x.transpose(1, 2, 3, 0)
        if not (top or left):
            return memory
        out = empty((channels, height + 2 * top, width + 2 * left, n))
        out[:, :top] = out[:, top + height :] = 0
        out[:, top : top + height, :left] = out[:, top : top + height, left + width :] = 0
        out[:, top : top + height, left : left + width] = memory
        return out
    out = empty((channels, height + 2 * top, width + 2 * left, n))
    pixels = np.ascontiguousarray(x).reshape(n, channels, -1)
    rows = channels * out.shape[1]
    for_each(lambda p: kernels.rearrange(pixels, out, p.start, p.stop, top, left), slices(rows, -(-rows // PARTS)))
    return out


@dataclass(frozen=True)
class Terms:
    """The tables of `kernels.convolve`."""

    a_offsets: Any
    b_offsets: Any
    spans: Any


@lru_cache(maxsize=256)
def _terms(channels: int, kernel: Pair, strides: tuple[int, ...], size: Pair, out_width: int, left: int, n: int) -> Terms:
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


def _multiply(memory: Any, weight: Any, bias: Any, around: Pair, out_size: Pair, rectify: bool) -> Any:
    """memory (C, H, W, N) with weight (O, C, KH, KW), any strides: (O, OH, OW, N); zeros ``around`` are left out."""
    channels, height, width, n = memory.shape
    kernel = weight.shape[2:]
    if around[1] and n < WIDEST:  # too few columns see the same: let them see zeros
        memory, around = rearranged(batch_first(memory), around), (0, 0)
        height, width = memory.shape[1:3]
    terms = _terms(channels, kernel, weight.strides[1:], (height, width), out_size[1], around[1], n)
    out = empty((len(weight), *out_size, n))
    added = np.zeros(len(weight), np.float32) if bias is None else np.ascontiguousarray(bias)
    start = weight.__array_interface__["data"][0]

    def some_rows(part: slice) -> None:
        kernels.convolve(
            memory, start, weight.strides[0], terms.a_offsets, terms.b_offsets, terms.spans, kernel[0], around[0],
            added, rectify, out, part.start, part.stop,
        )  # fmt: skip

    for_each(some_rows, slices(out_size[0], -(-out_size[0] // PARTS)))
    return out


@dataclass
class Saved:
    """What backward needs of a convolution."""

    images: Any  # (C, H, W, N), padding included
    weight: Any
    padding: Pair
    out: Any  # (O, OH, OW, N) after ReLU, or nothing


def convolve(x: Any, weight: Any, bias: Any, padding: Pair, rectify: bool) -> tuple[Any, Saved]:
    """x (N, C, H, W), weight (O, C, KH, KW), float32 of any strides, bias (O) or None: out (N, O, OH, OW), and what to keep."""
    images = rearranged(x, padding)
    size = output_size(images.shape[1:3], weight.shape[2:], (1, 1), (0, 0))
    out = _multiply(images, weight, bias, (0, 0), size, rectify)
    return batch_first(out), Saved(images, weight, padding, out if rectify else NOTHING)


def gradients(saved: Saved, dout: Any, needs: tuple[bool, ...]) -> tuple[Any, Any, Any]:
    """Of the input, the weight and the bias; None where not asked for."""
    weight, images = saved.weight, saved.images
    grad_out = rearranged(dout, (0, 0))
    outs, height, width, n = grad_out.shape
    used = grad_out
    if saved.out.size:
        used = empty(grad_out.shape) if needs[0] else NOTHING
    grad_x = grad_weight = grad_bias = None
    if needs[1] or needs[2] or used is not grad_out:
        grad_weight, grad_bias = _of_parameters(saved, grad_out, used, needs)
    if needs[0]:
        kernel = weight.shape[2:]
        around = (kernel[0] - 1 - saved.padding[0], kernel[1] - 1 - saved.padding[1])
        size = (images.shape[1] - 2 * saved.padding[0], images.shape[2] - 2 * saved.padding[1])
        flipped = weight.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1]
        grad_x = batch_first(_multiply(used, flipped, None, around, size, False))
    return grad_x, grad_weight, grad_bias


def _of_parameters(saved: Saved, grad_out: Any, masked: Any, needs: tuple[bool, ...]) -> tuple[Any, Any]:
    weight, images = saved.weight, saved.images
    outs, height, width, n = grad_out.shape
    places = weight[0].size if needs[1] else 0
    offsets = _places(images.shape, weight.shape[2:])
    parts = slices(height, -(-height // PARTS))
    of_weight = np.empty((len(parts), outs, places), np.float32)
    of_bias = np.empty((len(parts), outs), np.float32)

    def differentiate(number: int) -> None:
        part = parts[number]
        own = masked if masked.size else empty((outs, 1, width, n))
        kernels.differentiate(
            images, saved.out, grad_out, own, offsets, of_weight[number], of_bias[number], part.start, part.stop
        )

    for_each(differentiate, range(len(parts)))
    return (
        of_weight.sum(axis=0).reshape(weight.shape) if needs[1] else None,
        of_bias.sum(axis=0) if needs[2] else None,
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
