"""Noise on a layer's input."""

from __future__ import annotations

import math

from gpunn.creation import randn
from gpunn.dtypes import is_number
from gpunn.tensor import Tensor

from .module import Module


class GaussianNoise(Module):
    """In training adds independent normal numbers of mean 0 and standard deviation ``std`` to each element; else the identity.

    The numbers are the same on every device: they are made on the host, and copied. On the inputs of a linear model with squared
    error it acts, in the mean over the noise, as the penalty std^2 sum w^2 on the weights: C. Bishop, "Training with noise is
    equivalent to Tikhonov regularization", 1995.

    Raises:
        ValueError: ``std`` is negative or not finite.
    """

    def __init__(self, std: float = 0.1) -> None:
        super().__init__()
        if not (is_number(std) and 0 <= std < math.inf):
            raise ValueError(f"GaussianNoise: expected a finite std >= 0, got {std!r}")
        self.std = float(std)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.std == 0:
            return x
        return x + self.std * randn(x.shape, dtype=x.dtype, device=x.device)

    def extra_repr(self) -> str:
        return f"std={self.std}"
