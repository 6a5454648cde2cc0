"""The base of all learning-rate schedules."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from gpunn.optim.optimizer import Optimizer, plain


class LRScheduler:
    """Sets the learning rate of each parameter group as a function of the group's initial one and the epoch.

    A subclass defines ``get_lr``. The rate for epoch 0 is set at once; every ``step()`` moves on by one,
    after the optimizer's. "Epoch" is whatever the user counts by calling ``step()``, which may be batches.

    optimizer: its groups keep their first rate as ``group["initial_lr"]``.
    last_epoch: -1 to start; n where an optimizer whose groups have an "initial_lr" has been through epoch n.

    A schedule sets the rate outright, and warns where someone else changed it since: several schedules on one
    optimizer don't multiply. Put them in a row with ``SequentialLR``, or write the product as a ``LambdaLR``.
    """

    _not_saved: tuple[str, ...] = ("optimizer",)

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self._expect_optimizer(optimizer)
        self.optimizer = optimizer
        for number, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise ValueError(
                    f"{self._name}: last_epoch={last_epoch} needs an initial_lr in parameter group {number}; "
                    "load the optimizer's state first"
                )
        self.base_lrs = [float(group["initial_lr"]) for group in optimizer.param_groups]
        self.move_to(last_epoch + 1)

    def get_lr(self) -> list[float]:
        """The rate of each parameter group in epoch ``last_epoch``."""
        raise NotImplementedError

    def get_last_lr(self) -> list[float]:
        """The rates that were set last."""
        return list(self._last_lr)

    def step(self) -> None:
        """Go on to the next epoch."""
        for group, lr in zip(self.optimizer.param_groups, self._last_lr, strict=True):
            if group["lr"] != lr:
                warnings.warn(
                    f"{self._name}: the learning rate {lr} was changed to {group['lr']} by something else, "
                    "and is now set again; use one schedule, or SequentialLR",
                    stacklevel=2,
                )
                break
        self.move_to(self.last_epoch + 1)

    def move_to(self, epoch: int) -> None:
        """Set the rates of the given epoch."""
        self.last_epoch = epoch
        self._last_lr = self.get_lr()
        self._apply()

    def state_dict(self) -> dict[str, Any]:
        """All options and the position, as plain values that JSON can hold; functions are left out."""
        return {name: plain(value) for name, value in vars(self).items() if name not in self._not_saved}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the options and the position of ``state_dict()``, and set the optimizer's rates to match.

        Raises ValueError where the state is another schedule's or has another number of parameter groups.
        """
        expected = {name for name in vars(self) if name not in self._not_saved}
        if set(state_dict) != expected:
            different = ", ".join(sorted(expected ^ set(state_dict)))
            raise ValueError(f"{self._name}: the state differs in {different}; is it another schedule's?")
        if len(state_dict["_last_lr"]) != len(self.optimizer.param_groups):
            raise ValueError(
                f"{self._name}: the state has {len(state_dict['_last_lr'])} parameter groups, "
                f"the optimizer {len(self.optimizer.param_groups)}"
            )
        for name, value in state_dict.items():
            setattr(self, name, plain(value))
        self._apply()

    def _apply(self) -> None:
        """Hand the rates to the optimizer."""
        for group, lr in zip(self.optimizer.param_groups, self._last_lr, strict=True):
            group["lr"] = lr

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _per_group(self, name: str, value: Any, optimizer: Optimizer) -> list[Any]:
        """One value for each parameter group, from a list of them or one for all."""
        self._expect_optimizer(optimizer)
        count = len(optimizer.param_groups)
        if not isinstance(value, Sequence):
            return [value] * count
        if len(value) != count:
            raise ValueError(
                f"{self._name}: expected {count} values of {name}, one a parameter group, got {len(value)}"
            )
        return list(value)

    def _expect_optimizer(self, optimizer: Any) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{self._name}: expected an Optimizer, got a {type(optimizer).__name__}")

    def _expect_count(self, name: str, value: Any) -> None:
        """Raise ValueError unless ``value`` is a positive integer."""
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{self._name}: expected {name} to be a positive integer, got {value!r}")
