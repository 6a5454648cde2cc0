"""Steps of optimizers: one pass over many arrays, in place. The rules are `backends.reference.optimizer`'s.

Row i of ``lines`` has the length and the addresses of the arrays of parameter i: its own, its gradient's, and so on. All threads
share a kernel (see sharing.py), ``length`` elements of a parameter at a time; ``ends[i]`` is how many such parts the
parameters 0 to i have together.

``numbers`` is an array of the parameters' dtype: one argument costs less than many. ``sign`` is -1 where the objective is
maximized. A factor of 0 leaves its summand out altogether, so that no infinity times 0 comes of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .addresses import line_at
from .compiler import compiled
from .sharing import leave, share, take


@compiled
def take_part(ends: Any, i: int, board: Any) -> Any:
    """The parameter and the number within it of a part that nobody has taken; ``i``: the parameter of the one before."""
    part = take(board, 0)
    while i < len(ends) and part >= ends[i]:
        i += 1
    return i, part - (ends[i - 1] if i > 0 else 0)


@compiled
def part_of(lines: Any, i: int, column: int, number: int, length: int, numbers: Any) -> Any:
    """A part of the array whose address is in a column of ``lines``."""
    first = number * length
    return line_at(lines[i, column] + numbers.itemsize * first, min(length, lines[i, 0] - first), numbers)


@compiled
def sgd(lines: Any, ends: Any, length: int, numbers: Any, board: Any) -> None:
    leads = share(board)
    i, number = take_part(ends, 0, board)
    while i < len(ends):
        param = part_of(lines, i, 1, number, length, numbers)
        sgd_line(param, part_of(lines, i, 2, number, length, numbers), numbers)
        i, number = take_part(ends, i, board)
    leave(board, leads)


@compiled
def sgd_momentum(lines: Any, ends: Any, length: int, numbers: Any, board: Any) -> None:
    leads = share(board)
    i, number = take_part(ends, 0, board)
    while i < len(ends):
        param, grad = part_of(lines, i, 1, number, length, numbers), part_of(lines, i, 2, number, length, numbers)
        sgd_momentum_line(param, grad, part_of(lines, i, 3, number, length, numbers), numbers)
        i, number = take_part(ends, i, board)
    leave(board, leads)


@compiled
def adam(lines: Any, ends: Any, length: int, numbers: Any, board: Any) -> None:
    leads = share(board)
    i, number = take_part(ends, 0, board)
    while i < len(ends):
        param, grad = part_of(lines, i, 1, number, length, numbers), part_of(lines, i, 2, number, length, numbers)
        average = part_of(lines, i, 3, number, length, numbers)
        adam_line(param, grad, average, part_of(lines, i, 4, number, length, numbers), numbers)
        i, number = take_part(ends, i, board)
    leave(board, leads)


@compiled(inline=True)
def sgd_line(param: Any, grad: Any, numbers: Any) -> None:
    """param -= lr g, with g the gradient and that of the penalty."""
    sign, weight_decay, lr = numbers[0], numbers[1], numbers[2]
    zero = param.dtype.type(0)
    for i in range(len(param)):
        decay = zero if weight_decay == 0 else weight_decay * param[i]
        param[i] -= lr * (sign * grad[i] + decay)


@compiled(inline=True)
def sgd_momentum_line(param: Any, grad: Any, buffer: Any, numbers: Any) -> None:
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


@compiled(inline=True)
def adam_line(param: Any, grad: Any, average: Any, square: Any, numbers: Any) -> None:
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
