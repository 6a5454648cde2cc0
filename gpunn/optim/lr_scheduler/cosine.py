"""Cosine annealing, once and with warm restarts.

Source: I. Loshchilov, F. Hutter, "SGDR: stochastic gradient descent with warm restarts", ICLR 2017.
"""

from __future__ import annotations

import math

from gpunn.optim.lr_scheduler.base import LRScheduler
from gpunn.optim.optimizer import Optimizer


class CosineAnnealingLR(LRScheduler):
    """lr(t) = eta_min + (initial_lr - eta_min) * (1 + cos(pi * t / T_max)) / 2; after T_max it rises again.

    T_max: epochs to the minimum, an integer >= 1.  eta_min: the smallest rate.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        self._expect_count("T_max", T_max)
        self.T_max = T_max
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        share = (1 + math.cos(math.pi * self.last_epoch / self.T_max)) / 2
        return [self.eta_min + (base_lr - self.eta_min) * share for base_lr in self.base_lrs]


class CosineAnnealingWarmRestarts(LRScheduler):
    """lr(t) = eta_min + (initial_lr - eta_min) * (1 + cos(pi * T_cur / T_i)) / 2, anew every T_i epochs.

    T_cur: the epochs since the last restart.  T_0: the first T_i, an integer >= 1.
    T_mult: what T_i is multiplied by at a restart, an integer >= 1.  eta_min: the smallest rate.
    """

    def __init__(
        self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        self._expect_count("T_0", T_0)
        self._expect_count("T_mult", T_mult)
        self.T_0 = T_0
        self.T_mult = T_mult
        self.fraction = 0.0  # how far we are into the epoch ``last_epoch``
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def step(self, epoch: float | None = None) -> None:
        """Go on to the next epoch, or to the given one: ``epoch + batch / batches`` anneals within epochs."""
        if epoch is None:
            super().step()
        elif epoch >= 0:
            self.fraction = epoch - math.floor(epoch)
            self.move_to(math.floor(epoch))
        else:
            raise ValueError(f"CosineAnnealingWarmRestarts: expected epoch >= 0, got {epoch}")

    def get_lr(self) -> list[float]:
        current, period = self.last_epoch + self.fraction, self.T_0
        if self.T_mult == 1:
            current %= period
        while current >= period:
            current -= period
            period *= self.T_mult
        share = (1 + math.cos(math.pi * current / period)) / 2
        return [self.eta_min + (base_lr - self.eta_min) * share for base_lr in self.base_lrs]
