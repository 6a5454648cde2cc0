"""Max-pooling that remembers the winner's place in the kernel, one byte an output."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..geometry import Pair, output_size
from ..reference.pooling import Pooling
from .compiled import is_available
from .compiled import pooling as kernels
from .layout import channels_first, channels_last, images
from .masking import masked
from .threads import for_each

MOST_PLACES = 255


Windows = tuple[Pair, Pair, Pair, Pair]  # kernel, stride, padding, dilation
SIDE_BY_SIDE: Windows = ((2, 2), (2, 2), (0, 0), (1, 1))


def _pool_compiled(x: Any, out_size: Pair, windows: Windows) -> tuple[Any, Any]:
    memory = channels_last(x)
    n, height, width, c = memory.shape
    best = np.empty((n, *out_size, c), x.dtype)
    winner = np.empty(best.shape, np.uint8)
    windows = tuple((int(rows), int(columns)) for rows, columns in windows)  # type: ignore[assignment]
    simple = windows == SIDE_BY_SIDE and out_size == (height // 2, width // 2)

    def pool(part: slice) -> None:
        if simple:
            kernels.max_pool_2x2(memory[part], best[part], winner[part])
        else:
            kernels.max_pool(memory[part], *windows, best[part], winner[part])

    for_each(pool, images(memory))
    return channels_first(best), ("compiled", x.shape, winner, windows, simple)


def _pool_backward_compiled(dout: Any, shape: tuple[int, ...], winner: Any, windows: Windows, simple: bool) -> Any:
    gradient = channels_last(dout)
    dx = np.empty((shape[0], *shape[2:], shape[1]), dout.dtype)

    def share_out(part: slice) -> None:
        if simple:
            kernels.max_pool_2x2_backward(winner[part], gradient[part], dx[part])
        else:
            kernels.max_pool_backward(winner[part], gradient[part], *windows, dx[part])

    for_each(share_out, images(dx))
    return channels_first(dx)


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
        places = list(self._kernel_places((height, width), out_size, kernel, stride, padding, dilation))
        if len(places) > MOST_PLACES or x.size == 0:
            return self._from_reference(x, kernel, stride, padding, dilation, ceil_mode)
        if is_available() and x.dtype.kind == "f" and x.itemsize >= 4:
            return _pool_compiled(x, out_size, (kernel, stride, padding, dilation))
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
