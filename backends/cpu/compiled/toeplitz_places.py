"""2x2 images and 3x3 filters into the nine places of Toeplitz products, and back: M X M' for squares of vectors.

All that is transformed stands in lines of `LANES` floats, an array (9, lines | 1, LANES) for each group: an odd number of lines,
since steps that are powers of two would put all places into the same few lines of a cache.

- A group of a batch, for the outputs: a line a channel, its lanes are images; a group for each `LANES` of both.
- A panel of channels, for the gradients: a line an image, its lanes are channels; a group for each `LANES` channels.
- Filters: a line a filter, its lanes are input channels.

So neither direction has to turn the filters, which are by far the largest of the operands where images are so small. What
hangs over the end of a group is zero. ``memory`` is scratch, of `WORK` floats.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiler import compiled
from .squares import LANES, STEP, transpose
from .toeplitz_matrices import collect_output, spread_filter, spread_input, spread_output
from .vectors import vector_lanes

PLACES = 9
WORK = 64 * LANES


@compiled
def read_batch(images: Any, first: int, last: int, matrices: Any, memory: Any) -> None:
    """B x B' of channels ``first`` (a multiple of LANES) to ``last`` of ``images`` (N, 2, 2, C).

    ``matrices`` (groups of images, panels of channels, 9, LANES + 1, LANES): of a group that is not full, whole vectors.
    """
    count, channels, side, elements = len(images), images.shape[3], vector_lanes(), images.reshape(-1)
    tile = memory.ctypes.data
    for group in range(len(matrices)):
        for c in range(first, last, side):
            for place in range(4):
                for n in range(0, min(LANES, count - group * LANES), side):
                    image = group * LANES + n
                    source = (image * 4 + place) * channels + c
                    if image + side <= count and c + side <= last:
                        target = tile + place * side * STEP + 4 * n
                        transpose(images.ctypes.data + 4 * source, 16 * channels, target, STEP)
                    else:
                        for lane in range(side):
                            for i in range(side):
                                there = image + lane < count and c + i < last
                                value = elements[source + lane * 4 * channels + i] if there else np.float32(0)
                                memory[(place * side + i) * LANES + n + lane] = value
            target = matrices[group, c // LANES].ctypes.data + c % LANES * STEP
            step = (LANES + 1) * STEP
            for i in range(min(side, last - c)):
                spread_input(tile + i * STEP, 2 * side * STEP, side * STEP, target + i * STEP, 3 * step, step)


@compiled
def read_panels(images: Any, first: int, last: int, matrices: Any, memory: Any) -> None:
    """B x B' of ``images`` (N, 2, 2, C) from ``first`` to ``last``: ``matrices`` (panels of channels, 9, N | 1, LANES)."""
    channels = images.shape[3]
    step = matrices.shape[2] * STEP
    for n in range(first, last):
        for c in range(0, channels, LANES):
            source, across = images.ctypes.data + 4 * (n * 4 * channels + c), 4 * channels
            if c + LANES > channels:
                for place in range(4):
                    for lane in range(LANES):
                        value = np.float32(0)
                        if c + lane < channels:
                            value = images[n, place // 2, place % 2, c + lane]
                        memory[place * LANES + lane] = value
                source, across = np.int64(memory.ctypes.data), STEP
            target = matrices[c // LANES].ctypes.data + n * STEP
            spread_input(source, 2 * across, across, target, 3 * step, step)


@compiled
def read_gradients(dout: Any, rectified: Any, totals: Any, first: int, last: int, matrices: Any, memory: Any) -> None:
    """A' dout A of ``dout`` (N, 2, 2, O) from image ``first`` to ``last``: ``matrices`` (panels of O, 9, N | 1, LANES).

    Where ``rectified``, the results of a ReLU, is not empty, the gradient is zero where they are. What got through is added to
    ``totals`` (O).
    """
    outs = dout.shape[3]
    step = matrices.shape[2] * STEP
    masked = rectified.size > 0
    for n in range(first, last):
        for o in range(0, outs, LANES):
            count = min(LANES, outs - o)
            total = totals[o : o + count]
            for place in range(4):
                tile = memory[place * LANES : (place + 1) * LANES]
                source = dout[n, place // 2, place % 2, o : o + count]
                if masked:
                    result = rectified[n, place // 2, place % 2, o : o + count]
                    for lane in range(count):
                        tile[lane] = np.float32(0) if result[lane] <= 0 else source[lane]
                else:
                    for lane in range(count):
                        tile[lane] = source[lane]
                for lane in range(count):
                    total[lane] += tile[lane]
                for lane in range(count, LANES):
                    tile[lane] = 0
            target = matrices[o // LANES].ctypes.data + n * STEP
            spread_output(memory.ctypes.data, 2 * STEP, STEP, target, 3 * step, step)


@compiled
def transform_filters(filters: Any, first: int, last: int, begin: int, target: int, step: int, memory: Any) -> None:
    """G w G' of filters ``first`` to ``last`` of (O, 3, 3, C), channels from ``begin`` on, a line each from ``target`` on."""
    channels = filters.shape[3]
    for o in range(first, last):
        source, across = filters.ctypes.data + 4 * (o * PLACES * channels + begin), 4 * channels
        if begin + LANES > channels:
            for place in range(PLACES):
                for lane in range(LANES):
                    value = np.float32(0)
                    if begin + lane < channels:
                        value = filters[o, place // 3, place % 3, begin + lane]
                    memory[place * LANES + lane] = value
            source, across = np.int64(memory.ctypes.data), STEP
        spread_filter(source, 3 * across, across, target + (o - first) * STEP, 3 * step, step)


@compiled
def write_group(products: int, bias: Any, rectify: bool, first: int, last: int, image: int, images: Any,
                 memory: Any) -> None:  # fmt: skip
    """The outputs of at most `LANES` images from ``image`` on, from products whose lines are filters and lanes images."""
    count, outs, side = min(LANES, len(images) - image), images.shape[3], vector_lanes()
    step = ((last - first) | 1) * STEP
    tile = memory.ctypes.data
    for o in range(first, last, side):
        filters = min(side, last - o)
        for i in range(filters):
            source = products + (o + i - first) * STEP
            collect_output(source, 3 * step, step, tile + i * STEP, 2 * side * STEP, side * STEP)
            for place in range(4):
                start, added = (place * side + i) * LANES, bias[o + i]
                for lane in range(start, start + count):
                    value = memory[lane] + added
                    memory[lane] = np.float32(0) if rectify and value <= 0 else value
        for place in range(4):
            for n in range(0, count, side):
                if n + side <= count and filters == side:
                    target = images.ctypes.data + 4 * (((image + n) * 4 + place) * outs + o)
                    transpose(tile + place * side * STEP + 4 * n, STEP, target, 16 * outs)
                else:
                    for lane in range(min(side, count - n)):
                        for i in range(filters):
                            value = memory[(place * side + i) * LANES + n + lane]
                            images[image + n + lane, place // 2, place % 2, o + i] = value
