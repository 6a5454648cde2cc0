"""Schedules in a row."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

from gpunn.optim.lr_scheduler.base import LRScheduler
from gpunn.optim.lr_scheduler.plateau import ReduceLROnPlateau
from gpunn.optim.optimizer import Optimizer


class SequentialLR(LRScheduler):
    """Runs each schedule from its epoch 0, the next one from each milestone on: a warm-up and a decay, say.

    schedulers: schedules of the same optimizer; not ReduceLROnPlateau, which needs a value to step.
    milestones: the increasing epochs at which the second, third, ... schedule begins.
    Raises TypeError for what is no such schedule, and ValueError where the milestones don't fit.
    """

    _not_saved = ("optimizer", "_schedulers")

    def __init__(
        self, optimizer: Optimizer, schedulers: list[LRScheduler], milestones: list[int], last_epoch: int = -1
    ) -> None:
        if len(milestones) != len(schedulers) - 1:
            raise ValueError(
                f"SequentialLR: expected one milestone between two schedules, "
                f"got {len(milestones)} milestones and {len(schedulers)} schedules"
            )
        if sorted(set(milestones)) != list(milestones):
            raise ValueError(f"SequentialLR: expected increasing milestones, got {list(milestones)}")
        for number, scheduler in enumerate(schedulers):
            if not isinstance(scheduler, LRScheduler) or isinstance(scheduler, ReduceLROnPlateau):
                raise TypeError(f"SequentialLR: schedule {number}, a {type(scheduler).__name__}, can't run in a row")
            if scheduler.optimizer is not optimizer:
                raise ValueError(f"SequentialLR: schedule {number} belongs to another optimizer")
        self._schedulers = list(schedulers)
        self.milestones = list(milestones)
        super().__init__(optimizer, last_epoch)

    @property
    def _active(self) -> int:
        return bisect_right(self.milestones, self.last_epoch)

    def get_lr(self) -> list[float]:
        return self._schedulers[self._active].get_last_lr()

    def step(self) -> None:
        self.last_epoch += 1
        if self.last_epoch in self.milestones:
            self._schedulers[self._active].move_to(0)
        else:
            self._schedulers[self._active].step()
        self._last_lr = self.get_lr()

    def move_to(self, epoch: int) -> None:
        self.last_epoch = epoch
        begin = self.milestones[self._active - 1] if self._active else 0
        self._schedulers[self._active].move_to(epoch - begin)
        self._last_lr = self.get_lr()

    def state_dict(self) -> dict[str, Any]:
        return {
            **super().state_dict(),
            "schedulers": [scheduler.state_dict() for scheduler in self._schedulers],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        states = state_dict.get("schedulers", [])
        if len(states) != len(self._schedulers):
            raise ValueError(f"SequentialLR: the state has {len(states)} schedules, this one {len(self._schedulers)}")
        super().load_state_dict({name: value for name, value in state_dict.items() if name != "schedulers"})
        for scheduler, state in zip(self._schedulers, states, strict=True):
            scheduler.load_state_dict(state)
        # Loading set the rates of each schedule in turn; those of the active one count.
        self._schedulers[self._active].load_state_dict(states[self._active])
