"""Early stopping: train until the error on held-out examples no longer falls, and keep the weights of the best epoch."""

from __future__ import annotations

import math
from typing import Any, Literal

from gpunn.dtypes import is_number, is_whole
from gpunn.errors import ConfigError
from gpunn.training import checkpoint as checkpoints
from gpunn.training.callbacks import Callback
from gpunn.training.run_directory import RunDirectory


class EarlyStopping(Callback):
    """Stops after ``patience`` epochs without a better value, and puts the weights of the best epoch back into the net.

        Trainer(net, loss, optimizer, callbacks=[EarlyStopping(patience=5)]).fit(train, validation, epochs=200)

    It acts as a penalty on the distance from the initial weights: for gradient descent on a quadratic loss, t steps of size lr
    are like an L2 penalty of strength about 1 / (lr t). I. Goodfellow, Y. Bengio and A. Courville, "Deep Learning", 2016,
    section 7.8.

    The option ``early_stopping`` of `Trainer` stops too, but leaves the weights of the last epoch.

    Args:
        patience: epochs to wait for a better value, >= 1.
        metric: which number of the epoch's record to watch, ``validation_accuracy`` for one. Default: the loss on the
            validation loader.
        mode: "min" if smaller is better, "max" if larger is.
        min_change: a value is better only if it is so by more than this.
        restore_best: put the best weights back when training ends, by patience or because all epochs are done.

    Attributes: ``best_epoch`` (counted from 1; None before the first) and ``best_value``.

    A resumed run goes on waiting where it was. It takes the best weights from the run's ``checkpoints/best.safetensors``,
    those of the lowest validation loss.

    Raises:
        ValueError: an argument is out of range.
        ConfigError: when training: the record has no such number, or a resumed run does not have the best weights any more.
    """

    def __init__(
        self,
        patience: int = 5,
        metric: str | None = None,
        mode: Literal["min", "max"] = "min",
        min_change: float = 0.0,
        restore_best: bool = True,
    ) -> None:
        if not (is_whole(patience) and patience >= 1):
            raise ValueError(f"EarlyStopping: expected patience >= 1, got {patience!r}")
        if mode not in ("min", "max"):
            raise ValueError(f"EarlyStopping: expected mode 'min' or 'max', got {mode!r}")
        if not (is_number(min_change) and 0 <= min_change < math.inf):
            raise ValueError(f"EarlyStopping: expected a finite min_change >= 0, got {min_change!r}")
        self.patience, self.metric, self.mode = patience, metric, mode
        self.min_change, self.restore_best = min_change, restore_best
        self._start_afresh()

    def _start_afresh(self) -> None:
        self.best_epoch: int | None = None
        self.best_value: float | None = None
        self._best_weights: Any = None

    def on_fit_start(self, trainer: Any) -> None:
        self._start_afresh()
        for record in trainer.history:  # of a run that is resumed
            self._look_at(trainer, record)
        if self.best_epoch is not None and self.restore_best:
            self._best_weights = self._weights_of_best_epoch(trainer)
        self._stop_when_due(trainer)

    def on_epoch_end(self, trainer: Any, record: dict[str, Any]) -> None:
        self._look_at(trainer, record)
        if self.restore_best and self.best_epoch == trainer.epoch:
            self._best_weights = _copied(trainer.net)
        self._stop_when_due(trainer)

    def on_fit_end(self, trainer: Any) -> None:
        if self.restore_best and self._best_weights is not None and self.best_epoch != trainer.epoch:
            trainer.net.load_state_dict(self._best_weights)

    def _look_at(self, trainer: Any, record: dict[str, Any]) -> None:
        metric = self.metric or f"{trainer.validation_name}_loss"
        if metric not in record:
            raise ConfigError(
                f"EarlyStopping: the epoch's record has no {metric}; it has {', '.join(record)}; "
                "give fit a validation loader, or watch another metric"
            )
        value, sign = record[metric], 1 if self.mode == "min" else -1
        if self.best_value is None or sign * value < sign * self.best_value - self.min_change:
            self.best_epoch, self.best_value = record["epoch"], value

    def _stop_when_due(self, trainer: Any) -> None:
        if self.best_epoch is not None and trainer.epoch - self.best_epoch >= self.patience:
            trainer.stop()

    def _weights_of_best_epoch(self, trainer: Any) -> Any:
        directory = trainer.run_directory
        if isinstance(directory, RunDirectory) and directory.best_checkpoint.exists():
            best = checkpoints.load(directory.best_checkpoint, with_optimizer=False)
            if best.training.get("epoch") == self.best_epoch:
                return best.model
        if self.best_epoch == trainer.epoch and trainer.step_in_epoch == 0:
            return _copied(trainer.net)
        raise ConfigError(
            f"EarlyStopping: the best weights, those of epoch {self.best_epoch}, are in no checkpoint; "
            "resume with restore_best=False, or begin another run"
        )


def _copied(net: Any) -> dict[str, Any]:
    return {name: value.clone() for name, value in net.state_dict().items()}
