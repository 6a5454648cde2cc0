"""Stopped and resumed training ends with the same bits as training that was not stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpunn
from gpunn import data, nn, optim
from gpunn.errors import CheckpointError, ConfigError
from gpunn.optim import lr_scheduler
from gpunn.training import Callback, RunDirectory, Trainer, TrainingInterrupted, load

EPOCHS = 3
STEPS = 5  # an epoch: 70 images, 16 a batch
CLOCKS = ("seconds", "images_per_second")


def images(count: int = 70, seed: int = 0) -> data.Dataset:
    numbers = np.random.default_rng(seed)
    return data.Dataset(
        numbers.integers(0, 256, (count, 1, 8, 8)).astype(np.uint8), numbers.integers(0, 3, count), list("abc"), "noise"
    )


def loaders() -> tuple[data.DataLoader, data.DataLoader]:
    augmentation = [data.RandomCrop(8, 2), data.RandomHorizontalFlip(), data.Cutout(2)]
    return data.DataLoader(images(), 16, shuffle=True, seed=3, transforms=augmentation), data.DataLoader(
        images(30, 1), 16
    )


def build(directory: Path | None, kind: str = "sgd", **options: Any) -> Trainer:
    gpunn.manual_seed(5)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.4),
        nn.Linear(64, 3),
    )  # fmt: skip
    if kind == "sgd":
        optimizer: Any = optim.SGD(net.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-3)
        scheduler: Any = lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=EPOCHS * STEPS)
    else:
        optimizer = optim.Adam(net.parameters(), lr=0.01)
        scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.5)
    return Trainer(
        net, nn.CrossEntropyLoss(label_smoothing=0.1), optimizer, scheduler=scheduler, run_directory=directory,
        progress="none", **options,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take longer than the training here, and are tested elsewhere."""
    monkeypatch.setattr("gpunn.training.trainer.draw_curves", lambda *arguments, **options: True)


class Killed(Exception):  # noqa: N818 - no error, but what kill -9 does
    pass


class KillAtStep(Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, trainer: Trainer) -> None:
        if trainer.step == self.step:
            raise Killed


class KillAtEpoch(Callback):
    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_epoch_end(self, trainer: Trainer, record: dict[str, Any]) -> None:
        if record["epoch"] == self.epoch:
            raise Killed


def outcome(directory: Path) -> tuple[dict[str, bytes], Any, list[dict[str, Any]]]:
    """All that must be equal: the bits of every tensor in the last checkpoint, its figures, and metrics.jsonl."""
    checkpoint = load(directory / "checkpoints" / "last.safetensors")
    arrays = {name: array.tobytes() for name, array in checkpoint.model.items()}
    assert checkpoint.optimizer is not None
    for index, state in checkpoint.optimizer["state"].items():
        arrays |= {f"{index}/{name}": np.asarray(value).tobytes() for name, value in state.items()}
    records = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    figures = [{k: v for k, v in record.items() if k not in CLOCKS} for record in records]
    position = {k: v for k, v in checkpoint.training.items() if k not in ("history", "seconds")}
    return arrays, position, figures


@pytest.fixture(scope="module", params=["sgd", "adam"])
def uninterrupted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any]:
    directory = tmp_path_factory.mktemp(request.param)
    build(directory, request.param).fit(*loaders(), epochs=EPOCHS)
    return request.param, outcome(directory)


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_stopped_after_an_epoch(tmp_path: Path, uninterrupted: tuple[str, Any], epoch: int) -> None:
    kind, expected = uninterrupted
    with pytest.raises(Killed):
        build(tmp_path, kind, callbacks=[KillAtEpoch(epoch)]).fit(*loaders(), epochs=EPOCHS)
    build(tmp_path, kind).fit(*loaders(), epochs=EPOCHS, resume=True)
    assert outcome(tmp_path) == expected


