"""Functions of many elements that are methods of `Tensor` too."""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor


def logsumexp(input: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
    """log(sum_i exp(x_i)) along ``dim``: a smooth maximum, whose gradient is `softmax`.

    For n numbers it lies between the maximum and a little more::

        max(x) <= logsumexp(x) <= max(x) + log(n)

    Below it is equal only for n = 1, above where all x_i are equal. No exponential overflows, since the largest number is
    taken out first: max(x) + log(sum_i exp(x_i - max(x))).
    Source: S. Boyd and L. Vandenberghe, "Convex Optimization", 2004, section 3.1.5.

    Args:
        input: of any shape.
        dim: one dimension, several, or None for all.
        keepdim: keep them with length 1.
    """
    return input.logsumexp(dim, keepdim)
