"""Schedules that multiply the initial learning rate by a factor of the epoch."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable

from gpunn.dtypes import is_number
from gpunn.optim.lr_scheduler.base import LRScheduler
from gpunn.optim.optimizer import Optimizer

EpochFunction = Callable[[int], float]


class FactorLR(LRScheduler):
    """The base of the schedules lr(t) = initial_lr * factor(t)."""

    def factor_at(self, epoch: int) -> float:
        """What the initial rate is multiplied by in ``epoch``."""
        raise NotImplementedError

    def get_lr(self) -> list[float]:
        factor = self.factor_at(self.last_epoch)
        return [base_lr * factor for base_lr in self.base_lrs]


class LambdaLR(LRScheduler):
    """lr(t) = initial_lr * lr_lambda(t).

    lr_lambda: a function of the epoch, or a list of them, one a parameter group. ``state_dict()`` leaves
    functions out.
    """

    _not_saved = ("optimizer", "lr_lambdas")

    def __init__(
        self, optimizer: Optimizer, lr_lambda: EpochFunction | list[EpochFunction], last_epoch: int = -1
    ) -> None:
        self.lr_lambdas: list[EpochFunction] = self._per_group("lr_lambda", lr_lambda, optimizer)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        return [
            base_lr * function(self.last_epoch)
            for base_lr, function in zip(self.base_lrs, self.lr_lambdas, strict=True)
        ]


class MultiplicativeLR(LRScheduler):
    """lr(t) = lr(t - 1) * lr_lambda(t), lr(0) = initial_lr.

    lr_lambda: a function of the epoch, or a list of them, one a parameter group. ``state_dict()`` leaves
    functions out.
    """

    _not_saved = ("optimizer", "lr_lambdas")

    def __init__(
        self, optimizer: Optimizer, lr_lambda: EpochFunction | list[EpochFunction], last_epoch: int = -1
    ) -> None:
        self.lr_lambdas: list[EpochFunction] = self._per_group("lr_lambda", lr_lambda, optimizer)
        self._last_lr = [float(group["lr"]) for group in optimizer.param_groups]
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        if self.last_epoch == 0:
            return list(self.base_lrs)
        return [lr * function(self.last_epoch) for lr, function in zip(self._last_lr, self.lr_lambdas, strict=True)]


class StepLR(FactorLR):
    """lr(t) = initial_lr * gamma^floor(t / step_size).  step_size: epochs, an integer >= 1."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        self._expect_count("step_size", step_size)
        self.step_size = step_size
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def factor_at(self, epoch: int) -> float:
        return self.gamma ** (epoch // self.step_size)


class MultiStepLR(FactorLR):
    """lr(t) = initial_lr * gamma^(number of milestones <= t).

    milestones: epochs, in any order; one that stands twice counts twice.
    """

    def __init__(
        self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.milestones = sorted(milestones)
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def factor_at(self, epoch: int) -> float:
        return self.gamma ** bisect_right(self.milestones, epoch)


class ConstantLR(FactorLR):
    """lr(t) = initial_lr * factor while t < total_iters, then initial_lr.

    factor: in [0, 1].  total_iters: an integer >= 1.
    """

    def __init__(self, optimizer: Optimizer, factor: float = 1 / 3, total_iters: int = 5, last_epoch: int = -1) -> None:
        if not 0 <= factor <= 1:
            raise ValueError(f"ConstantLR: expected factor between 0 and 1, got {factor}")
        self._expect_count("total_iters", total_iters)
        self.factor = factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def factor_at(self, epoch: int) -> float:
        return self.factor if epoch < self.total_iters else 1.0


class LinearLR(FactorLR):
    """lr(t) = initial_lr * (start_factor + (end_factor - start_factor) * min(t / total_iters, 1)).

    A warm-up, say.
    start_factor: in (0, 1].  end_factor: in [0, 1].  total_iters: an integer >= 1.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if not 0 < start_factor <= 1:
            raise ValueError(f"LinearLR: expected 0 < start_factor <= 1, got {start_factor}")
        if not 0 <= end_factor <= 1:
            raise ValueError(f"LinearLR: expected 0 <= end_factor <= 1, got {end_factor}")
        self._expect_count("total_iters", total_iters)
        self.start_factor = start_factor
        self.end_factor = end_factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def factor_at(self, epoch: int) -> float:
        if epoch >= self.total_iters:
            return self.end_factor
        return self.start_factor + (self.end_factor - self.start_factor) * epoch / self.total_iters


class ExponentialLR(FactorLR):
    """lr(t) = initial_lr * gamma^t."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def factor_at(self, epoch: int) -> float:
        return self.gamma**epoch


class PolynomialLR(FactorLR):
    """lr(t) = initial_lr * (1 - min(t / total_iters, 1))^power.  total_iters: an integer >= 1."""

    def __init__(self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1) -> None:
        self._expect_count("total_iters", total_iters)
        self.total_iters = total_iters
        self.power = power
        super().__init__(optimizer, last_epoch)

    def factor_at(self, epoch: int) -> float:
        return (1 - min(epoch / self.total_iters, 1)) ** self.power


class InverseTimeLR(FactorLR):
    """lr(t) = initial_lr / (1 + decay * t)^power.

    With decay=1 and power=1 it is the step size initial_lr / t of step t = 1, 2, ...; with power=0.5, initial_lr / sqrt(t).
    For powers in (0.5, 1] the rates add up to infinity and their squares do not: noise averages out, and every point can
    still be reached (H. Robbins, S. Monro, "A stochastic approximation method", 1951). But initial_lr / t stalls where it
    is too small: against a curvature m it needs initial_lr > 1 / (2 m) (A. Nemirovski et al., "Robust stochastic
    approximation approach to stochastic programming", 2009).

    decay: a number >= 0.  power: a number >= 0.
    """

    def __init__(self, optimizer: Optimizer, decay: float = 1.0, power: float = 1.0, last_epoch: int = -1) -> None:
        for name, value in (("decay", decay), ("power", power)):
            if not (is_number(value) and value >= 0):
                raise ValueError(f"InverseTimeLR: expected {name} >= 0, got {value!r}")
        self.decay = decay
        self.power = power
        super().__init__(optimizer, last_epoch)

    def factor_at(self, epoch: int) -> float:
        return (1 + self.decay * epoch) ** -self.power
