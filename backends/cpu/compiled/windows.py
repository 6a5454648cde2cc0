"""What im2col needs besides the product: windows added up where they overlap, and the sums of columns."""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiler import compiled

BLOCK = 64  # rows that are added up before they join the total


@compiled
def scatter(columns: Any, images: Any, kernel: Any, stride: Any, dilation: Any, out_size: Any) -> None:
    """Add ``columns`` (N * OH * OW, KH * KW * C) to the padded ``images`` (N, H, W * C), at the places that windows saw."""
    channels = columns.shape[1] // (kernel[0] * kernel[1])
    runs, run = kernel[1], channels
    if dilation[1] == 1:  # a row of a window is one run of memory
        runs, run = 1, kernel[1] * channels
    row = 0
    for n in range(len(images)):
        for i in range(out_size[0]):
            for j in range(out_size[1]):
                source = columns[row]
                row += 1
                place = 0
                for u in range(kernel[0]):
                    target = images[n, i * stride[0] + u * dilation[0]]
                    for v in range(runs):
                        start = (j * stride[1] + v * dilation[1]) * channels
                        to, values = target[start : start + run], source[place : place + run]
                        for lane in range(run):
                            to[lane] += values[lane]
                        place += run


@compiled
def sum_rows(rows: Any, total: Any) -> None:
    """Add (M, C) to ``total`` (C), in the order of `activation.bias_relu_backward`, so that the sums have the same bits."""
    block_total = np.empty(len(total), total.dtype)
    for first in range(0, len(rows), BLOCK):
        block_total[:] = 0
        for row in range(first, min(first + BLOCK, len(rows))):
            values = rows[row]
            for lane in range(len(total)):
                block_total[lane] += values[lane]
        for lane in range(len(total)):
            total[lane] += block_total[lane]
