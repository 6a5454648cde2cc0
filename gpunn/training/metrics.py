"""Sums over the examples of an epoch, kept on the device so that no step waits for the host."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Reading:
    """The means so far, read to the host. ``accuracy`` is None where the targets are not class indices."""

    loss: float
    accuracy: float | None
    examples: int
    first_bad_step: int | None  # counted from 1, the first with a loss that is NaN or infinite

    @property
    def kind(self) -> str:
        """What a loss that is no number is."""
        return "NaN" if math.isnan(self.loss) else "infinite"


class RunningMetrics:
    """Example-weighted sums of loss and right answers. Adding never reads the device, and reading never changes a
    sum, so the result does not depend on how often somebody looked."""

    def __init__(self) -> None:
        self.examples = 0
        self.steps = 0
        self.counts_correct = False
        self._backend: Any = None
        # These three become arrays of the device with the first batch.
        self.loss_sum: Any = 0.0
        self.correct: Any = 0
        self.finite_steps: Any = 0

    def add(self, loss: Any, outputs: Any, targets: Any) -> None:
        """One batch: ``loss`` the mean over it (a Tensor of one element), ``outputs`` (n, ...), ``targets`` (n, ...).

        Right answers are counted for outputs (n, classes) and whole-number targets (n,).
        """
        count = outputs.shape[0]
        self.examples += count
        self.steps += 1
        self._backend = outputs.backend
        with self._backend.scope():
            self.loss_sum = self.loss_sum + loss.data.reshape(()).astype("float64") * count
            # A sum that was NaN or infinite once stays so: the number of steps before that names the first bad one.
            self.finite_steps = self.finite_steps + (abs(self.loss_sum) < math.inf)
            if outputs.ndim == 2 and targets.ndim == 1 and targets.dtype.kind in "iu":
                self.counts_correct = True
                labels = getattr(targets, "data", targets)
                self.correct = self.correct + (outputs.data.argmax(axis=1) == labels).sum()

    def read(self) -> Reading:
        """The means; waits for the device."""
        examples = max(self.examples, 1)
        finite_steps = int(self._on_host(self.finite_steps))
        return Reading(
            loss=float(self._on_host(self.loss_sum)) / examples,
            accuracy=int(self._on_host(self.correct)) / examples if self.counts_correct else None,
            examples=self.examples,
            first_bad_step=finite_steps + 1 if finite_steps < self.steps else None,
        )

    def state_dict(self) -> dict[str, Any]:
        """The sums, exactly, as JSON values."""
        return {
            "examples": self.examples,
            "steps": self.steps,
            "counts_correct": self.counts_correct,
            "loss_sum": float(self._on_host(self.loss_sum)).hex(),
            "correct": int(self._on_host(self.correct)),
            "finite_steps": int(self._on_host(self.finite_steps)),
        }

    def _on_host(self, number: Any) -> Any:
        """By way of the backend, which then raises what the device found wrong (a label out of range, say)."""
        return number if self._backend is None else self._backend.to_numpy(number)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.examples = int(state["examples"])
        self.steps = int(state["steps"])
        self.counts_correct = bool(state["counts_correct"])
        self.loss_sum = float.fromhex(state["loss_sum"])
        self.correct = int(state["correct"])
        self.finite_steps = int(state["finite_steps"])
