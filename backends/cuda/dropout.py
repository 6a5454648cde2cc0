"""Dropout as a kernel that makes its random words itself: no mask in memory, neither written nor read."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .. import philox
from ..reference.dropout import Dropout
from .layout import BLOCK, blocks_for, is_channels_last
from .program import is_served
from .runtime import Runtime


class Mask(NamedTuple):
    """All that backward needs to make the mask again."""

    scale: float  # of the elements that are kept
    threshold: int  # those are kept whose random number of 24 bits is at least this
    seed: int
    stream: int
    stream_base: Any  # see CudaBackend.stream_base


class KernelDropout(Dropout):
    xp: Any
    runtime: Runtime
    launch: Any
    stream_base: Any

    def dropout(self, x: Any, p: float, seed: int, stream: int) -> tuple[Any, Any]:
        if not is_served(x.dtype):
            return super().dropout(x, p, seed, stream)
        # The reference compares k / 2**24 with p in float32. Whole numbers are compared alike on every device.
        threshold = math.ceil(float(np.float32(p)) * 2**24)
        scale = 1.0 / (1.0 - p) if p < 1 else 0.0
        mask = Mask(scale, threshold, seed & philox.MASK64, stream & philox.MASK64, self.stream_base())
        return self._masked(x, mask), mask

    def dropout_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        if not isinstance(saved, Mask):
            return super().dropout_backward(saved, dout)
        return (self._masked(dout, saved),)

    def _masked(self, x: Any, mask: Mask) -> Any:
        """The mask counts in the order of the shape, so it fits whatever order in memory ``x`` has."""
        if not x.flags.c_contiguous and not (x.ndim > 2 and is_channels_last(x)):
            x = self.xp.ascontiguousarray(x)
        out = self.runtime.output_like(x)
        if x.flags.c_contiguous:
            blocks = blocks_for(-(-x.size // max(4, 16 // x.itemsize)))
            self.launch("dropout", "dropout", x.dtype, blocks, BLOCK, (x, out, *mask, x.size))
        else:
            images, channels, points = x.shape[0], x.shape[1], math.prod(x.shape[2:])
            blocks = blocks_for(images * channels * -(-points // 4))
            shape = images, channels, points
            self.launch("dropout", "dropout_channels_last", x.dtype, blocks, BLOCK, (x, out, *mask, *shape))
        return out
