"""Which algorithm computes a convolution: a question of its shape alone."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any

from ..geometry import Pair, output_size
from .compiled.squares import LANES
from .mosaic import arrange, count_tiles

TILE_SIZES = {3: (4, 6), 5: (8,)}  # of Winograd's algorithm, by the size of the kernel

# Counted in multiplications and additions, as many as a matrix product does in the time; measured on Zen 4.
TRANSFORMED = 15  # per element that is transformed
TRANSFORMED_FILTER = 6  # per element of the transformed filters
TILES = 64  # for which they are transformed at a time
OVERHEAD = 2e6  # of the calls
FEW_IMAGES = 8  # of 2x2 pixels, below which the filters' transform takes longer than what it saves
GAIN = 0.85  # Winograd is taken if it costs less than this part of the definition
FEW_CHANNELS, MANY_IMAGES, WIDEST_BLOCK = 32, 16, 64  # whose lanes are images
# From some to several channels, where an image takes so few multiplications: a small network stays in one memory order.
SOME_CHANNELS, SEVERAL_CHANNELS, LITTLE_WORK = 16, 64, 2e6
FEW_INPUTS, FEW_OUTPUTS, SMALL_KERNEL = 4, 8, 7

# The same where kernels are not compiled: products by OpenBLAS, of forward and backward together.
MULTIPLIED_BY_BLAS = 1.1  # in a small product, beside one in a large product
TRANSFORMED_BY_BLAS, FILTER_BY_BLAS = {3: 50, 5: 60}, {3: 45, 5: 120}  # per element, by the size of the kernel
OVERHEAD_BY_BLAS = 3e7
MOST_TILES = 4096  # of an image: backward keeps the matrices of all


def allowed_algorithms() -> str:
    """GPUNN_CONV: "auto", or "direct", which rules Winograd and Toeplitz out, whose results are less exact.

    ValueError where it is neither.
    """
    named = os.environ.get("GPUNN_CONV") or "auto"
    if named not in ("auto", "direct"):
        raise ValueError(f"GPUNN_CONV={named} is no choice of algorithms; set it to auto or direct")
    return named


@lru_cache(maxsize=1024)
def choose(
    shape: tuple[int, ...], weight_shape: tuple[int, ...], stride: Pair, padding: Pair, dilation: Pair, dtype: Any,
    allowed: str = "auto",
) -> str:  # fmt: skip
    """ "winograd 4", "winograd 6" or "winograd 8" (by the size of the tile), "toeplitz", "batch last", "direct", "implicit" or
    "im2col".

    For one group.
    """
    n, channels, height, width = shape
    outs, _, *kernel = weight_shape
    if dtype != "float32":
        return "im2col"
    plain = stride == (1, 1) and dilation == (1, 1)
    if plain and n >= MANY_IMAGES and _few_channels(shape, outs, kernel) and _fills_blocks(shape, kernel, padding):
        return "batch last"
    if plain and channels <= FEW_INPUTS and outs <= FEW_OUTPUTS and max(kernel) <= SMALL_KERNEL:
        return "direct"
    if allowed == "direct" or not plain or kernel not in ([3, 3], [5, 5]):
        return "implicit"
    if n >= FEW_IMAGES and (height, width, *kernel, *padding) == (2, 2, 3, 3, 1, 1):
        return "toeplitz"
    rows, columns = output_size((height, width), (kernel[0], kernel[1]), stride, padding)
    gap = kernel[0] - 1 - padding[0], kernel[1] - 1 - padding[1]
    costs = {
        size: winograd_cost(n, channels, outs, (rows, columns), gap, size, kernel[0]) for size in TILE_SIZES[kernel[0]]
    }
    best = min(costs, key=lambda size: costs[size])
    down, across = (
        _places_seen(height, rows, kernel[0], padding[0]),
        _places_seen(width, columns, kernel[1], padding[1]),
    )
    definition = down * across * n * channels * whole(outs)
    return f"winograd {best}" if costs[best] < GAIN * definition else "implicit"


@lru_cache(maxsize=1024)
def choose_by_blas(
    shape: tuple[int, ...], weight_shape: tuple[int, ...], stride: Pair, padding: Pair, dilation: Pair, dtype: Any,
    allowed: str = "auto",
) -> str:  # fmt: skip
    """As `choose` where kernels are not compiled: "winograd 4", "winograd 6", "winograd 8" or "im2col"."""
    (n, channels, *image), (outs, _, *kernel) = shape, weight_shape
    plain = stride == (1, 1) and dilation == (1, 1) and kernel in ([3, 3], [5, 5])
    if dtype != "float32" or allowed == "direct" or not plain:
        return "im2col"
    rows, columns = output_size((image[0], image[1]), (kernel[0], kernel[1]), stride, padding)
    costs = {}
    for size in TILE_SIZES[kernel[0]]:
        tiles = -(-rows // (size - kernel[0] + 1)) * -(-columns // (size - kernel[0] + 1))
        each = MULTIPLIED_BY_BLAS * channels * outs + TRANSFORMED_BY_BLAS[kernel[0]] * (channels + outs)
        if tiles <= MOST_TILES:
            costs[size] = (
                size * size * (n * tiles * each + FILTER_BY_BLAS[kernel[0]] * channels * outs) + OVERHEAD_BY_BLAS
            )
    definition = kernel[0] ** 2 * n * rows * columns * channels * outs
    best = min(costs, key=lambda size: costs[size], default=0)
    return f"winograd {best}" if best and costs[best] < definition else "im2col"


def _places_seen(length: int, outs: int, kernel: int, padding: int) -> int:
    """Along an axis of ``length``, by all outputs with stride 1: the padding is not multiplied."""
    return sum(max(0, min(kernel, length + padding - out) - max(0, padding - out)) for out in range(outs))


def _few_channels(shape: tuple[int, ...], outs: int, kernel: list[int]) -> bool:
    _, channels, height, width = shape
    least, most = min(channels, outs), max(channels, outs)
    work = height * width * channels * outs * kernel[0] * kernel[1]  # of an image
    return most <= FEW_CHANNELS or (least >= SOME_CHANNELS and most <= SEVERAL_CHANNELS and work <= LITTLE_WORK)


def _fills_blocks(shape: tuple[int, ...], kernel: list[int], padding: Pair) -> bool:
    """Whether a row of outputs, and one of inputs, has enough columns, and the padding is no wider than the kernel reaches."""
    n, _, height, width = shape
    across = output_size((height, width), (kernel[0], kernel[1]), (1, 1), padding)[1]
    return padding[0] < kernel[0] and padding[1] < kernel[1] and n * min(width, across) >= WIDEST_BLOCK


def whole(channels: int) -> int:
    """Channels that are computed, in whole groups of `LANES`."""
    return -(-channels // LANES) * LANES


def winograd_cost(n: int, channels: int, outs: int, out_size: Pair, gap: Pair, size: int, kernel: int) -> float:
    """Of one pass with tiles of ``size``: the products, the transforms of the tiles, and those of the filters.

    gap: rows and columns between the outputs of neighbours in a mosaic.
    """
    step = size - kernel + 1
    tiles = count_tiles(n, out_size, gap, step, arrange(n, out_size, gap, step))
    turns = -(-tiles // TILES)  # how often the filters are transformed
    each = tiles * (channels * whole(outs) + TRANSFORMED * (whole(channels) + whole(outs)))
    return size * size * (each + turns * TRANSFORMED_FILTER * channels * whole(outs)) + OVERHEAD
