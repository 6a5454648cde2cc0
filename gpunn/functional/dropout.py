"""Dropout."""

from __future__ import annotations

from ..random import Generator, default_generator
from ..tensor import Tensor, apply


def dropout(input: Tensor, p: float = 0.5, training: bool = True, generator: Generator | None = None) -> Tensor:
    """Set each element to 0 with probability ``p`` and divide the rest by 1 - p; outside of training do nothing.

    The mask depends on the generator's seed and on how many draws came before, not on the device.
    N. Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", 2014.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: expected a probability 0 <= p <= 1, got {p}")
    if not training or p == 0:
        return input
    generator = generator or default_generator
    return apply("dropout", input, p=p, seed=generator.seed, stream=generator.next_stream())
