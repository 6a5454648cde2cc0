"""The descent that the linear learners share: minibatch subgradient descent with averaged iterates.

Each of them minimizes a penalty and a sum of convex losses, in the form of the soft-margin support vector machine::

    1/2 |w|^2 + C sum_i loss_i(w)          or, divided by C n,          1/(2 C n) |w|^2 + 1/n sum_i loss_i(w)

The second form is descended on: its size does not depend on n. A step goes against a subgradient g of it, the sum taken
over a batch of examples::

    w <- w - eta_t g,      eta_t = eta, eta / sqrt(t) or eta / t,      t = 1, 2, ... counts passes over the examples

A single iterate of subgradient descent goes to and fro about the minimum; their average comes closer. It is taken over the
second half of the passes, when the first steps from far away are over.

Sources: N. Shor, "Minimization Methods for Non-Differentiable Functions", 1985; B. Polyak and A. Juditsky, "Acceleration of
stochastic approximation by averaging", 1992; A. Rakhlin, O. Shamir and K. Sridharan, "Making gradient descent optimal for
strongly convex stochastic optimization", 2012 (the average of the second half).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

import gpunn
from backends import philox
from gpunn import optim
from gpunn.classic.estimator import Estimator
from gpunn.dtypes import is_number, is_whole
from gpunn.random import SHUFFLE, stream_of
from gpunn.tensor import Tensor

SCHEDULES: dict[str, Callable[[int], float]] = {
    "constant": lambda t: 1.0,
    "1/sqrt(t)": lambda t: t**-0.5,
    "1/t": lambda t: 1.0 / t,
}
POWER_STEPS = 10


class SubgradientLearner(Estimator):
    """A learner that minimizes 1/2 |w|^2 + C sum_i loss_i(w) by subgradient descent.

    Args:
        C: the weight of the losses, above 0; ``inf`` leaves the penalty out.
        epochs: how often to pass over the examples.
        batch_size: examples a step; None takes all (plain subgradient descent).
        step_size: eta, in units of 1 / L, L the `curvature` of the examples: one number suits data of any scale.
        schedule: how the step shrinks with the passes t: "constant", "1/sqrt(t)" or "1/t".
        average: learn the average of the iterates of the second half; False: the last iterate.
        seed: of the order of the examples.
        device, dtype: where, and in which numbers, to compute.

    Attributes:
        objective_: (epochs,), the objective divided by C n, as it was met in each pass: a mean over its steps.
    """

    objective_: np.ndarray

    def __init__(
        self,
        *,
        C: float = 1.0,
        epochs: int = 100,
        batch_size: int | None = 32,
        step_size: float = 4.0,
        schedule: str = "1/sqrt(t)",
        average: bool = True,
        seed: int = 0,
        device: str = "cpu",
        dtype: str = "float32",
    ) -> None:
        self.C = C
        self.epochs = epochs
        self.batch_size = batch_size
        self.step_size = step_size
        self.schedule = schedule
        self.average = average
        self.seed = seed
        self.device = device
        self.dtype = dtype

    # For subclasses

    def _penalty(self, count: int) -> float:
        """1 / (C n), the factor of 1/2 |w|^2 beside the mean loss of ``count`` examples."""
        return 1.0 / (self.C * count)

    def _curvature(self, vectors: Tensor) -> float:
        """`curvature` of what is multiplied by the parameters, (n, p), in batches of this learner; 1 where all are 0."""
        return curvature(vectors, min(self.batch_size or len(vectors), len(vectors))) or 1.0

    def _descend(self, parameters: list[Tensor], count: int, objective: Callable[[Any], Tensor], limit: float) -> None:
        """Change ``parameters`` to where ``objective``, the mean over ``count`` examples and the penalty, is least.

        Args:
            objective: of an array of the device with the numbers of a batch's examples; to a tensor of one element.
            limit: L. The step is ``step_size / L``, shrunk by the schedule.
        """
        backend = self._backend
        size = count if self.batch_size is None else min(self.batch_size, count)
        shrink = SCHEDULES[self.schedule]
        optimizer = optim.SGD(parameters, lr=self.step_size / limit)
        schedule = optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: shrink(epoch + 1))
        averages = [gpunn.zeros_like(p) for p in parameters]
        averaged, values = 0, []
        for epoch in range(self.epochs):
            order = backend.asarray(philox.permutation(self.seed, stream_of(SHUFFLE, epoch), count))
            total = gpunn.zeros((), dtype=self.dtype, device=self.device)
            for start in range(0, count, size):
                rows = order[start : start + size]
                optimizer.zero_grad()
                value = objective(rows)
                value.backward()
                optimizer.step()
                with gpunn.no_grad():
                    total += value.detach() * len(rows)
                    if self.average and 2 * epoch >= self.epochs:
                        averaged += 1
                        for average, parameter in zip(averages, parameters, strict=True):
                            average += (parameter.detach() - average) / averaged
            values.append(total.item() / count)
            schedule.step()
        if averaged:
            with gpunn.no_grad():
                for average, parameter in zip(averages, parameters, strict=True):
                    parameter.copy_(average)
        self.objective_ = np.array(values)
        if not np.isfinite(self.objective_).all():
            raise ValueError(
                f"{type(self).__name__}: the descent left all bounds; choose a step_size smaller than {self.step_size}"
            )

    def _check_descent(self) -> None:
        """ValueError for hyperparameters that no descent can have; `fit` asks first."""
        name = type(self).__name__
        if not (is_number(self.C) and self.C > 0):
            raise ValueError(f"{name}: expected C > 0, got {self.C!r}; inf leaves the penalty out")
        counts = [self.epochs] if self.batch_size is None else [self.epochs, self.batch_size]
        if not all(is_whole(count) and count >= 1 for count in counts):
            raise ValueError(
                f"{name}: expected whole epochs and batch_size of at least 1, got {self.epochs!r} and {self.batch_size!r}"
            )
        if not (is_number(self.step_size) and 0 < self.step_size < math.inf):
            raise ValueError(f"{name}: expected a finite step_size > 0, got {self.step_size!r}")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"{name}: expected schedule to be one of {', '.join(SCHEDULES)}, got {self.schedule!r}")
        if not is_whole(self.seed):
            raise ValueError(f"{name}: expected seed to be a whole number, got {self.seed!r}")


def curvature(vectors: Tensor, batch: int) -> float:
    """How fast the gradient of a loss of x w may change with w, for examples x (n, p) that are drawn in batches.

    lambda + mean |x|^2 / batch,      lambda the largest eigenvalue of X'X / n

    The first term bounds the whole sum's second derivative (times that of the loss, which is 1 or less), the second what a
    batch may add to it by chance. lambda is found by power iteration (G. Golub and C. Van Loan, "Matrix Computations",
    section 7.3), from below, and roughly.
    """
    squares = (vectors * vectors).sum(1)
    direction = vectors[
        int(squares.argmax().item())
    ]  # the longest: surely not orthogonal to all that the matrix stretches
    largest = 0.0
    for _ in range(POWER_STEPS):
        length = direction.norm().item()
        if length == 0:
            return 0.0
        image = vectors.matmul(direction / length)
        largest = (image * image).mean().item()
        direction = image.matmul(vectors)
    return largest + squares.mean().item() / batch
