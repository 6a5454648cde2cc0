"""The training loop: what it records, saves, stops at and refuses."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpunn
from gpunn import data, nn, optim
from gpunn.errors import CheckpointError, ConfigError, DataError, NonFiniteError
from gpunn.optim import lr_scheduler
from gpunn.training import Callback, RunDirectory, Trainer, evaluate, load


def images(count: int = 48, seed: int = 0) -> data.Dataset:
    """Images that a small network learns at once: the class is the bright half."""
    numbers = np.random.default_rng(seed)
    labels = numbers.integers(0, 2, count)
    pixels = numbers.integers(0, 100, (count, 1, 6, 6))
    pixels[labels == 0, :, :3] += 120
    pixels[labels == 1, :, 3:] += 120
    return data.Dataset(pixels.astype(np.uint8), labels, ["up", "down"], "halves")


def network() -> nn.Module:
    gpunn.manual_seed(1)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 2))


def trainer(net: Any = None, *, lr: float = 0.05, **options: Any) -> Trainer:
    net = net or network()
    optimizer = options.pop("optimizer", None) or optim.SGD(net.parameters(), lr=lr, momentum=0.9)
    return Trainer(net, nn.CrossEntropyLoss(), optimizer, **{"progress": "none", **options})


def loader(**options: Any) -> data.DataLoader:
    return data.DataLoader(images(), 16, shuffle=True, **options)


def test_it_learns_and_records() -> None:
    subject = trainer()
    history = subject.fit(loader(), data.DataLoader(images(20, seed=9), 8), epochs=4)
    assert [record["epoch"] for record in history] == [1, 2, 3, 4]
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    assert history[-1]["validation_accuracy"] == 1.0
    assert set(history[0]) == {
        "epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "lr", "seconds",
        "images_per_second",
    }  # fmt: skip
    assert (subject.epoch, subject.step) == (4, 12)


def test_same_seed_same_history() -> None:
    def figures() -> list[tuple[float, float]]:
        return [(r["train_loss"], r["validation_loss"]) for r in trainer().fit(loader(), loader(), epochs=3)]

    assert figures() == figures()


def test_looking_at_the_figures_does_not_change_them(monkeypatch: pytest.MonkeyPatch) -> None:
    quiet = [record["train_loss"] for record in trainer().fit(loader(), epochs=2)]
    monkeypatch.setattr("gpunn.training.progress.REFRESH_SECONDS", 0.0)
    watched = [record["train_loss"] for record in trainer(progress="bar").fit(loader(), epochs=2)]
    assert watched == quiet


def test_evaluate_is_the_mean_over_examples_and_keeps_the_mode() -> None:
    net = network()
    dataset = images(21)
    result = trainer(net).evaluate(data.DataLoader(dataset, 8))
    assert net.training
    net.eval()
    logits = net(gpunn.tensor(dataset.images.astype(np.float32) / 255)).numpy().astype(np.float64)
    log_shares = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    assert result["loss"] == pytest.approx(-log_shares[np.arange(21), dataset.labels].mean(), rel=1e-6)
    assert result["accuracy"] == (logits.argmax(1) == dataset.labels).mean()
    trainer(net).evaluate(data.DataLoader(dataset, 8))
    assert not net.training


def test_evaluate_a_network_without_parameters() -> None:
    rule = nn.Sequential(nn.AdaptiveAvgPool2d((2, 1)), nn.Flatten())  # the brighter half
    reading = evaluate(rule, nn.CrossEntropyLoss(), data.DataLoader(images(20), 8))
    assert reading is not None
    assert reading.accuracy == 1.0


def test_tensors_stay_where_they_are(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that is on the device already is not taken to the host and back."""
    net = network().to(device)
    dataset = images(8)
    batch = (
        gpunn.tensor(dataset.images.astype(np.float32), device=device),
        gpunn.tensor(dataset.labels, device=device),
    )

    def refuse(self: gpunn.Tensor) -> None:
        raise AssertionError("taken to the host")

    monkeypatch.setattr(gpunn.Tensor, "numpy", refuse)
    history = trainer(net).fit([batch], [batch], epochs=1)
    assert history[0]["validation_accuracy"] is not None


def test_a_losss_weights_go_where_the_network_is(device: str) -> None:
    net = network().to(device)
    loss, evaluation_loss = (nn.CrossEntropyLoss(weight=np.array([1.0, 2.0], np.float32)) for _ in range(2))
    optimizer = optim.SGD(net.parameters(), lr=0.05)
    subject = Trainer(net, loss, optimizer, evaluation_loss=evaluation_loss, progress="none")
    subject.fit(loader(), loader(), epochs=1)
    for module in (loss, evaluation_loss):
        assert module.weight is not None
        assert module.weight.backend is subject.backend


