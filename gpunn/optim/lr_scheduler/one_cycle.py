"""The 1cycle schedule: one rise and one long fall of the learning rate, momentum the other way round."""

from __future__ import annotations

import math

from gpunn.optim.lr_scheduler.base import LRScheduler
from gpunn.optim.optimizer import Optimizer


class OneCycleLR(LRScheduler):
    """The rate rises from max_lr / div_factor to max_lr, and falls to max_lr / div_factor / final_div_factor.

    The rise ends at step r = pct_start * total_steps - 1, the fall at total_steps - 1; with ``three_phase``
    the rate first falls back to where it began, by step 2 * r, then to its end. From a to b, after the share
    s of a phase, it is
        b + (a - b) * (1 + cos(pi * s)) / 2   for anneal_strategy "cos",     a + (b - a) * s   for "linear".
    Momentum (beta1 of Adam) goes from max_momentum to base_momentum while the rate rises, and then back.

    Source: L. Smith, N. Topin, "Super-convergence: very fast training of neural networks using large learning
    rates", 2018.

    max_lr, base_momentum, max_momentum: a number, or a list, one a parameter group.
    total_steps, or epochs and steps_per_epoch: how often ``step()`` is called, in all. More calls raise
    ValueError, as do options that are not allowed.
    cycle_momentum: needs an optimizer with momentum or betas.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | list[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.85,
        max_momentum: float | list[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        self._expect_optimizer(optimizer)
        if total_steps is not None:
            self._expect_count("total_steps", total_steps)
            self.total_steps = total_steps
        elif epochs is not None and steps_per_epoch is not None:
            self._expect_count("epochs", epochs)
            self._expect_count("steps_per_epoch", steps_per_epoch)
            self.total_steps = epochs * steps_per_epoch
        else:
            raise ValueError("OneCycleLR: give total_steps, or both epochs and steps_per_epoch")
        if not 0 <= pct_start <= 1:
            raise ValueError(f"OneCycleLR: expected pct_start between 0 and 1, got {pct_start}")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f'OneCycleLR: expected anneal_strategy "cos" or "linear", got {anneal_strategy!r}')
        if cycle_momentum and not {"momentum", "betas"} & set(optimizer.defaults):
            raise ValueError(
                f"OneCycleLR: {type(optimizer).__name__} has no momentum or betas; give cycle_momentum=False"
            )
        self.pct_start = pct_start
        self.anneal_strategy = anneal_strategy
        self.cycle_momentum = cycle_momentum
        self.three_phase = three_phase
        self.max_lrs = [float(lr) for lr in self._per_group("max_lr", max_lr, optimizer)]
        self.min_lrs = [lr / div_factor / final_div_factor for lr in self.max_lrs]
        self.base_momentums = self._per_group("base_momentum", base_momentum, optimizer)
        self.max_momentums = self._per_group("max_momentum", max_momentum, optimizer)
        if last_epoch == -1:
            for group, lr in zip(optimizer.param_groups, self.max_lrs, strict=True):
                group["initial_lr"] = lr / div_factor
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        if self.last_epoch > self.total_steps:
            raise ValueError(
                f"OneCycleLR: step {self.last_epoch} is past total_steps={self.total_steps}; make that larger"
            )
        rates = zip(self.base_lrs, self.max_lrs, self.min_lrs, strict=True)
        return [
            self._annealed((low, high, low, end) if self.three_phase else (low, high, end)) for low, high, end in rates
        ]

    def _apply(self) -> None:
        super()._apply()
        if not self.cycle_momentum:
            return
        for group, low, high in zip(self.optimizer.param_groups, self.base_momentums, self.max_momentums, strict=True):
            momentum = self._annealed((high, low, high, high) if self.three_phase else (high, low, high))
            if "betas" in group:
                group["betas"] = (momentum, group["betas"][1])
            else:
                group["momentum"] = momentum

    def _annealed(self, corners: tuple[float, ...]) -> float:
        """This epoch's value on the curve through ``corners``, the values where phases begin and end."""
        rise = self.pct_start * self.total_steps - 1
        ends = [rise, 2 * rise, self.total_steps - 1] if self.three_phase else [rise, self.total_steps - 1]
        phase = next((i for i, end in enumerate(ends) if self.last_epoch <= end), len(ends) - 1)
        begin = ends[phase - 1] if phase else 0.0
        length = ends[phase] - begin
        share = min((self.last_epoch - begin) / length, 1.0) if length else 1.0
        start, end = corners[phase], corners[phase + 1]
        if self.anneal_strategy == "linear":
            return start + (end - start) * share
        return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
