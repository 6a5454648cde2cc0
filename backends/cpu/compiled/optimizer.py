"""Steps of optimizers: one pass over each array (n), in place. The rules are `backends.reference.optimizer`'s.

``numbers`` is an array of the parameters' dtype: one argument costs less than many. ``sign`` is -1 where the objective is
maximized. A factor of 0 leaves its summand out altogether, so that no infinity times 0 comes of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiler import compiled


@compiled
def sgd(param: Any, grad: Any, numbers: Any) -> None:
    """param -= lr g, with g the gradient and that of the penalty."""
    sign, weight_decay, lr = numbers[0], numbers[1], numbers[2]
    zero = param.dtype.type(0)
    for i in range(len(param)):
        decay = zero if weight_decay == 0 else weight_decay * param[i]
        param[i] -= lr * (sign * grad[i] + decay)


@compiled
def sgd_momentum(param: Any, grad: Any, buffer: Any, numbers: Any) -> None:
    """buffer = keep buffer + take g; param -= lr buffer, or lr (g + ahead buffer) where ``ahead`` is not 0 (Nesterov)."""
    sign, weight_decay, lr = numbers[0], numbers[1], numbers[2]
    keep, take, ahead = numbers[3], numbers[4], numbers[5]
    zero = param.dtype.type(0)
    for i in range(len(param)):
        decay = zero if weight_decay == 0 else weight_decay * param[i]
        descent = sign * grad[i] + decay
        velocity = (zero if keep == 0 else keep * buffer[i]) + take * descent
        buffer[i] = velocity
        param[i] -= lr * (velocity if ahead == 0 else descent + ahead * velocity)


@compiled
def adam(param: Any, grad: Any, average: Any, square: Any, numbers: Any) -> None:
    """Adam, and AdamW by ``shrink``, the factor of each parameter before the step; ``rest1`` is 1 - beta1."""
    sign, weight_decay, step_size = numbers[0], numbers[1], numbers[2]
    beta1, rest1, beta2, rest2 = numbers[3], numbers[4], numbers[5], numbers[6]
    correction, eps, shrink = numbers[7], numbers[8], numbers[9]
    zero = param.dtype.type(0)
    for i in range(len(param)):
        decay = zero if weight_decay == 0 else weight_decay * param[i]
        gradient = sign * grad[i] + decay
        first = beta1 * average[i] + rest1 * gradient
        second = beta2 * square[i] + rest2 * (gradient * gradient)
        average[i] = first
        square[i] = second
        param[i] = shrink * param[i] - step_size * (first / (np.sqrt(second) / correction + eps))
