"""Optimizer steps and gradient clipping: in place, a whole list of arrays in one call.

The lists run side by side: entry ``i`` of every list belongs to parameter ``i`` and has its shape and dtype.
Parameters and state (averages, momentum) are overwritten; gradients are only read, save by ``scale_`` and
``clamp_``. The rules are those of PyTorch; `gpunn.optim` gives them as formulas, with their sources.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

Arrays = Sequence[Any]


def _descent(param: Any, grad: Any, weight_decay: float, maximize: bool) -> Any:
    """The gradient to descend, with that of the L2 penalty. It may be ``grad`` itself: don't write to it."""
    if maximize:
        grad = -grad
    return grad + weight_decay * param if weight_decay else grad


class Optimizers:
    """One step of each optimizer, the norms of gradients, and their clipping."""

    xp: Any

    def sgd_(
        self,
        params: Arrays,
        grads: Arrays,
        momentum_buffers: Arrays | None,
        *,
        lr: float,
        momentum: float,
        dampening: float,
        weight_decay: float,
        nesterov: bool,
        maximize: bool,
        first_step: bool,
    ) -> None:
        """Gradient descent; with ``first_step`` the momentum buffers become the gradient itself, undampened.

        ``momentum_buffers`` is None where ``momentum`` is 0.
        """
        for i, (param, grad) in enumerate(zip(params, grads, strict=True)):
            grad = _descent(param, grad, weight_decay, maximize)
            if momentum_buffers is not None:
                buffer = momentum_buffers[i]
                if first_step:
                    buffer[...] = grad
                else:
                    buffer *= momentum
                    buffer += (1 - dampening) * grad if dampening else grad
                grad = grad + momentum * buffer if nesterov else buffer
            param -= lr * grad

    def adagrad_(
        self,
        params: Arrays,
        grads: Arrays,
        sums: Arrays,
        *,
        lr: float,
        weight_decay: float,
        eps: float,
        maximize: bool,
    ) -> None:
        """Adagrad; ``lr`` is the rate after its decay and ``sums`` are those of the squared gradients."""
        for param, grad, total in zip(params, grads, sums, strict=True):
            grad = _descent(param, grad, weight_decay, maximize)
            total += grad * grad
            root = self.xp.sqrt(total)
            root += eps
            param -= lr * (grad / root)

    def rmsprop_(
        self,
        params: Arrays,
        grads: Arrays,
        square_avgs: Arrays,
        momentum_buffers: Arrays | None,
        grad_avgs: Arrays | None,
        *,
        lr: float,
        alpha: float,
        eps: float,
        weight_decay: float,
        momentum: float,
        maximize: bool,
    ) -> None:
        """RMSprop; centered where ``grad_avgs`` are given, with momentum where ``momentum_buffers`` are."""
        for i, (param, grad, square_avg) in enumerate(zip(params, grads, square_avgs, strict=True)):
            grad = _descent(param, grad, weight_decay, maximize)
            square_avg *= alpha
            square_avg += (1 - alpha) * (grad * grad)
            variance = square_avg
            if grad_avgs is not None:
                grad_avg = grad_avgs[i]
                grad_avg *= alpha
                grad_avg += (1 - alpha) * grad
                # Under a gradient that hardly changes, rounding can push this below zero.
                variance = self.xp.maximum(square_avg - grad_avg * grad_avg, 0)
            root = self.xp.sqrt(variance)
            root += eps
            update = grad / root
            if momentum_buffers is not None:
                buffer = momentum_buffers[i]
                buffer *= momentum
                buffer += update
                update = buffer
            param -= lr * update

    def adam_(
        self,
        params: Arrays,
        grads: Arrays,
        exp_avgs: Arrays,
        exp_avg_sqs: Arrays,
        max_exp_avg_sqs: Arrays | None,
        *,
        lr: float,
        beta1: float,
        beta2: float,
        eps: float,
        weight_decay: float,
        decoupled: bool,
        step: int,
        maximize: bool,
    ) -> None:
        """Adam, or AdamW where ``decoupled``; AMSGrad where maxima are given. ``step`` counts from 1."""
        step_size = lr / (1 - beta1**step)
        correction = math.sqrt(1 - beta2**step)
        for i, (param, grad) in enumerate(zip(params, grads, strict=True)):
            grad = _descent(param, grad, 0.0 if decoupled else weight_decay, maximize)
            if decoupled and weight_decay:
                param *= 1 - lr * weight_decay
            exp_avg, exp_avg_sq = exp_avgs[i], exp_avg_sqs[i]
            exp_avg *= beta1
            exp_avg += (1 - beta1) * grad
            exp_avg_sq *= beta2
            exp_avg_sq += (1 - beta2) * (grad * grad)
            if max_exp_avg_sqs is not None:
                exp_avg_sq = self.xp.maximum(max_exp_avg_sqs[i], exp_avg_sq, out=max_exp_avg_sqs[i])
            root = self.xp.sqrt(exp_avg_sq)
            root /= correction
            root += eps
            param -= step_size * (exp_avg / root)

    def sum_of_squares(self, arrays: Arrays) -> Any:
        """The sum of all squared elements of all arrays: float64, shape (). Does not wait for the device."""
        total = self.xp.zeros((), dtype=self.xp.float64)
        for array in arrays:
            total += self.xp.square(array, dtype=self.xp.float64).sum()
        return total

    def total_norm(self, arrays: Arrays, order: float) -> Any:
        """The ``order``-norm (> 0, or infinity) of all elements as one vector: float64, shape ().

        Does not wait for the device.
        """
        if order == 2:
            return self.xp.asarray(self.xp.sqrt(self.sum_of_squares(arrays)))
        total = self.xp.zeros((), dtype=self.xp.float64)
        for array in arrays:
            magnitude = self.xp.abs(array).astype(self.xp.float64)
            if order != math.inf:
                total += (magnitude**order).sum()
            elif array.size:
                self.xp.maximum(total, magnitude.max(), out=total)
        return total if order == math.inf else self.xp.asarray(total ** (1 / order))

    def scale_(self, arrays: Arrays, factor: Any) -> None:
        """Multiply every array by ``factor``: a number, or an array of shape () on the arrays' device."""
        for array in arrays:
            array *= self.xp.asarray(factor, dtype=array.dtype)

    def clamp_(self, arrays: Arrays, low: float, high: float) -> None:
        """Limit every element to [low, high]; NaN stays NaN."""
        for array in arrays:
            self.xp.clip(array, low, high, out=array)
