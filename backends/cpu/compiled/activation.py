"""The rectifier with a bias, and the gradients of both: one pass over contiguous memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiler import compiled

BLOCK = 64  # rows whose gradients are added up before they join the total


@compiled
def relu_backward(out: Any, dout: Any, dx: Any) -> None:
    """dx = dout where out is not <= 0, else 0; all (n)."""
    zero = dout.dtype.type(0)
    for i in range(len(out)):
        dx[i] = zero if out[i] <= 0 else dout[i]


@compiled
def bias_relu(rows: Any, bias: Any, out: Any) -> None:
    """out = relu(rows + bias); rows and out (M, C)."""
    zero = rows.dtype.type(0)
    for i in range(len(rows)):
        row, result = rows[i], out[i]
        for c in range(len(bias)):
            value = row[c] + bias[c]
            result[c] = zero if value <= 0 else value


@compiled
def bias_relu_backward(out: Any, dout: Any, dx: Any, total: Any) -> None:
    """`relu_backward` of rows (M, C), and the sum (C) of the rows of dx."""
    count, channels = out.shape
    zero = dout.dtype.type(0)
    block_total = np.empty(channels, dout.dtype)
    total[:] = 0
    for first in range(0, count, BLOCK):
        block_total[:] = 0
        for i in range(first, min(first + BLOCK, count)):
            rectified, gradient, result = out[i], dout[i], dx[i]
            for c in range(channels):
                passed = zero if rectified[c] <= 0 else gradient[c]
                result[c] = passed
                block_total[c] += passed
        for c in range(channels):
            total[c] += block_total[c]
