"""Convolution by its definition where channels are few in and out, as in the first layer of LeNet-5."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..geometry import Pair, output_size
from .compiled import direct as kernels
from .threads import for_each, slices

IMAGES = 8  # at a time
PARTIAL_SUMS = 8  # of the weight's gradient


def convolve(x: Any, weight: Any, bias: Any, padding: Pair) -> Any:
    """x (N, C, H, W), weight (O, C, KH, KW), float32; bias (O) or None; stride 1: out (N, OH, OW, O)."""
    x, weight = np.ascontiguousarray(x), np.ascontiguousarray(weight)
    size = output_size(x.shape[2:], weight.shape[2:], (1, 1), padding)
    out = np.empty((len(x), *size, len(weight)), np.float32)
    added = np.zeros(len(weight), np.float32) if bias is None else np.ascontiguousarray(bias)
    for_each(lambda part: kernels.convolve(x[part], weight, added, out[part], *padding), slices(len(x), IMAGES))
    return out


def weight_gradient(x: Any, dout: Any, shape: tuple[int, ...], padding: Pair) -> Any:
    """x (N, C, H, W), dout (N, OH, OW, O), contiguous: the gradient of the weight, which has ``shape`` (O, C, KH, KW)."""
    x = np.ascontiguousarray(x)

    def add_up(part: slice) -> Any:
        total = np.zeros(shape, np.float32)
        kernels.add_weight_gradient(x[part], dout[part], total, *padding)
        return total

    sums = for_each(add_up, slices(len(x), -(-len(x) // PARTIAL_SUMS)))
    for partial in sums[1:]:
        sums[0] += partial
    return sums[0]