def test_evaluation_does_not_train() -> None:
    net = network()
    before = {name: value.numpy().copy() for name, value in net.state_dict().items()}
    trainer(net).evaluate(loader())
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name])


def test_run_directory(tmp_path: Path) -> None:
    history = trainer(run_directory=tmp_path / "run", description={"model": "m"}).fit(loader(), loader(), epochs=3)
    run = RunDirectory(tmp_path / "run")
    assert [json.loads(line) for line in run.metrics_path.read_text().splitlines()] == history
    assert load(run.last_checkpoint).description == {"model": "m", "epochs": 3}
    best = min(history, key=lambda record: record["validation_loss"])
    assert load(run.best_checkpoint).description["epochs"] == best["epoch"]
    assert run.curves_path.read_bytes().startswith(b"\x89PNG")
    assert not list(tmp_path.rglob(".*"))  # no partial files stay


def test_a_run_is_not_overwritten(tmp_path: Path) -> None:
    trainer(run_directory=tmp_path).fit(loader(), epochs=1)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match=r"already holds a run.*resume.*--out"):
        trainer(run_directory=tmp_path).fit(loader(), epochs=1)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_second_fit_does_not_write_into_the_first_ones_run(tmp_path: Path) -> None:
    subject = trainer(run_directory=tmp_path / "run")
    subject.fit(loader(), epochs=1)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match=r"run already holds a run; go on with it by --resume \(resume=True\)"):
        subject.fit(loader(), epochs=1)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert len(subject.fit(loader(), epochs=2, resume=True)) == 2


def test_resume_with_other_data_or_batches_is_refused(tmp_path: Path) -> None:
    trainer(run_directory=tmp_path).fit(loader(), epochs=1)
    for other, what in ((data.DataLoader(images(), 8, shuffle=True), "batch_size=16"),
                        (data.DataLoader(images(60), 16, shuffle=True), "images=48")):  # fmt: skip
        with pytest.raises(CheckpointError, match=f"does not fit this trainer.*the state has {what}"):
            trainer(run_directory=tmp_path).fit(other, epochs=2, resume=True)


def test_unwritable_run_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match="cannot write the run directory"):
        trainer(run_directory=tmp_path / "file" / "run").fit(loader(), epochs=1)


def test_without_matplotlib_there_is_a_hint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    with caplog.at_level("INFO", "gpunn"):
        trainer(run_directory=tmp_path).fit(loader(), epochs=1)
    assert "pip install matplotlib" in caplog.text
    assert not (tmp_path / "curves.png").exists()


@pytest.mark.parametrize(
    ("make", "every", "rates"),
    [
        (lambda o: lr_scheduler.StepLR(o, 1, gamma=0.5), None, [0.1, 0.05, 0.025]),
        (lambda o: lr_scheduler.StepLR(o, 3, gamma=0.5), "step", [0.05, 0.025, 0.0125]),
        (lambda o: lr_scheduler.ReduceLROnPlateau(o, factor=0.5, patience=0, threshold=1e9), None, [0.1, 0.1, 0.05]),
    ],
)
def test_schedules(make: Any, every: str | None, rates: list[float]) -> None:
    net = network()
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    subject = trainer(net, optimizer=optimizer, scheduler=make(optimizer), schedule_every=every)
    history = subject.fit(loader(), loader(), epochs=3)
    assert [record["lr"] for record in history] == pytest.approx(rates)


def test_one_cycle_goes_by_steps() -> None:
    net = network()
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    scheduler = lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=6, cycle_momentum=False)
    history = trainer(net, optimizer=optimizer, scheduler=scheduler).fit(loader(), epochs=2)
    assert scheduler.last_epoch == 6
    assert history[-1]["lr"] < 1e-5


@pytest.mark.parametrize("options", [{"clip_norm": 1e-9}, {"clip_value": 1e-12}])
def test_clipping(options: dict) -> None:
    net = network()
    before = net[0].weight.numpy().copy()
    trainer(net, **options).fit(loader(), epochs=1)
    np.testing.assert_allclose(net[0].weight.numpy(), before, atol=1e-7)


def test_early_stopping(tmp_path: Path) -> None:
    # A learning rate of nearly nothing: the loss in evaluation changes only by the batch statistics, so give one that
    # grows: targets that are wrong for the held-out images.
    wrong = images(20)
    wrong.labels = 1 - wrong.labels
    history = trainer(early_stopping=2, run_directory=tmp_path).fit(loader(), data.DataLoader(wrong, 8), epochs=30)
    losses = [record["validation_loss"] for record in history]
    assert len(history) < 30
    assert len(history) == losses.index(min(losses)) + 1 + 2
    # Going on is over as well: the patience is part of the checkpoint.
    again = trainer(early_stopping=2, run_directory=tmp_path)
    assert again.fit(loader(), data.DataLoader(wrong, 8), epochs=30, resume=True) == history


