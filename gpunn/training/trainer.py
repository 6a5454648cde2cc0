"""The training loop: epochs of steps, evaluation, schedule, checkpoints, early stopping, and going on after a stop.

A run that was stopped anywhere and resumed from its last checkpoint ends with the same bits as one that was not: the
checkpoint holds all that the next step depends on, and nothing that is computed depends on clocks or on who watches.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from gpunn.device import resolve
from gpunn.errors import CheckpointError, ConfigError, DataError, NonFiniteError
from gpunn.nn import Module
from gpunn.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau
from gpunn.random import default_generator
from gpunn.training import checkpoint as checkpoints
from gpunn.training.callbacks import Callback
from gpunn.training.captured import CapturedStep
from gpunn.training.curves import draw_curves
from gpunn.training.evaluation import Batches, evaluate, on_device, without_warnings
from gpunn.training.interruption import StopRequest, TrainingInterrupted
from gpunn.training.metrics import Reading, RunningMetrics
from gpunn.training.progress import Progress
from gpunn.training.run_directory import RunDirectory
from gpunn.training.step import TrainingStep


class Trainer:
    """Trains ``net`` to make ``loss(net(inputs), targets)`` small.

    Arguments:
        net: a Module. loss: a callable of outputs and targets that returns their mean loss (``nn.CrossEntropyLoss()``).
        optimizer: one of ``gpunn.optim`` over the net's parameters.
        scheduler: one of ``gpunn.optim.lr_scheduler``. ``schedule_every``: "step" or "epoch"; None takes "step" for
            OneCycleLR and "epoch" for the others. ReduceLROnPlateau is given the validation loss, each epoch.
        device: where to train; None is where the net is.
        amp: "bf16" or "fp16" trains in mixed precision (`gpunn.autocast`): products in that half precision, all else and
            the parameters in float32. fp16 scales the loss (`GradScaler`). Evaluation stays in float32.
        cuda_graph: on a GPU, record a step once and let the device repeat it (`CapturedStep`); the results are the same.
        clip_norm, clip_value: bounds for the norm of all gradients together and for each element.
        early_stopping: stop after so many epochs without a lower validation loss. The weights stay those of the last epoch;
            the callback `EarlyStopping` puts the best ones back.
        run_directory: a folder (or ``RunDirectory``) for checkpoints, metrics and curves; None writes nothing.
        checkpoint_every: also save ``checkpoints/last.safetensors`` every so many steps, not only after each epoch.
        progress: "bar", "lines", "none"; None is a bar on a terminal and a line an epoch elsewhere.
        callbacks: objects with the methods of ``Callback``.
        evaluation_loss: the loss that evaluation reports; None is ``loss``.
        validation_name: what the metrics call the second loader: "validation" or "test".
        description: JSON values that go into every checkpoint (the model's name and the like).

    Attributes that tell where it stands: ``epoch`` (epochs done), ``step`` (optimizer steps done), ``history``.
    """

    epoch: int
    step: int
    history: list[dict[str, Any]]
    best_loss: float | None
    _stale_epochs: int  # since the best
    _stopped: bool  # by a callback
    # Of the epoch that is going on:
    _running: RunningMetrics
    _seconds: float
    _training_done: bool  # it remains to evaluate

    def __init__(
        self,
        net: Any,
        loss: Callable[[Any, Any], Any],
        optimizer: Any,
        *,
        scheduler: Any = None,
        schedule_every: str | None = None,
        device: str | None = None,
        amp: str | None = None,
        cuda_graph: bool = False,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        early_stopping: int | None = None,
        run_directory: str | os.PathLike[str] | RunDirectory | None = None,
        checkpoint_every: int | None = None,
        progress: str | None = None,
        callbacks: Sequence[Callback] = (),
        evaluation_loss: Callable[[Any, Any], Any] | None = None,
        validation_name: str = "validation",
        description: dict[str, Any] | None = None,
    ) -> None:
        if schedule_every not in (None, "step", "epoch"):
            raise ConfigError(f"schedule_every: expected None, 'step' or 'epoch', got {schedule_every!r}")
        if isinstance(scheduler, ReduceLROnPlateau):
            schedule_every = "epoch"
        elif schedule_every is None:
            schedule_every = "step" if isinstance(scheduler, OneCycleLR) else "epoch"
        first = next(iter(net.parameters()), None)
        if first is None:
            raise ConfigError("Trainer: the net has no parameters, so there is nothing to train")
        self.backend = resolve(device if device is not None else first.device)
        self.net = net if first.device == self.backend.device else net.to(self.backend.device)
        self.dtype = first.dtype
        for module in (loss, evaluation_loss):
            if isinstance(module, Module):
                module.to(self.backend.device)  # it may have weights of classes
        self.loss = loss
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.schedule_every = schedule_every
        make_step = CapturedStep if cuda_graph else TrainingStep
        self._step = make_step(net, loss, optimizer, amp=amp, clip_norm=clip_norm, clip_value=clip_value)
        self.early_stopping = early_stopping
        self.run_directory = run_directory
        self.checkpoint_every = checkpoint_every
        self.progress = Progress(progress, self.backend)
        self.callbacks = tuple(callbacks)
        self.evaluation_loss = evaluation_loss or loss
        self.validation_name = validation_name
        self.description = description or {}
        self._start_afresh()

    def fit(
        self,
        train_loader: Batches,
        validation_loader: Batches | None = None,
        *,
        epochs: int,
        resume: bool = False,
    ) -> list[dict[str, Any]]:
        """Train until ``epochs`` epochs are done. Returns a record an epoch, as they stand in metrics.jsonl.

        A loader yields (inputs, targets) of one epoch at a time it is iterated over. With ``resume`` training goes on
        from the run directory's last checkpoint (from the start, if none was written yet).

        Raises ``NonFiniteError`` when the loss becomes NaN or infinite, ``CheckpointError`` when a checkpoint cannot be
        read or written, and ``TrainingInterrupted`` when the user stopped it (Ctrl-C), after saving.
        """
        needs_validation = self.early_stopping is not None or isinstance(self.scheduler, ReduceLROnPlateau)
        if validation_loader is None and needs_validation:
            raise ConfigError("early stopping and ReduceLROnPlateau need a validation loader; pass one to fit")
        self._start_afresh()
        self._open_run(train_loader, resume)
        for callback in self.callbacks:
            callback.on_fit_start(self)
        with StopRequest() as stop, without_warnings():
            while self.epoch < epochs and not self._out_of_patience() and not self._stopped:
                record = self._run_epoch(train_loader, validation_loader, epochs, stop)
                self.progress.line(record, epochs)
                for callback in self.callbacks:
                    callback.on_epoch_end(self, record)
                if stop.requested:
                    self._interrupt(0)
        for callback in self.callbacks:
            callback.on_fit_end(self)
        self._draw_curves()
        return self.history

    @property
    def step_in_epoch(self) -> int:
        """Optimizer steps done of the epoch that is going on; 0 between epochs."""
        return self._running.steps

    def stop(self) -> None:
        """Let this epoch be the last: for callbacks."""
        self._stopped = True

    def evaluate(self, loader: Batches) -> dict[str, float | None]:
        """Mean loss and accuracy over ``loader``, in evaluation mode and without gradients."""
        reading = evaluate(self.net, self.evaluation_loss, loader)
        assert reading is not None  # nobody could ask it to stop
        return {"loss": reading.loss, "accuracy": reading.accuracy}

    # One epoch

    def _run_epoch(self, train_loader: Any, validation_loader: Any, epochs: int, stop: StopRequest) -> dict[str, Any]:
        if not self._training_done:
            self._train(train_loader, epochs, stop)
        reading = self._running.read()
        self._check_finite(reading)
        train_seconds = self._seconds
        record: dict[str, Any] = {"epoch": self.epoch + 1, "train_loss": reading.loss}
        if reading.accuracy is not None:
            record["train_accuracy"] = reading.accuracy
        learning_rate = self.optimizer.param_groups[0]["lr"]
        measured = None
        started = time.perf_counter()
        if validation_loader is not None:
            measured = evaluate(self.net, self.evaluation_loss, validation_loader, stop=lambda: stop.requested)
            if measured is None:
                self._save_last(train_loader)
                self._interrupt(self._running.steps)
            assert measured is not None
            record[f"{self.validation_name}_loss"] = measured.loss
            if measured.accuracy is not None:
                record[f"{self.validation_name}_accuracy"] = measured.accuracy
        if isinstance(self.scheduler, ReduceLROnPlateau):
            assert measured is not None
            self.scheduler.step(measured.loss)
        elif self.scheduler is not None and self.schedule_every == "epoch":
            self.scheduler.step()
        record["lr"] = float(learning_rate)
        record["seconds"] = round(train_seconds + time.perf_counter() - started, 3)
        record["images_per_second"] = round(reading.examples / max(train_seconds, 1e-9), 1)
        self.history.append(record)
        self.epoch += 1
        is_best = measured is not None and (self.best_loss is None or measured.loss < self.best_loss)
        if measured is not None:
            self.best_loss = measured.loss if is_best else self.best_loss
            self._stale_epochs = 0 if is_best else self._stale_epochs + 1
        self._start_epoch_afresh()
        if isinstance(self.run_directory, RunDirectory):
            state = self._checkpoint(train_loader)
            if is_best:
                checkpoints.save(self.run_directory.best_checkpoint, state)
            checkpoints.save(self.run_directory.last_checkpoint, state)
            self.run_directory.append_metrics(record)
        return record

    def _train(self, loader: Any, epochs: int, stop: StopRequest) -> None:
        running = self._running
        steps_in_epoch = len(loader) if hasattr(loader, "__len__") else None
        started = time.perf_counter() - self._seconds
        self.net.train()
        self.progress.start_epoch(self.epoch + 1, epochs, _examples_in(loader), running.examples)
        try:
            for inputs, targets in self._batches(loader):
                self._train_step(inputs, targets)
                self._seconds = time.perf_counter() - started
                if self.progress.due():
                    reading = running.read()
                    self._check_finite(reading)
                    self.progress.show(reading)
                # The epoch's last step is left to the code behind the loop: there the loader stands at its next epoch.
                if running.steps != steps_in_epoch:
                    due = self.checkpoint_every is not None and self.step % self.checkpoint_every == 0
                    if due or stop.requested:
                        self._save_last(loader)
                    if stop.requested:
                        self._interrupt(running.steps)
                for callback in self.callbacks:
                    callback.on_step_end(self)
            if running.steps == 0:
                raise DataError("the training loader yields no batches; give it at least one example")
            reading = running.read()  # waits for the device, so that the time is that of the work
            self._check_finite(reading)
            self.progress.show(reading)
        finally:
            self.progress.end_epoch()
        self._seconds = time.perf_counter() - started
        self._training_done = True
        if stop.requested or (self.checkpoint_every is not None and self.step % self.checkpoint_every == 0):
            self._save_last(loader)
        if stop.requested:
            self._interrupt(running.steps)

    def _train_step(self, inputs: Any, targets: Any) -> None:
        inputs, targets = on_device(self.backend, self.dtype, inputs, targets)
        loss, outputs = self._step(inputs, targets)
        if self.scheduler is not None and self.schedule_every == "step":
            self.scheduler.step()
        self.step += 1
        self._running.add(loss, outputs, targets)

    def _batches(self, loader: Any) -> Batches:
        """What is left of the loader's epoch. A loader that keeps no position is run through up to where it was."""
        skip = 0 if hasattr(loader, "load_state_dict") else self._running.steps
        for number, batch in enumerate(loader):
            if number >= skip:
                yield batch

    def _check_finite(self, reading: Reading) -> None:
        if reading.first_bad_step is not None:
            raise NonFiniteError(
                f"the loss became {reading.kind} in epoch {self.epoch + 1} at step {reading.first_bad_step}: "
                f"lower lr (now {self.optimizer.param_groups[0]['lr']:.3g}), set clip_norm (1.0, say), "
                "and look for NaN in the data"
            )

    def _out_of_patience(self) -> bool:
        return self.early_stopping is not None and self._stale_epochs >= self.early_stopping

    # Where training stands

    def _start_afresh(self) -> None:
        self.epoch = 0
        self.step = 0
        self.history = []
        self.best_loss = None
        self._stale_epochs = 0
        self._stopped = False
        self._start_epoch_afresh()

    def _start_epoch_afresh(self) -> None:
        self._running = RunningMetrics()
        self._seconds = 0.0
        self._training_done = False

    def _open_run(self, train_loader: Any, resume: bool) -> None:
        directory = self.run_directory
        if directory is None:
            if resume:
                raise ConfigError("resume=True needs a run_directory, where the last checkpoint is; give it to Trainer")
            return
        if not isinstance(directory, RunDirectory):
            directory = RunDirectory.open(directory) if resume else RunDirectory.create(directory)
        elif not resume:  # made for this run, as by the command line, or left from an earlier call of fit
            directory.check_untrained()
        self.run_directory = directory
        if resume:
            if directory.last_checkpoint.exists():
                self.restore(directory.last_checkpoint, train_loader)
            directory.rewrite_metrics(self.history)

    def _checkpoint(self, loader: Any) -> checkpoints.Checkpoint:
        training = {
            "epoch": self.epoch,
            "step": self.step,
            "history": self.history,
            "best_loss": self.best_loss,
            "stale_epochs": self._stale_epochs,
            "running": self._running.state_dict(),
            "seconds": self._seconds,
            "training_done": self._training_done,
            "scheduler": self.scheduler.state_dict() if self.scheduler is not None else None,
            "loader": loader.state_dict() if hasattr(loader, "state_dict") else None,
            "random": default_generator.get_state(),
            "scaler": self._step.scaler.state_dict() if self._step.scaler is not None else None,
        }
        return checkpoints.Checkpoint(
            self.net.state_dict(), self.optimizer.state_dict(), training, {**self.description, "epochs": self.epoch}
        )

    def restore(self, path: str | os.PathLike[str], train_loader: Any = None) -> None:
        """Put net, optimizer, scheduler, random numbers, loader and this trainer where the checkpoint left them."""
        state = checkpoints.load(path)
        checkpoints.load_into(self.net, state.model, path)
        training = state.training
        try:
            self.optimizer.load_state_dict(state.optimizer)
            if self.scheduler is not None:
                self.scheduler.load_state_dict(training["scheduler"])
            if training["loader"] is not None and hasattr(train_loader, "load_state_dict"):
                train_loader.load_state_dict(training["loader"])
            default_generator.set_state(training["random"])
            if self._step.scaler is not None:
                self._step.scaler.load_state_dict(training["scaler"])
            self.epoch = int(training["epoch"])
            self.step = int(training["step"])
            self.history = list(training["history"])
            self.best_loss = training["best_loss"]
            self._stale_epochs = int(training["stale_epochs"])
            self._seconds = float(training["seconds"])
            self._training_done = bool(training["training_done"])
            self._running.load_state_dict(training["running"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            message = " ".join(str(error).split())
            raise CheckpointError(
                f"{path} does not fit this trainer ({type(error).__name__}: {message}); "
                "resume with the optimizer, schedule and data of the run that wrote it"
            ) from error

    def _save_last(self, loader: Any) -> None:
        if isinstance(self.run_directory, RunDirectory):
            self._check_finite(self._running.read())  # a checkpoint of a lost run would be of no use
            checkpoints.save(self.run_directory.last_checkpoint, self._checkpoint(loader))

    def _interrupt(self, step_in_epoch: int) -> None:
        directory = self.run_directory if isinstance(self.run_directory, RunDirectory) else None
        self._draw_curves()
        raise TrainingInterrupted(directory.last_checkpoint if directory else None, self.epoch, step_in_epoch)

    def _draw_curves(self) -> None:
        if isinstance(self.run_directory, RunDirectory) and self.history:
            names = (self.description.get("model"), self.description.get("data"))
            draw_curves(
                self.history,
                self.run_directory.curves_path,
                title=" on ".join(str(name) for name in names if name),
                same_loss=self.evaluation_loss is self.loss,
            )


def _examples_in(loader: Any) -> int | None:
    """How many an epoch shows: what a sampler chooses, or the whole data set."""
    examples: Any = getattr(loader, "sampler", None) or getattr(loader, "dataset", None)
    return len(examples) if hasattr(examples, "__len__") else None
