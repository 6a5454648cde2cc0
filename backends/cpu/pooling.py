"""Max-pooling that remembers the winner's place in the kernel, one byte an output."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..geometry import Pair, output_size
from ..reference.pooling import Pooling
from .layout import images
from .masking import masked
from .threads import for_each

MOST_PLACES = 255


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
