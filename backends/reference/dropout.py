"""Dropout: N. Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", 2014."""

from __future__ import annotations

from typing import Any

from .. import philox


class Dropout:
    xp: Any

    def dropout(self, x: Any, p: float, seed: int, stream: int) -> tuple[Any, Any]:
        """Set each element to 0 with probability ``p`` and divide the others by 1 - p ("inverted" dropout).

        Element i, counted in the order of the shape and not of memory, is kept where number i of the stream is at
        least p: the same mask on every device.
        """
        keep = philox.uniform(seed, stream, x.shape, xp=self.xp) >= p
        scale = 1.0 / (1.0 - p) if p < 1 else 0.0
        return x * keep * scale, (keep, scale)

    def dropout_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        keep, scale = saved
        return (dout * keep * scale,)
