"""Which algorithm computes a convolution: a question of its shape alone."""

from __future__ import annotations

import os

from ..geometry import Pair, output_size

# Counted in multiplications and additions, as many as a matrix product does in the time; measured on Zen 4.
TRANSFORMED = 20  # per element that is transformed
TRANSFORMED_FILTER = 28  # per element of the transformed filters, which come from memory and go there
OVERHEAD = 16e6  # of the calls
GAIN = 0.85  # Winograd is taken if it costs less than this part of the definition
FEW_INPUTS, FEW_OUTPUTS, SMALL_KERNEL = 4, 8, 7


def choose(
    shape: tuple[int, ...], weight_shape: tuple[int, ...], stride: Pair, padding: Pair, dilation: Pair, dtype: str
) -> str:
    """ "winograd 6", "winograd 4" (by the size of the tile), "direct" or "im2col", for one group of channels.

    GPUNN_CONV=direct rules Winograd out, whose results are less exact; ValueError where it is neither that nor "auto".
    """
    allowed = os.environ.get("GPUNN_CONV") or "auto"
    if allowed not in ("auto", "direct"):
        raise ValueError(f"GPUNN_CONV={allowed} is no choice of algorithms; set it to auto or direct")
    n, channels, height, width = shape
    outs, _, *kernel = weight_shape
    if dtype != "float32" or stride != (1, 1) or dilation != (1, 1):
        return "im2col"
    if channels <= FEW_INPUTS and outs <= FEW_OUTPUTS and max(kernel) <= SMALL_KERNEL:
        return "direct"
    if allowed == "direct" or kernel != [3, 3] or max(padding) > 2:
        return "im2col"
    rows, columns = output_size((height, width), (3, 3), stride, padding)
    costs = {size: winograd_cost(n, channels, outs, rows, columns, size) for size in (4, 6)}
    best = min(costs, key=lambda size: costs[size])
    return f"winograd {best}" if costs[best] < GAIN * 9 * n * rows * columns * channels * outs else "im2col"


def winograd_cost(n: int, channels: int, outs: int, rows: int, columns: int, size: int) -> float:
    """Of one pass with tiles of ``size``: the products, the transforms of the tiles, and those of the filters."""
    tiles = n * -(-rows // (size - 2)) * -(-columns // (size - 2))
    each = tiles * (channels * outs + TRANSFORMED * (channels + outs)) + TRANSFORMED_FILTER * channels * outs
    return size * size * each + OVERHEAD
