"""How arrays lie in memory, and how many threads a kernel takes."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

BLOCK = 256  # threads of an elementwise block: many enough to hide latency, few enough to leave registers
# A grid of more blocks than run at once only adds their start to the cost: each thread then takes several elements. Far
# more than any GPU runs side by side, so that the shape of a launch does not depend on the GPU.
MOST_BLOCKS = 16_384


def blocks_for(threads: int, block: int = BLOCK) -> int:
    """How many blocks give about ``threads`` threads: for kernels that loop with the stride of the grid."""
    return min(-(-threads // block), MOST_BLOCKS)


def is_dense(array: Any) -> bool:
    """Whether the elements fill one piece of memory, in whatever order of the axes."""
    return array.flags.c_contiguous or _fills_memory(array.shape, array.strides, array.itemsize)


def same_order(a: Any, b: Any) -> bool:
    """Whether two dense arrays of one shape run through memory in the same order of their axes."""
    if a.shape != b.shape:
        return False
    if a.strides == b.strides and a.itemsize == b.itemsize:
        return True
    return all(
        n == 1 or s // a.itemsize == t // b.itemsize
        for n, s, t in zip(a.shape, a.strides, b.strides, strict=True)
    )  # fmt: skip


def is_channels_last(x: Any) -> bool:
    """Whether an (N, C, ...) array lies in memory as (N, ..., C)."""
    return _has_channels_last(x.shape, x.strides, x.itemsize)


def channels_last(xp: Any, x: Any) -> Any:
    """(N, C, ...) as a contiguous (N, ..., C) array; a view where the memory is so already."""
    return xp.ascontiguousarray(xp.moveaxis(x, 1, -1))


def channels_first(xp: Any, x: Any) -> Any:
    """The (N, C, ...) view of an (N, ..., C) array."""
    return xp.moveaxis(x, -1, 1)


def pixels(x: Any) -> int:
    """How many elements a channel of an (N, C, ...) array has."""
    return x.shape[0] * math.prod(x.shape[2:])


# Every launch asks, about few different arrays: looking an answer up takes a tenth of the time of finding it.
@lru_cache(maxsize=4096)
def _fills_memory(shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int) -> bool:
    expected = itemsize
    for stride, length in sorted((s, n) for s, n in zip(strides, shape, strict=True) if n != 1):
        if stride != expected:
            return 0 in shape
        expected *= length
    return True


@lru_cache(maxsize=4096)
def _has_channels_last(shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int) -> bool:
    expected = itemsize
    for axis in (1, *range(len(shape) - 1, 1, -1), 0):
        if shape[axis] != 1 and strides[axis] != expected:
            return False
        expected *= shape[axis]
    return True
