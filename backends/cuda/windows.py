"""What the kernels over sliding windows are told: sizes, and images as they lie in memory."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..geometry import Pair, effective_kernel
from . import layout

LARGEST_INT = (1 << 31) - 1


class Windows(NamedTuple):
    """Windows over images in memory, (images, height, width, channels); see windows.cuh."""

    images: int
    channels: int
    size: Pair
    out_size: Pair
    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair

    def arguments(self) -> tuple[int, ...]:
        """In the order of the kernels' parameters."""
        pairs = (self.size, self.out_size, self.kernel, self.stride, self.padding, self.dilation)
        return (self.images, self.channels, *(number for pair in pairs for number in pair))

    def fit_in_int(self) -> bool:
        """Whether no place within an image exceeds the kernels' int, however many elements there are in all."""
        reach = (
            size + 2 * around + step + extent
            for size, around, step, extent in zip(
                self.size, self.padding, self.stride, effective_kernel(self.kernel, self.dilation), strict=True
            )
        )
        return max(*reach, self.channels, self.kernel[0] * self.kernel[1]) <= LARGEST_INT

    def outputs(self, itemsize: int) -> int:
        """Threads for a kernel in which each makes a pack of channels of one window."""
        height, width = self.out_size
        return self.images * height * width * packs(self.channels, itemsize)

    def cells(self, itemsize: int) -> int:
        """Threads for a kernel that gathers: each takes stride x stride elements of the padded image."""
        height, width = (
            (size + around - 1) // step + 1
            for size, around, step in zip(self.size, self.padding, self.stride, strict=True)
        )
        return self.images * height * width * packs(self.channels, itemsize)


def packs(channels: int, itemsize: int) -> int:
    """How many threads share the channels of a pixel: each moves 16 bytes, or one element where there is a rest."""
    pack = 16 // itemsize
    return channels // pack if channels % pack == 0 else channels


def to_memory(xp: Any, x: Any, channels_last: bool) -> Any:
    """(N, C, H, W) as a contiguous (images, H, W, channels) array, a view where the memory is so.

    Planes of channels-first memory are images of one channel.
    """
    if channels_last:
        return layout.channels_last(xp, x)
    n, c, height, width = x.shape
    return xp.ascontiguousarray(x).reshape(n * c, height, width, 1)


def from_memory(xp: Any, memory: Any, planes: tuple[int, ...], channels_last: bool) -> Any:
    """The (N, C, H, W) view of what `to_memory` made, or of an array like it; ``planes`` is (N, C)."""
    return layout.channels_first(xp, memory) if channels_last else memory.reshape(*planes, *memory.shape[1:3])
