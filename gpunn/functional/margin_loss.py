"""Losses of a score against a sign: the target is -1 or +1, and each loss is a function of the margin m = target * input.

All but the sigmoid loss are convex, and all bound the count of mistakes, [m <= 0], from above or follow it smoothly: see the
docstrings, and C. Bishop, "Pattern Recognition and Machine Learning", 2006, section 7.1.2.
"""

from __future__ import annotations

import math
from typing import Any

from ..dtypes import is_number
from ..mixed_precision import in_float32
from ..tensor import Tensor
from .activation import softplus
from .elementwise import where
from .loss import reduce, same_shape


@in_float32
def soft_margin_loss(input: Tensor, target: Any, reduction: str = "mean") -> Tensor:
    """The logistic loss log(1 + exp(-m)), m = target * input, in nats; in other units it is `logistic_loss`."""
    return reduce(softplus(-_margin("soft_margin_loss", input, target, reduction), threshold=float("inf")), reduction)


@in_float32
def logistic_loss(input: Tensor, target: Any, base: float = 2.0, reduction: str = "mean") -> Tensor:
    """log(1 + exp(-m)) / log(base), m = target * input: the logistic loss in units of ``base``, bits where it is 2.

    With base 2 it is 1 at m = 0, so that it lies above the count of mistakes everywhere and touches it there.
    C. Bishop, "Pattern Recognition and Machine Learning", 2006, section 7.1.2.

    Args:
        input: scores of any shape.
        target: -1 or +1 for each.
        base: of the logarithm, above 1.
    """
    if not (is_number(base) and base > 1):
        raise ValueError(f"logistic_loss: expected base > 1, got {base!r}; 2 measures in bits, math.e in nats")
    nats = softplus(-_margin("logistic_loss", input, target, reduction), threshold=float("inf"))
    return reduce(nats / math.log(base), reduction)


@in_float32
def hinge_loss(input: Tensor, target: Any, margin: float = 1.0, reduction: str = "mean") -> Tensor:
    """max(0, margin - m), m = target * input. C. Cortes and V. Vapnik, 1995."""
    return reduce((margin - _margin("hinge_loss", input, target, reduction)).relu(), reduction)


@in_float32
def squared_hinge_loss(input: Tensor, target: Any, margin: float = 1.0, reduction: str = "mean") -> Tensor:
    """max(0, margin - m)^2, m = target * input: smooth where the hinge has its corner. Y. Tang, 2013."""
    hinge = (margin - _margin("squared_hinge_loss", input, target, reduction)).relu()
    return reduce(hinge * hinge, reduction)


@in_float32
def modified_huber_loss(input: Tensor, target: Any, reduction: str = "mean") -> Tensor:
    """max(0, 1 - m)^2 for m >= -1, else -4 m, with m = target * input. T. Zhang, 2004."""
    m = _margin("modified_huber_loss", input, target, reduction)
    square = (1 - m).relu() ** 2
    return reduce(where(m >= -1, square, -4 * m), reduction)


@in_float32
def exponential_loss(input: Tensor, target: Any, reduction: str = "mean") -> Tensor:
    """exp(-m), m = target * input: the loss of AdaBoost. J. Friedman, T. Hastie and R. Tibshirani, 2000."""
    return reduce((-_margin("exponential_loss", input, target, reduction)).exp(), reduction)


@in_float32
def sigmoid_loss(input: Tensor, target: Any, reduction: str = "mean") -> Tensor:
    """1 / (1 + exp(m)), m = target * input: a smooth count of mistakes. L. Mason et al., 1999."""
    return reduce((-_margin("sigmoid_loss", input, target, reduction)).sigmoid(), reduction)


def _margin(name: str, input: Tensor, target: Any, reduction: str) -> Tensor:
    return input * same_shape(name, input, target, reduction)
