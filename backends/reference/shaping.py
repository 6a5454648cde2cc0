"""Gates that move elements and compute nothing: reshape, permute, expand, index, concatenate, pad, cast."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .arithmetic import unbroadcast
from .reduction import accumulator


def is_basic(index: Any) -> bool:
    """True for an index of integers, slices, ... and None alone: it names no element twice."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(part is None or part is Ellipsis or isinstance(part, (int, slice)) for part in parts)


class Shaping:
    xp: Any

    def reshape(self, x: Any, shape: tuple[int, ...]) -> tuple[Any, Any]:
        return x.reshape(shape), x.shape

    def reshape_backward(self, shape: Any, dout: Any) -> tuple[Any, ...]:
        return (dout.reshape(shape),)

    def permute(self, x: Any, axes: tuple[int, ...]) -> tuple[Any, Any]:
        return self.xp.transpose(x, axes), axes

    def permute_backward(self, axes: Any, dout: Any) -> tuple[Any, ...]:
        inverse = sorted(range(len(axes)), key=lambda i: axes[i] % len(axes))
        return (self.xp.transpose(dout, inverse),)

    def expand(self, x: Any, shape: tuple[int, ...]) -> tuple[Any, Any]:
        return self.xp.broadcast_to(x, shape), x.shape

    def expand_backward(self, shape: Any, dout: Any) -> tuple[Any, ...]:
        return (unbroadcast(dout, shape),)

    def getitem(self, x: Any, index: Any) -> tuple[Any, Any]:
        return x[index], (x.shape, index)

    def getitem_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        shape, index = saved
        if is_basic(index):
            dx = self.xp.zeros(shape, dtype=dout.dtype)
            dx[index] = dout
            return (dx,)
        # An element named twice gets both gradients, and one named often many: half precision is added up in float32.
        wide = accumulator(dout.dtype)
        dx = self.xp.zeros(shape, dtype=wide)
        self.xp.add.at(dx, index, dout.astype(wide, copy=False))
        return (dx.astype(dout.dtype, copy=False),)

    def cat(self, *arrays: Any, axis: int) -> tuple[Any, Any]:
        return self.xp.concatenate(arrays, axis=axis), ([a.shape[axis] for a in arrays], axis)

    def cat_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        lengths, axis = saved
        ends = [sum(lengths[: i + 1]) for i in range(len(lengths) - 1)]
        return tuple(self.xp.split(dout, ends, axis=axis))

    def pad(self, x: Any, widths: Sequence[tuple[int, int]], value: float = 0.0) -> tuple[Any, Any]:
        """Put ``widths[i] = (before, after)`` constant elements around axis i; a negative width cuts."""
        grown = [(max(before, 0), max(after, 0)) for before, after in widths]
        out = self.xp.pad(x, grown, mode="constant", constant_values=value)
        return out[self._inside(out.shape, [(-b, -a) for b, a in widths])], (x.shape, widths)

    def pad_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        shape, widths = saved
        cut = self._inside(shape, [(-before, -after) for before, after in widths])
        dx = self.xp.zeros(shape, dtype=dout.dtype)
        dx[cut] = dout[self._inside(dout.shape, widths)]
        return (dx,)

    @staticmethod
    def _inside(shape: tuple[int, ...], widths: Sequence[tuple[int, int]]) -> tuple[slice, ...]:
        """The index that leaves out ``widths`` elements at both ends; negative widths leave out nothing."""
        return tuple(slice(max(b, 0), n - max(a, 0)) for n, (b, a) in zip(shape, widths, strict=True))

    def clone(self, x: Any) -> tuple[Any, Any]:
        return x.copy(order="K"), None

    def clone_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        return (dout,)

    def cast(self, x: Any, dtype: Any) -> tuple[Any, Any]:
        return x.astype(dtype, copy=False), x.dtype

    def cast_backward(self, dtype: Any, dout: Any) -> tuple[Any, ...]:
        return (dout.astype(dtype, copy=False),)
