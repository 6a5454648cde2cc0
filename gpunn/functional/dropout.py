"""Dropout."""

from __future__ import annotations

from ..random import Generator, default_generator
from ..tensor import Tensor, apply


def dropout(
    input: Tensor, p: float = 0.5, training: bool = True, generator: Generator | None = None, *, inverted: bool = True
) -> Tensor:
    """Set each element to 0 with probability ``p``. The mean over the masks is the same in training and outside of it:

        inverted:  in training  x * mask / (1 - p),  else  x
        plain:     in training  x * mask,            else  x * (1 - p)

    The mask depends on the generator's seed and on how many draws came before, not on the device.
    N. Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", 2014 (there plain).
    """
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: expected a probability 0 <= p <= 1, got {p}")
    if p == 0:
        return input
    if training:
        generator = generator or default_generator
        input = apply("dropout", input, p=p, seed=generator.seed, stream=generator.next_stream())
    # Plain dropout is 1 - p times the inverted one, in training and outside of it.
    return input if inverted else input * (1 - p)
