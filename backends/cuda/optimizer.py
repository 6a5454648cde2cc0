"""Steps of the optimizers as kernels: all parameters of a batch in one launch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..reference.optimizer import Arrays, Optimizers
from .array_lists import ArrayLists


class KernelOptimizers(ArrayLists, Optimizers):
    """The options that choose which arrays there are choose the kernel too; the others are its arguments.

    What changes from step to step goes by `rates`, so that a recorded step follows it.
    """

    rates: Any
    recording: Any

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
        if momentum_buffers is None:
            lists = [grads], [params]
            rest = self._step("sgd", *lists, (lr,), weight_decay, maximize)
        else:
            lists = [grads], [params, momentum_buffers]
            constants = momentum, 1 - dampening, weight_decay, nesterov, maximize, first_step
            rest = self._step("sgd_momentum", *lists, (lr,), *constants)
        super().sgd_(
            *_at(rest, params, grads, momentum_buffers),
            lr=lr,
            momentum=momentum,
            dampening=dampening,
            weight_decay=weight_decay,
            nesterov=nesterov,
            maximize=maximize,
            first_step=first_step,
        )

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
        rest = self._step("adagrad", [grads], [params, sums], (lr,), eps, weight_decay, maximize)
        super().adagrad_(*_at(rest, params, grads, sums), lr=lr, weight_decay=weight_decay, eps=eps, maximize=maximize)

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
        kernel, written = "rmsprop", [params, square_avgs]
        if grad_avgs is not None:
            kernel, written = f"{kernel}_centered", [*written, grad_avgs]
        if momentum_buffers is not None:
            kernel, written = f"{kernel}_momentum", [*written, momentum_buffers]
        constants = alpha, 1 - alpha, eps, weight_decay, momentum, maximize
        rest = self._step(kernel, [grads], written, (lr,), *constants)
        super().rmsprop_(
            *_at(rest, params, grads, square_avgs, momentum_buffers, grad_avgs),
            lr=lr,
            alpha=alpha,
            eps=eps,
            weight_decay=weight_decay,
            momentum=momentum,
            maximize=maximize,
        )

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
        kernel, written = "adam", [params, exp_avgs, exp_avg_sqs]
        if max_exp_avg_sqs is not None:
            kernel, written = "adam_amsgrad", [*written, max_exp_avg_sqs]
        step_size, correction = lr / (1 - beta1**step), 1 / math.sqrt(1 - beta2**step)
        shrinkage = 1 - lr * weight_decay if decoupled else 1.0
        constants = beta1, 1 - beta1, beta2, 1 - beta2, eps, 0.0 if decoupled else weight_decay, maximize
        rest = self._step(kernel, [grads], written, (step_size, correction, shrinkage), *constants)
        super().adam_(
            *_at(rest, params, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs),
            lr=lr,
            beta1=beta1,
            beta2=beta2,
            eps=eps,
            weight_decay=weight_decay,
            decoupled=decoupled,
            step=step,
            maximize=maximize,
        )

    def _step(
        self,
        kernel: str,
        read: Sequence[Arrays],
        written: Sequence[Arrays],
        rates: tuple[float, ...],
        *constants: float,
    ) -> list[int]:
        """Run a kernel of optimizer.cu; the places of the lists that it does not serve are returned."""
        batches, unserved = self._in_batches(read, written)
        if unserved and self.recording is not None:
            self.recording.refuse_array_code(kernel)
        for batch in batches:
            self._launch_batch("optimizer", kernel, batch, self.rates(*rates), *constants)
        return unserved


def _at(places: list[int], *lists: Arrays | None) -> list[Any]:
    """Of each list what stands at these places; a list that is not there stays None."""
    return [None if members is None else [members[place] for place in places] for members in lists]
