"""What a comparison of devices found: every operation in order, and the first that differs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

WIDTH = 100
PHASES = ("forward", "backward", "update")


@dataclass
class Quantity:
    """One array that was compared: a result, a gradient, or a parameter after the update.

    Attributes:
        name: "out", "gradient of weight", "params[0]", ...
        terms: K of the budget.
        budget: the largest error that is within it, c eps sqrt(K).
        errors: by device, max |difference| / (|exact| + scale); infinite where NaN, infinity, shape or a bit is another.
    """

    name: str
    shape: tuple[int, ...]
    terms: int
    budget: float
    errors: dict[str, float] = field(default_factory=dict)

    def passes(self, device: str) -> bool:
        return self.errors.get(device, 0.0) <= self.budget

    def excess(self, device: str) -> float:
        """The error as a multiple of the budget."""
        error = self.errors.get(device, 0.0)
        return 0.0 if error == 0 else error / self.budget if self.budget else math.inf


@dataclass
class Operation:
    """One primitive of the step, on all devices.

    Attributes:
        phase: "forward", "backward" or "update".
        path: of the module that asked for it: "features.0"; "loss" for what the loss asks for.
        name: of the primitive.
        failures: by device, what went wrong besides the numbers.
    """

    phase: str
    path: str
    name: str
    quantities: list[Quantity] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)

    def quantity(self, quantity: Quantity) -> Quantity:
        """The quantity of that name; it is added if there is none."""
        for known in self.quantities:
            if known.name == quantity.name:
                return known
        self.quantities.append(quantity)
        return quantity

    def fail(self, device: str, what: str) -> None:
        self.failures.setdefault(device, what)

    def passes(self, device: str) -> bool:
        return device not in self.failures and all(quantity.passes(device) for quantity in self.quantities)

    def worst(self, *devices: str) -> Quantity | None:
        """The quantity that is farthest out of its budget, or nearest to its end."""
        return max(self.quantities, key=lambda q: max(q.excess(device) for device in devices), default=None)

    @property
    def label(self) -> str:
        return f"{self.path} {self.name}" if self.path else self.name

    def described(self, device: str) -> str:
        """What is wrong on ``device``, in one line."""
        worst, place = self.worst(device), f"{self.label}, {self.phase}"
        failure = self.failures.get(device)
        if failure is not None or worst is None:
            return f"{place}: {failure}"
        return f"{place}, {worst.name}: error {_number(worst.errors[device])}, budget {_number(worst.budget)}"


@dataclass
class Outcome:
    """A whole step on one device, where each operation works with what the one before it made.

    Attributes:
        loss: on the device; None where the step failed.
        loss_error: |difference| / (|oracle's| + the largest magnitude among what was added up to it).
        loss_budget: sqrt(eps) of the coarsest dtype: the errors of all operations together stay far below it.
        update_error: |difference of the changes of all parameters| / |the oracle's change|; for information only, since one
            maximum that is decided otherwise changes a whole path of the gradient.
        failure: why there is no loss.
    """

    loss: float | None = None
    loss_error: float = math.inf
    loss_budget: float = 0.0
    update_error: float | None = None
    failure: str | None = None

    @property
    def passes(self) -> bool:
        return self.failure is None and self.loss_error <= self.loss_budget

    def described(self) -> str:
        if self.failure is not None:
            return f"the step as a whole: {self.failure}"
        return f"the step as a whole: loss {self.loss:.9g}, error {_number(self.loss_error)}, budget {_number(self.loss_budget)}"


@dataclass
class Report:
    """What `parity` returns; ``str`` makes the table.

    Attributes:
        devices: that were held against the oracle.
        dtype: of the step.
        loss: the oracle's.
        operations: in order of execution: forward, backward, update.
        outcomes: the whole step, by device.
    """

    devices: list[str]
    dtype: str
    loss: float
    operations: list[Operation]
    outcomes: dict[str, Outcome]

    def __bool__(self) -> bool:
        return self.ok

    @property
    def ok(self) -> bool:
        """True where all devices compute the same, within the budgets."""
        return all(self.first_difference(device) is None for device in self.devices)

    def first_operation(self, device: str) -> Operation | None:
        """The first operation that differs on ``device``."""
        return next((operation for operation in self.operations if not operation.passes(device)), None)

    def first_difference(self, device: str) -> str | None:
        """What differs first on ``device``, in one line; None where nothing does."""
        operation = self.first_operation(device)
        if operation is not None:
            return operation.described(device)
        return None if self.outcomes[device].passes else self.outcomes[device].described()

    def conclusion(self) -> str:
        """One line: who agrees, or what differs first."""
        wrong = [(device, self.first_difference(device)) for device in self.devices]
        lines = [f"{device} differs first in {what}" for device, what in wrong if what is not None]
        if lines:
            return f"parity: {'; '.join(lines)}"
        return f"parity: {', '.join(self.devices)} agree with the reference" if len(self.devices) > 1 else (
            f"parity: {self.devices[0]} agrees with the reference")  # fmt: skip

    def __str__(self) -> str:
        lines = [self._heading()]
        for phase in PHASES:
            operations = [operation for operation in self.operations if operation.phase == phase]
            if operations:
                lines += [phase, *(self._row(operation) for operation in operations)]
        lines += [line for device in self.devices for line in self._summary(device)]
        return "\n".join([*lines, self.conclusion()])

    def _widths(self) -> tuple[int, int]:
        """Of the operation and the shape: what the cells of the devices leave of a line."""
        shapes = [_shape(q.shape) for o in self.operations for q in o.quantities]
        shape = max([5, *map(len, shapes)])
        label = max([9, *(len(self._label(operation)) for operation in self.operations)])
        return min(label, max(WIDTH - 2 - shape - 2 - 8 - sum(2 + w for w in self._cells()) - 2, 24)), shape

    def _cells(self) -> list[int]:
        return [max(len(device), 15) for device in self.devices]

    def _heading(self) -> str:
        label, shape = self._widths()
        cells = "".join(f"  {device:<{width}}" for device, width in zip(self.devices, self._cells(), strict=True))
        return f"  {'operation':<{label}}  {'shape':<{shape}}  {'budget':>8}{cells}".rstrip()

    def _label(self, operation: Operation) -> str:
        worst = operation.worst(*self.devices)
        if worst is None or worst.name == "out":
            return operation.label
        return f"{operation.label}: {worst.name.removeprefix('gradient of ')}"

    def _row(self, operation: Operation) -> str:
        label, shape = self._widths()
        worst, name = operation.worst(*self.devices), self._label(operation)
        name = name if len(name) <= label else f"...{name[len(name) - label + 3 :]}"
        cells = ""
        for device, width in zip(self.devices, self._cells(), strict=True):
            error = "-" if worst is None or device not in worst.errors else _number(worst.errors[device])
            cell = f"{error:>7} {'ok' if operation.passes(device) else 'DIFFERS'}"
            cells += f"  {cell:<{width}}"
        of_worst = "" if worst is None else _shape(worst.shape)
        limit = "" if worst is None else _number(worst.budget)
        return f"  {name:<{label}}  {of_worst:<{shape}}  {limit:>8}{cells}".rstrip()

    def _summary(self, device: str) -> list[str]:
        good = sum(operation.passes(device) for operation in self.operations)
        outcome = self.outcomes[device]
        whole = outcome.failure
        if whole is None:
            whole = f"loss {outcome.loss:.7g}, off by {_number(outcome.loss_error)} of {_number(outcome.loss_budget)}"
            if outcome.update_error is not None:
                whole += f"; update off by {_number(outcome.update_error)}"
        return [
            f"{device}: {good} of {len(self.operations)} operations within their budget",
            f"{device}: the step as a whole: {whole}",
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON: infinity is the text "inf"."""
        return {
            "ok": self.ok,
            "devices": self.devices,
            "dtype": self.dtype,
            "loss": _plain(self.loss),
            "first_difference": {device: self.first_difference(device) for device in self.devices},
            "operations": [
                {
                    "phase": operation.phase,
                    "module": operation.path,
                    "operation": operation.name,
                    "passes": {device: operation.passes(device) for device in self.devices},
                    "failures": operation.failures,
                    "quantities": [
                        {
                            "name": quantity.name,
                            "shape": list(quantity.shape),
                            "terms": quantity.terms,
                            "budget": quantity.budget,
                            "errors": {device: _plain(error) for device, error in quantity.errors.items()},
                        }
                        for quantity in operation.quantities
                    ],
                }
                for operation in self.operations
            ],
            "steps": {
                device: {name: _plain(value) for name, value in vars(outcome).items()} | {"passes": outcome.passes}
                for device, outcome in self.outcomes.items()
            },
        }


def _number(value: float) -> str:
    return "0" if value == 0 else f"{value:.1e}"


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "()"
