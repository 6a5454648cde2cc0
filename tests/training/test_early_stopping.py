"""Early stopping by callback: when it stops, which weights it leaves, and that a resumed run ends the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpunn
from gpunn import nn, optim
from gpunn.errors import ConfigError
from gpunn.training import Callback, EarlyStopping, RunDirectory, Trainer

# The loss on held-out examples by epoch, as `Scripted` reports it: the best is that of epoch 3.
LOSSES = [5.0, 4.0, 2.0, 3.0, 2.5, 2.25, 1.75, 9.0]


class Scripted(nn.Module):
    """A loss that is what the script says in evaluation; in training its gradient is 1, so the weight counts the steps."""

    def __init__(self, losses: list[float]) -> None:
        super().__init__()
        self.losses, self.net = losses, nn.Linear(1, 1, bias=False)

    def evaluation(self, outputs: Any, targets: Any) -> Any:
        steps = round(-self.net.weight.item())
        return outputs.sum() * 0 + self.losses[steps - 1]


def build(losses: list[float] = LOSSES, device: str = "cpu", **options: Any) -> tuple[Trainer, nn.Module]:
    scripted = Scripted(losses)
    net = scripted.net.to(device)
    with gpunn.no_grad():
        net.weight.fill_(0.0)
    optimizer = optim.SGD(net.parameters(), lr=1.0)
    subject = Trainer(
        net, lambda out, _: out.sum(), optimizer, evaluation_loss=scripted.evaluation, progress="none", **options
    )
    return subject, net


BATCHES = [(np.ones((1, 1), np.float32), np.zeros(1, np.float32))]


def fit(subject: Trainer, epochs: int = 8, **options: Any) -> list[dict[str, Any]]:
    return subject.fit(BATCHES, BATCHES, epochs=epochs, **options)


@pytest.mark.parametrize(("patience", "epochs", "best"), [(1, 4, 3), (3, 6, 3), (4, 8, 7), (8, 8, 7)])
def test_stops_and_restores(device: str, patience: int, epochs: int, best: int) -> None:
    callback = EarlyStopping(patience)
    subject, net = build(device=device, callbacks=[callback])
    assert len(fit(subject)) == epochs
    assert (callback.best_epoch, callback.best_value) == (best, LOSSES[best - 1])
    assert net.weight.item() == -best


def test_without_restoring() -> None:
    subject, net = build(callbacks=[EarlyStopping(2, restore_best=False)])
    assert len(fit(subject)) == 5
    assert net.weight.item() == -5


def test_the_option_of_the_trainer_stops_at_the_same_epoch() -> None:
    option, net = build(early_stopping=3)
    by_callback, _ = build(callbacks=[EarlyStopping(3)])
    assert len(fit(option)) == len(fit(by_callback)) == 6
    assert net.weight.item() == -6


def test_a_change_that_is_too_small_is_none() -> None:
    callback = EarlyStopping(2, min_change=0.5)
    subject, net = build([5.0, 4.0, 3.75, 3.25, 3.0, 2.75, 2.5, 2.0], callbacks=[callback])
    assert len(fit(subject)) == 6  # 4.0, then 3.25, then nothing below 2.75
    assert callback.best_epoch == 4
    assert net.weight.item() == -4


def test_larger_may_be_better() -> None:
    callback = EarlyStopping(2, metric="validation_loss", mode="max")
    subject, net = build(callbacks=[callback])
    assert len(fit(subject)) == 3
    assert callback.best_epoch == 1
    assert net.weight.item() == -1


def test_a_second_fit_starts_afresh() -> None:
    callback = EarlyStopping(1)
    subject, net = build(callbacks=[callback])
    fit(subject)
    with gpunn.no_grad():
        net.weight.fill_(0.0)
    assert len(fit(subject)) == 4
    assert callback.best_epoch == 3


class KillAt(Callback):
    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_epoch_end(self, trainer: Any, record: dict[str, Any]) -> None:
        if trainer.epoch == self.epoch:
            raise KeyboardInterrupt


@pytest.mark.parametrize("killed_at", [1, 3, 4, 5])
def test_a_resumed_run_ends_the_same(tmp_path: Path, killed_at: int) -> None:
    first, _ = build(run_directory=tmp_path, callbacks=[KillAt(killed_at), EarlyStopping(3)])
    with pytest.raises(KeyboardInterrupt):
        fit(first)
    callback = EarlyStopping(3)
    again, net = build(run_directory=tmp_path, callbacks=[callback])
    assert len(fit(again, resume=True)) == 6
    assert callback.best_epoch == 3
    assert net.weight.item() == -3
    # And once more: there is nothing left to do, and the best weights are found again.
    over, net = build(run_directory=tmp_path, callbacks=[EarlyStopping(3)])
    assert len(fit(over, resume=True)) == 6
    assert net.weight.item() == -3


def test_the_last_checkpoint_is_of_the_last_epoch(tmp_path: Path) -> None:
    subject, net = build(run_directory=tmp_path, callbacks=[EarlyStopping(2)])
    fit(subject)
    assert net.weight.item() == -3
    subject.restore(RunDirectory(tmp_path).last_checkpoint)
    assert net.weight.item() == -5


def test_best_weights_that_are_lost_are_missed_at_once(tmp_path: Path) -> None:
    options: dict[str, Any] = {"metric": "lr", "mode": "max", "patience": 8}
    first, _ = build(run_directory=tmp_path, callbacks=[KillAt(2), EarlyStopping(**options)])
    with pytest.raises(KeyboardInterrupt):
        fit(first)
    again, _ = build(run_directory=tmp_path, callbacks=[EarlyStopping(**options)])
    with pytest.raises(
        ConfigError, match=r"those of epoch 1, are in no checkpoint; resume with restore_best=False"
    ) as e:
        fit(again, resume=True)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("device", ["reference", "cpu"])
def test_it_is_a_penalty_on_the_distance_from_the_start(device: str) -> None:
    """Descent on sum h_i (w_i - m_i)^2 / 2 for t steps leaves w_i = (1 - (1 - lr h_i)^t) m_i; where lr h_i is small that is
    nearly h_i / (h_i + 1 / (lr t)) m_i, the least of the loss with an L2 penalty of strength 1 / (lr t)."""
    h, m, lr, steps = np.array([0.01, 0.02, 0.05]), np.array([1.0, -2.0, 3.0]), 0.1, 100
    curvature = gpunn.tensor(h, device=device)
    w = gpunn.tensor(np.zeros(3), device=device, requires_grad=True)
    optimizer = optim.SGD([w], lr=lr)
    for _ in range(steps):
        optimizer.zero_grad()
        (0.5 * (curvature * (w - m) ** 2).sum()).backward()
        optimizer.step()
    np.testing.assert_allclose(w.numpy(), (1 - (1 - lr * h) ** steps) * m, rtol=1e-10)
    ridge = h / (h + 1 / (lr * steps)) * m
    assert np.abs(w.numpy() / ridge - 1).max() < 0.2
    assert np.abs(w.numpy() / m - 1).min() > 0.6  # far from the least of the loss itself


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EarlyStopping(0), "patience >= 1, got 0"),
        (lambda: EarlyStopping("5"), "patience >= 1, got '5'"),  # type: ignore[arg-type]
        (lambda: EarlyStopping(mode="least"), "mode 'min' or 'max', got 'least'"),  # type: ignore[arg-type]
        (lambda: EarlyStopping(min_change=-1), "min_change >= 0, got -1"),
    ],
)
def test_wrong_arguments(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_metric_that_is_not_there() -> None:
    subject, _ = build(callbacks=[EarlyStopping()])
    with pytest.raises(
        ConfigError, match=r"no validation_loss; it has epoch, train_loss, .*give fit a validation loader"
    ):
        subject.fit(BATCHES, epochs=3)
