"""Dropout whose mask is made where it is used, a byte an element."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..philox import MASK64
from ..reference.dropout import Dropout
from .compiled import dropout as kernels
from .compiled import is_available
from .layout import CACHE_BYTES, as_line, same_memory
from .threads import for_each, slices

NUMBERS = 1 << 24  # uniform numbers are whole multiples of 1 / NUMBERS


class CompiledDropout(Dropout):
    def dropout(self, x: Any, p: float, seed: int, stream: int) -> tuple[Any, Any]:
        if not is_available() or not _is_served(x):
            return super().dropout(x, p, seed, stream)
        keep = np.empty(x.shape, bool)  # in the order of the shape, as the numbers are
        bits = keep.reshape(-1).view(np.uint8)
        # The reference compares in float32.
        threshold = np.uint64(math.ceil(float(np.float32(p)) * NUMBERS))
        key, counter = np.uint64(seed & MASK64), np.uint64(stream & MASK64)

        def choose(part: slice) -> None:
            kernels.kept(key, counter, np.uint64(part.start // 4), threshold, bits[part])

        for_each(choose, slices(x.size, CACHE_BYTES // 4))
        if not x.flags.c_contiguous:
            in_order = np.empty_like(x, dtype=bool)
            in_order[...] = keep
            keep = in_order
        scale = 1.0 / (1.0 - p) if p < 1 else 0.0
        return _scaled(x, keep, scale), (keep, scale)

    def dropout_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        if not is_available() or not _is_served(dout):
            return super().dropout_backward(saved, dout)
        return (_scaled(dout, *saved),)


def _is_served(x: Any) -> bool:
    return x.size > 0 and x.dtype.kind == "f" and x.itemsize >= 4


def _scaled(x: Any, keep: Any, scale: float) -> Any:
    """x * keep * scale in one pass where both run through memory in one order without gaps."""
    out = np.empty_like(x)
    lines = [as_line(x), as_line(keep), as_line(out)]
    if not same_memory(x, keep) or any(line is None for line in lines):
        return x * keep * scale
    factor = x.dtype.type(scale)
    x_line, keep_line, out_line = lines[0], lines[1].view(np.uint8), lines[2]
    parts = slices(x.size, CACHE_BYTES // x.itemsize)
    for_each(lambda part: kernels.scaled(x_line[part], keep_line[part], factor, out_line[part]), parts)
    return out