@pytest.mark.parametrize(
    "options",
    [{"early_stopping": 1}, {"scheduler": lr_scheduler.ReduceLROnPlateau(optim.SGD([nn.Linear(1, 1).weight]))}],
)
def test_what_needs_validation_says_so(options: dict) -> None:
    with pytest.raises(ConfigError, match="validation loader"):
        trainer(**options).fit(loader(), epochs=1)


class Poison:
    """A loader with NaN in one batch."""

    def __init__(self, at: int) -> None:
        self.at = at

    def __iter__(self) -> Any:
        for number, (inputs, labels) in enumerate(loader()):
            yield (inputs * np.float32(np.nan) if number == self.at else inputs), labels


def test_nan_in_the_data_names_epoch_and_step(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteError, match=r"NaN in epoch 1 at step 2: lower lr \(now 0\.05\), set clip_norm"):
        trainer(run_directory=tmp_path, checkpoint_every=3).fit(Poison(1), epochs=3)
    assert not (tmp_path / "checkpoints" / "last.safetensors").exists()


def test_nan_is_noticed_within_a_long_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpunn.training.progress.REFRESH_SECONDS", 0.0)
    seen: list[int] = []

    class Count(Callback):
        def on_step_end(self, trainer: Trainer) -> None:
            seen.append(trainer.step)

    with pytest.raises(NonFiniteError):
        trainer(callbacks=[Count()]).fit(Poison(0), epochs=1)
    assert len(seen) == 0


def test_nan_in_evaluation() -> None:
    with pytest.raises(NonFiniteError, match="NaN in evaluation, batch 3"):
        trainer().evaluate(Poison(2))


def test_exploding_learning_rate() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 1))
    subject = Trainer(net, nn.MSELoss(), optim.SGD(net.parameters(), lr=1e30), progress="none")
    batch = np.ones((4, 1, 6, 6), np.float32), np.ones((4, 1), np.float32)
    with pytest.raises(NonFiniteError, match="epoch 1 at step"):
        subject.fit([batch] * 6, epochs=1)


def test_losses_that_are_not_of_classes() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 1))
    subject = Trainer(net, nn.MSELoss(), optim.SGD(net.parameters(), lr=1e-3), progress="none")
    batch = np.ones((4, 1, 6, 6), np.float32), np.zeros((4, 1), np.float32)
    history = subject.fit([batch, batch], [batch], epochs=2)
    assert "train_accuracy" not in history[0]
    assert subject.evaluate([batch])["accuracy"] is None
    assert history[1]["train_loss"] < history[0]["train_loss"]


def test_double_precision_network() -> None:
    net = network().double()
    trainer(net).fit(loader(), epochs=1)
    assert net[0].weight.dtype == np.float64


def test_callbacks_see_each_step_and_epoch() -> None:
    calls: list[Any] = []

    class Note(Callback):
        def on_step_end(self, trainer: Trainer) -> None:
            calls.append(trainer.step)

        def on_epoch_end(self, trainer: Trainer, record: dict[str, Any]) -> None:
            calls.append(f"epoch {record['epoch']}")

    trainer(callbacks=[Note()]).fit(loader(), epochs=2)
    assert calls == [1, 2, 3, "epoch 1", 4, 5, 6, "epoch 2"]


def test_bad_arguments() -> None:
    with pytest.raises(ConfigError, match="schedule_every"):
        trainer(schedule_every="month")
    with pytest.raises(ConfigError, match="progress: expected None or one of bar, lines, none, got 'loud'"):
        trainer(progress="loud")
    with pytest.raises(ConfigError, match="no parameters"):
        Trainer(nn.ReLU(), nn.MSELoss(), None)
    with pytest.raises(ConfigError, match="run_directory"):
        trainer().fit(loader(), epochs=1, resume=True)
    with pytest.raises(DataError, match="no batches"):
        trainer().fit([], epochs=1)
    with pytest.raises(DataError, match="no batches"):
        trainer().evaluate([])


def test_a_line_an_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    trainer(progress="lines").fit(loader(), loader(), epochs=2)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("epoch 1/2  train loss ")
    assert "images/s" in lines[0]


def test_a_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpunn.training.progress.REFRESH_SECONDS", 0.0)
    trainer(progress="bar").fit(loader(), epochs=1)
    captured = capsys.readouterr()
    assert "epoch 1/1" in captured.err
    assert "loss" in captured.err
    assert len(captured.out.splitlines()) == 1
