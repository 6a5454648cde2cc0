"""What a user can hang into the training loop."""

from __future__ import annotations

from typing import Any


class Callback:
    """Override what you need. A callback that raises ends the training; what was saved before stays usable.

    ``trainer`` is the `Trainer`: its ``net``, ``optimizer``, ``epoch``, ``step`` and ``history`` tell where it stands.
    """

    def on_fit_start(self, trainer: Any) -> None:
        """Before the first step of a call of ``fit``; a run that is resumed stands where its checkpoint was written."""

    def on_step_end(self, trainer: Any) -> None:
        """After each optimizer step, and after the checkpoint if one was due. ``trainer.step`` counts from 1."""

    def on_epoch_end(self, trainer: Any, record: dict[str, Any]) -> None:
        """After each epoch, with its line of metrics.jsonl, when the checkpoint is written.

        ``trainer.stop()`` ends the training here.
        """

    def on_fit_end(self, trainer: Any) -> None:
        """After the last epoch, unless training ended by an error or by the user."""
