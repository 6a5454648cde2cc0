"""A smaller learning rate when a measured value stops improving."""

from __future__ import annotations

import math
from typing import SupportsFloat

from gpunn.optim.lr_scheduler.base import LRScheduler
from gpunn.optim.optimizer import Optimizer


class ReduceLROnPlateau(LRScheduler):
    """Multiplies the rate by ``factor`` when more than ``patience`` epochs in a row brought nothing better.

    Better than the best so far, b, is what lies below b * (1 - threshold) for mode "min" and threshold_mode
    "rel", below b - threshold for "abs"; for mode "max", above b * (1 + threshold) and b + threshold. NaN is
    never better.

    factor: < 1.  cooldown: epochs after a reduction that don't count.
    min_lr: the smallest rate, or a list, one a parameter group.  eps: no reduction by this or less is made.
    Raises ValueError for options that are not allowed, and TypeError for what is no Optimizer.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | list[float] = 0.0,
        eps: float = 1e-8,
    ) -> None:
        self._expect_optimizer(optimizer)
        if not factor < 1:
            raise ValueError(f"ReduceLROnPlateau: expected factor < 1, got {factor}")
        if mode not in ("min", "max"):
            raise ValueError(f'ReduceLROnPlateau: expected mode "min" or "max", got {mode!r}')
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(f'ReduceLROnPlateau: expected threshold_mode "rel" or "abs", got {threshold_mode!r}')
        self.optimizer = optimizer
        self.mode = mode
        self.factor = factor
        self.patience = patience
        self.threshold = threshold
        self.threshold_mode = threshold_mode
        self.cooldown = cooldown
        self.min_lrs = self._per_group("min_lr", min_lr, optimizer)
        self.eps = eps
        self.best: float | None = None
        self.num_bad_epochs = 0
        self.cooldown_counter = 0
        self.last_epoch = 0
        self._last_lr = [group["lr"] for group in optimizer.param_groups]

    def step(self, metrics: SupportsFloat) -> None:  # type: ignore[override]
        """Go on to the next epoch, given what was measured in this one (a loss, say)."""
        self.last_epoch += 1
        current = float(metrics)
        if self._is_better(current):
            self.best = current
            self.num_bad_epochs = 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        # The rate is taken from the optimizer each time: others may change it, too.
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]
        if self.num_bad_epochs > self.patience:
            self._last_lr = [
                reduced if lr - (reduced := max(lr * self.factor, low)) > self.eps else lr
                for lr, low in zip(self._last_lr, self.min_lrs, strict=True)
            ]
            self._apply()
            self.cooldown_counter = self.cooldown
            self.num_bad_epochs = 0

    def _is_better(self, current: float) -> bool:
        sign = 1 if self.mode == "min" else -1
        if self.best is None:
            return sign * current < math.inf
        margin = sign * self.threshold * (self.best if self.threshold_mode == "rel" else 1)
        return sign * current < sign * (self.best - margin)
