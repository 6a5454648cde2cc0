"""Max-pooling that remembers the winner's place in the kernel, one byte an output."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..geometry import Pair, output_size
from ..reference.pooling import Pooling
from .batch_last import batch_first, in_order, is_batch_last
from .compiled import is_available
from .compiled import pooling as kernels
from .layout import channels_first, channels_last, images
from .masking import masked
from .threads import for_each, together

MOST_PLACES = 255

Windows = tuple[Pair, Pair, Pair, Pair]  # kernel, stride, padding, dilation
SIDE_BY_SIDE: Windows = ((2, 2), (2, 2), (0, 0), (1, 1))


def _lanes_last(x: Any, batch_last: bool) -> Any:
    """(N, C, H, W) as a contiguous (N, H, W, C) array, or (C, H, W, N): the kernels take either."""
    return in_order(x) if batch_last else channels_last(x)


def _batch_first_again(memory: Any, batch_last: bool) -> Any:
    return batch_first(memory) if batch_last else channels_first(memory)


def _pool_compiled(x: Any, out_size: Pair, windows: Windows) -> tuple[Any, Any]:
    batch_last = is_batch_last(x)
    memory = _lanes_last(x, batch_last)
    n, height, width, c = memory.shape
    best = np.empty((n, *out_size, c), x.dtype)
    winner = np.empty(best.shape, np.uint8)
    windows = tuple((int(rows), int(columns)) for rows, columns in windows)  # type: ignore[assignment]
    simple = windows == SIDE_BY_SIDE and out_size == (height // 2, width // 2)

    if simple:
        together(kernels.max_pool_2x2, memory, best, winner)
    else:
        together(kernels.max_pool, memory, *windows, best, winner)
    return _batch_first_again(best, batch_last), ("compiled", x.shape[2:], winner, windows, simple, batch_last)


def _pool_backward_compiled(
    dout: Any, size: Pair, winner: Any, windows: Windows, simple: bool, batch_last: bool
) -> Any:
    gradient = _lanes_last(dout, batch_last)
    dx = np.empty((len(winner), *size, winner.shape[3]), dout.dtype)

    if simple:
        together(kernels.max_pool_2x2_backward, winner, gradient, dx)
    else:
        together(kernels.max_pool_backward, winner, gradient, *windows, dx)
    return _batch_first_again(dx, batch_last)


class ChannelsLastPooling(Pooling):
    def max_pool2d(
        self,
        x: Any,
        kernel: Pair,
        stride: Pair,
        padding: Pair = (0, 0),
        dilation: Pair = (1, 1),
        ceil_mode: bool = False,
    ) -> tuple[Any, Any]:
        n, c, height, width = x.shape
        out_size = output_size((height, width), kernel, stride, padding, dilation, ceil_mode)
        if kernel[0] * kernel[1] > MOST_PLACES or x.size == 0:
            return self._from_reference(x, kernel, stride, padding, dilation, ceil_mode)
        if is_available() and x.dtype.kind == "f" and x.itemsize >= 4:
            return _pool_compiled(x, out_size, (kernel, stride, padding, dilation))
        places = list(self._kernel_places((height, width), out_size, kernel, stride, padding, dilation))
        memory = x.transpose(0, 2, 3, 1)
        best = np.full((n, *out_size, c), -np.inf, x.dtype)
        winner = np.zeros(best.shape, np.uint8)

        def pool(part: slice) -> None:
            for number, (outputs, inputs) in enumerate(places):
                value, rival, place = memory[part, *inputs], best[part, *outputs], winner[part, *outputs]
                # The numbers grow, so the last one that was larger is the maximum of (larger * number): no branch.
                np.maximum(place, (value > rival).view(np.uint8) * np.uint8(number), out=place)
                np.maximum(rival, value, out=rival)

        for_each(pool, images(x))
        if not np.isfinite(best).all():  # NaN compares with nothing, and -inf does not beat the first -inf
            return self._from_reference(x, kernel, stride, padding, dilation, ceil_mode)
        apart = stride[0] >= kernel[0] and stride[1] >= kernel[1] and dilation == (1, 1)
        return best.transpose(0, 3, 1, 2), ("places", x.shape, winner, places, apart)

    def max_pool2d_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        kind, *rest = saved
        if kind == "reference":
            return super().max_pool2d_backward(rest[0], dout)
        if kind == "compiled":
            return (_pool_backward_compiled(dout, *rest),)
        (n, c, height, width), winner, places, apart = rest
        gradient = dout.transpose(0, 2, 3, 1)
        dx = np.zeros((n, height, width, c), dout.dtype)

        def share_out(part: slice) -> None:
            for number, (outputs, inputs) in enumerate(places):
                won = winner[part, *outputs] == number
                if apart:  # no element is in two windows
                    masked(gradient[part, *outputs], won, out=dx[part, *inputs])
                else:
                    dx[part, *inputs] += masked(gradient[part, *outputs], won)

        for_each(share_out, images(dx))
        return (dx.transpose(0, 3, 1, 2),)

    def _from_reference(self, *arguments: Any) -> tuple[Any, Any]:
        out, saved = super().max_pool2d(*arguments)
        return out, ("reference", saved)