@pytest.mark.parametrize("step", [1, 4, 5, 6, 10, 13])
@pytest.mark.parametrize("every", [1, 2, 5])
def test_killed_in_mid_epoch(tmp_path: Path, uninterrupted: tuple[str, Any], step: int, every: int) -> None:
    kind, expected = uninterrupted
    with pytest.raises(Killed):
        build(tmp_path, kind, checkpoint_every=every, callbacks=[KillAtStep(step)]).fit(*loaders(), epochs=EPOCHS)
    build(tmp_path, kind, checkpoint_every=every).fit(*loaders(), epochs=EPOCHS, resume=True)
    assert outcome(tmp_path) == expected


def test_killed_again_and_again(tmp_path: Path, uninterrupted: tuple[str, Any]) -> None:
    kind, expected = uninterrupted
    for step in range(1, EPOCHS * STEPS + 1):
        with pytest.raises(Killed):
            # Killed one step after each checkpoint, so each resumed run makes one step of progress.
            build(tmp_path, kind, checkpoint_every=1, callbacks=[KillAtStep(step)]).fit(
                *loaders(), epochs=EPOCHS, resume=step > 1
            )
    build(tmp_path, kind).fit(*loaders(), epochs=EPOCHS, resume=True)
    assert outcome(tmp_path) == expected


def test_loader_without_a_position_is_run_through(tmp_path: Path) -> None:
    batches = [(inputs, labels) for inputs, labels in data.DataLoader(images(), 16)]
    build(tmp_path / "whole").fit(batches, epochs=EPOCHS)
    with pytest.raises(Killed):
        build(tmp_path / "parts", checkpoint_every=2, callbacks=[KillAtStep(8)]).fit(batches, epochs=EPOCHS)
    build(tmp_path / "parts").fit(batches, epochs=EPOCHS, resume=True)
    assert outcome(tmp_path / "parts") == outcome(tmp_path / "whole")


def test_resuming_a_finished_run_changes_nothing(tmp_path: Path) -> None:
    history = build(tmp_path).fit(*loaders(), epochs=EPOCHS)
    before = outcome(tmp_path)
    assert build(tmp_path).fit(*loaders(), epochs=EPOCHS, resume=True) == history
    assert outcome(tmp_path) == before


def test_resuming_before_the_first_checkpoint_starts_over(tmp_path: Path, uninterrupted: tuple[str, Any]) -> None:
    kind, expected = uninterrupted
    with pytest.raises(Killed):
        build(tmp_path, kind, callbacks=[KillAtStep(2)]).fit(*loaders(), epochs=EPOCHS)
    build(tmp_path, kind).fit(*loaders(), epochs=EPOCHS, resume=True)
    assert outcome(tmp_path) == expected


def test_resuming_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no run "):
        build(tmp_path / "none").fit(*loaders(), epochs=1, resume=True)


def test_resuming_with_another_net_or_optimizer(tmp_path: Path) -> None:
    build(tmp_path).fit(*loaders(), epochs=1)
    with pytest.raises(CheckpointError, match="does not fit this trainer"):
        build(tmp_path, "adam").fit(*loaders(), epochs=2, resume=True)
    other = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    subject = Trainer(
        other, nn.CrossEntropyLoss(), optim.SGD(other.parameters()), run_directory=tmp_path, progress="none"
    )
    with pytest.raises(CheckpointError, match="does not fit this model"):
        subject.fit(*loaders(), epochs=2, resume=True)


@pytest.mark.parametrize("damage", [lambda content: content[:-100], lambda content: content[:50], lambda content: b""])
def test_resuming_from_a_file_cut_short(tmp_path: Path, damage: Any) -> None:
    build(tmp_path).fit(*loaders(), epochs=1)
    last = RunDirectory(tmp_path).last_checkpoint
    last.write_bytes(damage(last.read_bytes()))
    with pytest.raises(CheckpointError, match=r"last\.safetensors is not a whole safetensors file"):
        build(tmp_path).fit(*loaders(), epochs=2, resume=True)


class Interrupt(Callback):
    """What Ctrl-C does, at a chosen step."""

    def __init__(self, step: int, number: signal.Signals = signal.SIGINT) -> None:
        self.step, self.number = step, number

    def on_step_end(self, trainer: Trainer) -> None:
        if trainer.step == self.step:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", [1, 4, 5, 9, 15])
