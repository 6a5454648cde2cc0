"""Convolutions of 2x2 images with 3x3 filters and padding 1, and both gradients, in 9 products where the definition has 16.

Along an axis of two pixels with zeros around them, three weights give y0 = w1 x0 + w2 x1 and y1 = w0 x0 + w1 x1: a Toeplitz
matrix times x, in three multiplications instead of four,

    P = w1 (x0 + x1),  Q = (w2 - w1) x1,  R = (w0 - w1) x0;   y0 = P + Q,  y1 = P + R

(S. Winograd, "Arithmetic complexity of computations", 1980). On both axes, with these sums and differences as matrices:

    V = B x B',  U = G w G',  out = A (U * V) A'          U * V: for each of 3x3 places a product of matrices, over channels
    Z = A' dout A,  dx = B' (U * Z) B,  dw = G' (Z * V) G

Winograd's F(2x2, 3x3), which knows nothing of the zeros, has 16 as well. The constants are 1 and -1, so an error comes from sums
of at most four terms: against float64 it stays below ``BUDGET`` * eps * sqrt(K) * max|a| * max|b|, where a and b are the two
operands (x and w, dout and w, or x and dout) and K the terms of a sum; a bias is added with one more rounding. An infinity may
become NaN, and with NaN reaches all outputs of an image, as all of them see all of its pixels.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiled import toeplitz as kernels
from .compiled.squares import LANES
from .compiled.toeplitz_places import PLACES
from .scratch import aligned, scratch
from .threads import together
from .winograd import Gradients

BUDGET = 8  # 2.3 times the worst that was measured
LARGE = 1 << 22  # bytes of the filters' gradient, from which on it is written beside the caches
LINE = 16  # floats of a line of the cache


def _panels(count: int) -> int:
    return -(-count // LANES)


def convolve(x: Any, weight: Any, bias: Any, rectify: bool = False) -> Any:
    """x (N, 2, 2, C) and weight (O, 3, 3, C), contiguous float32; bias (O) or None: out (N, 2, 2, O).

    ``rectify``: max(0, out).
    """
    out = np.empty((len(x), 2, 2, len(weight)), np.float32)
    added = np.zeros(len(weight), np.float32) if bias is None else np.ascontiguousarray(bias)
    matrices = scratch("V", (_panels(len(x)), _panels(x.shape[3]), PLACES, LANES + 1, LANES))
    together(kernels.forward, x, weight, added, rectify, matrices, out)
    return out


def differentiate(x: Any, weight: Any, dout: Any, rectified: Any, of_input: bool, of_weight: bool,
                  of_bias: bool) -> Gradients:  # fmt: skip
    """x (N, 2, 2, C), weight (O, 3, 3, C), dout (N, 2, 2, O), contiguous float32.

    ``rectified``: the outputs, where they went through a ReLU, else None. The gradients are the same, bit for bit, as those of
    a convolution alone at a dout that went through the ReLU's own gradient.
    """
    count, channels, outs = len(x), x.shape[3], len(weight)
    nothing = np.empty((0, 0, 0, 0), np.float32)
    totals = np.zeros((-(-count // kernels.READ_IMAGES), outs), np.float32)
    gradients = scratch("Z", (_panels(outs), PLACES, count | 1, LANES))
    matrices = scratch("V", (_panels(channels) if of_weight else 0, PLACES, count | 1, LANES))
    dx = np.empty(x.shape, np.float32) if of_input else nothing
    dw = aligned(weight.shape) if of_weight else nothing
    beside = weight.nbytes >= LARGE and channels % LINE == 0
    masking = nothing if rectified is None else rectified
    together(kernels.backward, x, weight, dout, masking, totals, gradients, matrices, dx, dw, beside)
    return Gradients(
        dx if of_input else None,
        dw if of_weight else None,
        totals.sum(axis=0) if of_bias else None,
    )
