"""Channels-last memory behind N,C,H,W shapes.

An array of shape (N, C, H, W) whose memory runs N, H, W, C is made and read without a copy: it is the transposed view of
a contiguous (N, H, W, C) array. Elementwise operations keep that order, so it lasts from layer to layer.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .threads import slices

# Work is cut into pieces of about this many bytes, so that what one pass writes the next still finds in the cache.
CACHE_BYTES = 1 << 20


def channels_to_end(x: Any) -> Any:
    """The (N, ..., C) view of an (N, C, ...) array."""
    return x.transpose(0, *range(2, x.ndim), 1)


def channels_last(x: Any) -> Any:
    """(N, C, ...) as a contiguous (N, ..., C) array; a view where the memory is so already."""
    return np.ascontiguousarray(channels_to_end(x))


def channels_first(x: Any) -> Any:
    """The (N, C, ...) view of an (N, ..., C) array."""
    return x.transpose(0, x.ndim - 1, *range(1, x.ndim - 1))


def images(x: Any) -> list[slice]:
    """The first axis in pieces whose data fill the cache."""
    return slices(len(x), CACHE_BYTES // max(1, x.nbytes // max(1, len(x))))


def same_memory(a: Any, b: Any) -> bool:
    """Whether two arrays of one shape run through memory in the same order."""
    if a.shape != b.shape:
        return False
    steps_a = [stride // a.itemsize for stride in a.strides]
    steps_b = [stride // b.itemsize for stride in b.strides]
    return steps_a == steps_b


def as_line(x: Any) -> Any:
    """All elements as they follow each other in memory: a view (n), None where there are gaps between them."""
    if x.flags.c_contiguous:
        return x.reshape(-1)
    by_stride = x.transpose(sorted(range(x.ndim), key=lambda axis: -abs(x.strides[axis])))
    return by_stride.reshape(-1) if by_stride.flags.c_contiguous else None
