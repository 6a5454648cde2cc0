"""Ensembles: the mean of probabilities, the error of correlated members, bagging, snapshots of a cosine schedule."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpunn
from gpunn import data, nn, optim
from gpunn import functional as F
from gpunn.errors import CheckpointError, DataError
from gpunn.optim.lr_scheduler import CosineAnnealingWarmRestarts
from gpunn.training import Callback, Ensemble, Snapshots, Trainer, bagging, bootstrap, expected_squared_error


class Constant(nn.Module):
    """The same scores for every input."""

    def __init__(self, scores: list[float]) -> None:
        super().__init__()
        self.scores = nn.Parameter(gpunn.tensor([scores], dtype="float64"))

    def forward(self, x: Any) -> Any:
        return self.scores.expand(x.shape[0], self.scores.shape[1])


def test_mean_of_probabilities_by_hand(device: str) -> None:
    """Probabilities (0.9, 0.1) and (0.3, 0.7) make (0.6, 0.4)."""
    members = [Constant([math.log(0.9), math.log(0.1)]), Constant([math.log(0.3) + 5, math.log(0.7) + 5])]
    net = Ensemble(members).to(device)
    x = gpunn.zeros(3, 1, device=device)
    np.testing.assert_allclose(np.exp(net(x).numpy()), [[0.6, 0.4]] * 3, rtol=1e-12)
    assert F.cross_entropy(net(x), np.array([0, 0, 1])).item() == pytest.approx(-math.log(0.6**2 * 0.4) / 3)


def test_a_sure_member_does_not_overflow(device: str) -> None:
    net = Ensemble([Constant([1000.0, 0.0]), Constant([0.0, 0.0])]).to(device)
    np.testing.assert_allclose(net(gpunn.zeros(1, 1, device=device)).numpy(), np.log([[0.75, 0.25]]), rtol=1e-12)


def test_mean_of_outputs(device: str) -> None:
    net = Ensemble([Constant([1.0, 5.0]), Constant([3.0, 0.0])], average="outputs").to(device)
    assert net(gpunn.zeros(1, 1, device=device)).tolist() == [[2.0, 2.5]]


def test_of_images_with_scores_at_every_pixel(device: str) -> None:
    members = [nn.Conv2d(1, 3, 1) for _ in range(3)]
    x = gpunn.randn(2, 1, 4, 5, device=device)
    out = Ensemble(members).to(device)(x)
    expected = np.mean([F.softmax(member(x), 1).numpy() for member in members], axis=0)
    np.testing.assert_allclose(np.exp(out.numpy()), expected, rtol=1e-5)


def test_the_ensemble_is_a_module(device: str) -> None:
    net = Ensemble([nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.9)) for _ in range(2)]).to(device)
    assert set(net.state_dict()) == {f"models.{m}.0.{name}" for m in range(2) for name in ("weight", "bias")}
    x = gpunn.randn(5, 4, device=device)
    net.eval()
    np.testing.assert_array_equal(net(x).numpy(), net(x).numpy())  # no member drops anything
    F.cross_entropy(net(x), np.zeros(5, int)).backward()
    assert all(p.grad is not None for p in net.parameters())
    assert "average='probabilities'" in repr(net)


@pytest.mark.parametrize("device", ["reference", "cpu"])
def test_no_worse_than_its_members(device: str) -> None:
    """-log is convex: the ensemble's cross-entropy is at most the mean of its members'."""
    members = [nn.Linear(6, 4).to(device) for _ in range(5)]
    x, labels = gpunn.randn(50, 6, device=device), np.arange(50) % 4
    losses = [F.cross_entropy(member(x), labels).item() for member in members]
    assert F.cross_entropy(Ensemble(members)(x), labels).item() < np.mean(losses)


# The error of correlated members


@pytest.mark.parametrize("members", [1, 2, 5, 10])
@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.9, 1.0])
def test_error_formula_by_simulation(members: int, correlation: float) -> None:
    """Errors e_i = sqrt(c) s + sqrt(v - c) t_i of a shared s and own t_i have variance v and covariance c."""
    v, trials = 4.0, 100_000
    c = correlation * v
    numbers = np.random.default_rng(members)
    errors = math.sqrt(c) * numbers.normal(size=(trials, 1))
    errors = errors + math.sqrt(v - c) * numbers.normal(size=(trials, members))
    measured = (errors.mean(axis=1) ** 2).mean()
    # The mean square of N normal numbers is off by sqrt(2 / N) of itself.
    assert measured == pytest.approx(expected_squared_error(v, c, members), rel=4 * math.sqrt(2 / trials))


def test_error_formula_by_hand() -> None:
    assert expected_squared_error(4.0, 1.0, 2) == 2.5  # 4/2 + 1/2
    assert expected_squared_error(6.0, 0.0, 3) == 2.0
    assert expected_squared_error(6.0, 6.0, 3) == 6.0
    assert expected_squared_error(2.0, -1.0, 3) == 0.0  # errors that cancel


# Bagging


def numbered(count: int) -> data.Dataset:
    images = np.arange(count, dtype=np.float32).reshape(-1, 1, 1, 1)
    return data.Dataset(images, np.zeros(count, int), ["a"])


def test_bootstrap() -> None:
    sample, left_out = bootstrap(numbered(2000), seed=3)
    drawn, rest = sample.images.reshape(-1), left_out.images.reshape(-1)
    assert len(drawn) == 2000
    assert not set(drawn) & set(rest)
    assert set(drawn) | set(rest) == set(range(2000))
    assert len(rest) / 2000 == pytest.approx(math.exp(-1), abs=0.03)
    times = np.bincount(drawn.astype(int), minlength=2000)
    assert times.var() == pytest.approx(1.0, abs=0.15)  # nearly Poisson
    assert (bootstrap(numbered(2000), seed=3)[0].images == sample.images).all()
    for other in (bootstrap(numbered(2000), seed=4)[0], bootstrap(numbered(2000), seed=3, number=1)[0]):
        assert (other.images != sample.images).mean() > 0.9
    with pytest.raises(DataError, match="no images to draw from"):
        bootstrap(numbered(0), 0)


@pytest.mark.parametrize("device", ["reference", "cpu"])
def test_bagging(device: str) -> None:
    """Members that say the mean of their sample: together they are near the mean of all."""
    means: list[float] = []

    def train(sample: data.Dataset, number: int) -> nn.Module:
        assert number == len(means)
        means.append(float(sample.images.mean()))
        return Constant([means[-1]]).to(device)

    net = bagging(train, numbered(100), 30, seed=1, average="outputs")
    out = net(gpunn.zeros(1, 1, device=device)).item()
    assert len(set(means)) == 30
    assert out == pytest.approx(np.mean(means))
    assert abs(out - 49.5) < 4 * np.std(np.arange(100)) / 10 / 30**0.5


# Snapshots


def images() -> data.Dataset:
    numbers = np.random.default_rng(0)
    labels = numbers.integers(0, 2, 40)
    pixels = numbers.integers(0, 100, (40, 1, 4, 4)) + 100 * labels[:, None, None, None]
    return data.Dataset(pixels.astype(np.uint8), labels, ["dark", "bright"])


def snapshot_run(device: str = "cpu", **options: Any) -> tuple[Trainer, Snapshots]:
    gpunn.manual_seed(2)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).to(device)
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    schedule = CosineAnnealingWarmRestarts(optimizer, T_0=2 * 4)
    snapshots = Snapshots(every=2)
    callbacks = [*options.pop("callbacks", []), snapshots]
    subject = Trainer(
        net, nn.CrossEntropyLoss(), optimizer, scheduler=schedule, schedule_every="step", callbacks=callbacks,
        progress="none", **options,
    )  # fmt: skip
    return subject, snapshots


def loader() -> data.DataLoader:
    return data.DataLoader(images(), 10, shuffle=True)


def weights(net: Any) -> np.ndarray:
    return net[1].weight.numpy().copy()


def test_a_snapshot_at_the_end_of_each_cycle(device: str) -> None:
    class Note(Callback):
        def __init__(self) -> None:
            self.rates: list[float] = []
            self.weights: list[np.ndarray] = []

        def on_step_end(self, trainer: Any) -> None:
            self.rates.append(trainer.optimizer.param_groups[0]["lr"])

        def on_epoch_end(self, trainer: Any, record: dict[str, Any]) -> None:
            self.weights.append(weights(trainer.net))

    note = Note()
    subject, snapshots = snapshot_run(device, callbacks=[note])
    subject.fit(loader(), epochs=7)
    assert len(snapshots.models) == 3
    for model, expected in zip(snapshots.models, note.weights[1::2], strict=False):
        np.testing.assert_array_equal(weights(model), expected)
    # Huang et al., equation 2: a_0 / 2 (cos(pi mod(t - 1, T/M) / (T/M)) + 1) in step t, counted from 1.
    expected_rates = [0.05 * (math.cos(math.pi * (t % 8) / 8) + 1) for t in range(1, 29)]
    np.testing.assert_allclose(note.rates, expected_rates, rtol=1e-12)  # each is that of the next step
    net = snapshots.ensemble(last=2)
    assert [model is kept for model, kept in zip(net.models, snapshots.models[1:], strict=True)] == [True, True]
    assert len(snapshots.ensemble().models) == 3
    assert subject.net is not snapshots.models[-1]
    assert snapshots.models[0][1].weight.device == device


@pytest.mark.parametrize("killed_at", [2, 3, 4])
@pytest.mark.parametrize("before_the_snapshot", [True, False])
def test_a_resumed_run_has_the_same_snapshots(tmp_path: Path, killed_at: int, before_the_snapshot: bool) -> None:
    class Kill(Callback):
        def on_epoch_end(self, trainer: Any, record: dict[str, Any]) -> None:
            if trainer.epoch == killed_at:
                raise KeyboardInterrupt

    whole, expected = snapshot_run()
    whole.fit(loader(), epochs=6)
    first, snapshots = snapshot_run(run_directory=tmp_path)
    first.callbacks = (Kill(), snapshots) if before_the_snapshot else (snapshots, Kill())
    with pytest.raises(KeyboardInterrupt):
        first.fit(loader(), epochs=6)
    again, found = snapshot_run(run_directory=tmp_path)
    again.fit(loader(), epochs=6, resume=True)
    assert len(found.models) == 3
    for model, wanted in zip(found.models, expected.models, strict=True):
        np.testing.assert_array_equal(weights(model), weights(wanted))


def test_a_snapshot_that_is_gone_is_missed(tmp_path: Path) -> None:
    first, _ = snapshot_run(run_directory=tmp_path)
    first.fit(loader(), epochs=4)
    (tmp_path / "checkpoints" / "snapshot-2.safetensors").unlink()
    again, _ = snapshot_run(run_directory=tmp_path)
    with pytest.raises(CheckpointError, match=r"snapshot-2.safetensors does not exist"):
        again.fit(loader(), epochs=6, resume=True)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Ensemble([]), "at least one network, got none"),
        (lambda: Ensemble([Constant([1.0])], average="votes"), "'probabilities' or 'outputs', got 'votes'"),  # type: ignore[arg-type]
        (lambda: expected_squared_error(1.0, 0.0, 0), "members >= 1, got 0"),
        (lambda: expected_squared_error(1.0, 1.5, 2), "a covariance from -1 to it, got 1.0 and 1.5"),
        (lambda: expected_squared_error(1.0, -0.6, 3), "from -0.5 to it, got 1.0 and -0.6"),
        (lambda: expected_squared_error(-1.0, 0.0, 3), "variance >= 0"),
        (lambda: bagging(lambda sample, number: Constant([0.0]), numbered(3), 0), "members >= 1, got 0"),
        (lambda: Snapshots(0), "every >= 1 epoch, got 0"),
        (lambda: Snapshots(1.5), "every >= 1 epoch, got 1.5"),  # type: ignore[arg-type]
        (lambda: Snapshots(1).ensemble(), "at least one network, got none"),
        (lambda: Snapshots(1).ensemble(last=1), "1 <= last <= 0, the number of snapshots, got 1"),
    ],
)
def test_errors(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_what_is_no_network_and_no_data_set() -> None:
    with pytest.raises(TypeError, match="Ensemble: expected a list of networks, got Constant"):
        Ensemble(Constant([1.0]))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="bootstrap: expected a Dataset, got ndarray"):
        bootstrap(np.zeros((3, 2)), 0)  # type: ignore[arg-type]
