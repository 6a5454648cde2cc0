"""Dropout."""

from __future__ import annotations

from gpunn import functional as F
from gpunn.dtypes import is_number
from gpunn.tensor import Tensor

from .module import Module


class Dropout(Module):
    """In training sets each element to 0 with probability ``p`` and scales the others by 1 / (1 - p); else the identity.

    With ``inverted=False`` it is plain dropout: the others stay as they are in training, and outside of it all elements are
    scaled by 1 - p. See `functional.dropout`.

    ``inplace`` is accepted for PyTorch's sake and has no effect. N. Srivastava et al., 2014.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False, *, inverted: bool = True) -> None:
        super().__init__()
        if not (is_number(p) and 0.0 <= p <= 1.0):
            raise ValueError(f"Dropout: expected a probability 0 <= p <= 1, got {p!r}")
        self.p, self.inplace, self.inverted = p, inplace, inverted

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.p, training=self.training, inverted=self.inverted)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}" + ("" if self.inverted else ", inverted=False")