def test_interrupted(tmp_path: Path, uninterrupted: tuple[str, Any], step: int, number: signal.Signals) -> None:
    kind, expected = uninterrupted
    before = signal.getsignal(number)
    with pytest.raises(TrainingInterrupted) as caught:
        build(tmp_path, kind, callbacks=[Interrupt(step, number)]).fit(*loaders(), epochs=EPOCHS)
    assert signal.getsignal(number) is before
    assert caught.value.checkpoint == RunDirectory(tmp_path).last_checkpoint
    assert str(caught.value).startswith(("training stopped in epoch", "training stopped after epoch"))
    # The step that the signal came in is finished, and the one after it is where the flag is looked at.
    assert load(caught.value.checkpoint).training["step"] in (step, step + 1)
    build(tmp_path, kind).fit(*loaders(), epochs=EPOCHS, resume=True)
    assert outcome(tmp_path) == expected


def test_interrupted_in_validation(tmp_path: Path, uninterrupted: tuple[str, Any]) -> None:
    kind, expected = uninterrupted

    class InterruptingLoader:
        def __iter__(self) -> Any:
            os.kill(os.getpid(), signal.SIGINT)
            yield from loaders()[1]

    with pytest.raises(TrainingInterrupted):
        build(tmp_path, kind).fit(loaders()[0], InterruptingLoader(), epochs=EPOCHS)
    assert load(RunDirectory(tmp_path).last_checkpoint).training["training_done"]
    build(tmp_path, kind).fit(*loaders(), epochs=EPOCHS, resume=True)
    assert outcome(tmp_path) == expected


def test_interrupted_without_a_run_directory() -> None:
    with pytest.raises(TrainingInterrupted, match="no run directory") as caught:
        build(None, callbacks=[Interrupt(2)]).fit(*loaders(), epochs=EPOCHS)
    assert caught.value.checkpoint is None


SCRIPT = """
    import sys, time
    from pathlib import Path
    sys.path.insert(0, {folder!r})
    import test_training_resume as case
    from gpunn.training import Callback

    class Slow(Callback):
        def on_step_end(self, trainer):
            print(trainer.step, flush=True)
            time.sleep({pause})

    trainer = case.build(Path(sys.argv[1]), checkpoint_every=2, callbacks=[Slow()])
    trainer.fit(*case.loaders(), epochs=case.EPOCHS, resume=sys.argv[2] == "resume")
"""


# The checkout, for where gpunn is not installed.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(gpunn.__file__).parents[1])}


def script(pause: float) -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(SCRIPT.format(folder=str(Path(__file__).parent), pause=pause))]


def test_sigkill_of_the_process(tmp_path: Path) -> None:
    build(tmp_path / "whole").fit(*loaders(), epochs=EPOCHS)  # may compile kernels, which the others read from disk
    command = [*script(0.05), str(tmp_path / "parts"), "new"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == "9":
                process.kill()
                break
    assert process.returncode == -signal.SIGKILL
    subprocess.run(
        [*script(0), str(tmp_path / "parts"), "resume"], check=True, stdout=subprocess.DEVNULL, env=ENVIRONMENT
    )
    assert outcome(tmp_path / "parts") == outcome(tmp_path / "whole")


@pytest.mark.parametrize("delay", [0.0, 0.0005, 0.001, 0.002])
def test_sigkill_while_saving_leaves_a_whole_checkpoint(tmp_path: Path, delay: float) -> None:
    code = """
        import sys, numpy
        from gpunn.training import Checkpoint, save
        arrays = {str(i): numpy.full(300_000, i, numpy.float32) for i in range(4)}
        number = 0
        while True:
            number += 1
            save(sys.argv[1], Checkpoint(arrays, training={"number": number}))
            print(number, flush=True)
    """
    path = tmp_path / "a.safetensors"
    command = [sys.executable, "-c", textwrap.dedent(code), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:
        assert process.stdout is not None
        saved = int(process.stdout.readline())
        time.sleep(delay)
        process.kill()
        process.wait()
        saved = max([saved, *map(int, process.stdout.read().split())])
    assert load(path).training["number"] in (saved, saved + 1)
