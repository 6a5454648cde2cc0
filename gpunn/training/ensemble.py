"""Several networks that answer together: the mean of their probabilities, bagging, and snapshots of one training.

Source: I. Goodfellow, Y. Bengio and A. Courville, "Deep Learning", 2016, section 7.11.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from backends import philox
from gpunn import functional as F
from gpunn import nn
from gpunn.data import Dataset
from gpunn.dtypes import is_whole
from gpunn.errors import DataError
from gpunn.random import SHUFFLE, stream_of
from gpunn.tensor import Tensor
from gpunn.training import checkpoint as checkpoints
from gpunn.training.callbacks import Callback
from gpunn.training.run_directory import RunDirectory

# Bootstrap samples draw from the shuffle streams far above any epoch.
BOOTSTRAP = 1 << 45


def expected_squared_error(variance: float, covariance: float, members: int) -> float:
    """The expected squared error of the mean of n models, each with an error of mean 0: v / n + (n - 1) c / n.

    v is the variance of each error, c the covariance of any two. Errors that are alike (c = v) leave v: the ensemble helps
    nothing. Independent ones (c = 0) leave v / n.

    Raises:
        ValueError: ``members`` is below 1, the variance negative, or the covariance not possible, which is to say not in
            [-v / (n - 1), v].
    """
    if not (is_whole(members) and members >= 1):
        raise ValueError(f"expected_squared_error: expected members >= 1, got {members!r}")
    least = -variance / (members - 1) if members > 1 else -variance
    if not (variance >= 0 and least <= covariance <= variance):
        raise ValueError(
            f"expected_squared_error: expected variance >= 0 and a covariance from {least:g} to it, got {variance} "
            f"and {covariance}"
        )
    return variance / members + (members - 1) * covariance / members


class Ensemble(nn.Module):
    """Networks for the same inputs whose answers are averaged.

    With ``average="probabilities"`` outputs are scores (n, classes, ...), and what comes out is the logarithm of the mean
    probability:

        log(1/M sum over m of softmax(scores_m))

    These are scores themselves: `cross_entropy` takes them as they are, and the largest is the answer. With
    ``average="outputs"`` it is the mean of the outputs, for regression.

    Raises:
        ValueError: there are no networks, or ``average`` is another word.
    """

    def __init__(
        self, models: Iterable[nn.Module], average: Literal["probabilities", "outputs"] = "probabilities"
    ) -> None:
        super().__init__()
        if not isinstance(models, Iterable):
            raise TypeError(f"Ensemble: expected a list of networks, got {type(models).__name__}")
        self.models = nn.ModuleList(models)
        if not len(self.models):
            raise ValueError("Ensemble: expected at least one network, got none")
        if average not in ("probabilities", "outputs"):
            raise ValueError(f"Ensemble: expected average 'probabilities' or 'outputs', got {average!r}")
        self.average = average

    def forward(self, x: Tensor) -> Tensor:
        outputs = [model(x) for model in self.models]
        if self.average == "outputs":
            return F.stack(outputs).mean(0)
        log_probabilities = F.stack([F.log_softmax(scores, 1) for scores in outputs])
        return log_probabilities.logsumexp(0) - math.log(len(outputs))

    def extra_repr(self) -> str:
        return f"average={self.average!r}"


def bootstrap(dataset: Dataset, seed: int, number: int = 0) -> tuple[Dataset, Dataset]:
    """(sample, left_out): as many images drawn with replacement, and those that were not drawn, about a share of 1/e.

    ``number`` counts the samples of one seed: another number, another sample. B. Efron, "Bootstrap methods: another look at the
    jackknife", 1979.

    Raises:
        DataError: the data set is empty.
    """
    if not isinstance(dataset, Dataset):
        raise TypeError(f"bootstrap: expected a Dataset, got {type(dataset).__name__}")
    count = len(dataset)
    if not count:
        raise DataError(f"{dataset}: no images to draw from")
    drawn = philox.integers(seed, stream_of(SHUFFLE, BOOTSTRAP + number), count, count)
    return dataset.subset(drawn), dataset.subset(np.setdiff1d(np.arange(count), drawn))


def bagging(
    train: Callable[[Dataset, int], nn.Module],
    dataset: Dataset,
    members: int,
    seed: int = 0,
    average: Literal["probabilities", "outputs"] = "probabilities",
) -> Ensemble:
    """Networks trained on bootstrap samples, as an ensemble. L. Breiman, "Bagging predictors", 1996.

    Args:
        train: called with a sample and the member's number, 0, 1, ...; makes a network, trains it and returns it.
        members: how many, >= 1.
        seed: of the samples.
        average: see `Ensemble`.
    """
    if members < 1:
        raise ValueError(f"bagging: expected members >= 1, got {members}")
    return Ensemble([train(bootstrap(dataset, seed, number)[0], number) for number in range(members)], average)


class Snapshots(Callback):
    """Copies of the network at the ends of the cycles of its schedule: an ensemble for the price of one training.

        schedule = CosineAnnealingWarmRestarts(optimizer, T_0=cycle * len(loader))
        snapshots = Snapshots(every=cycle)
        Trainer(..., scheduler=schedule, schedule_every="step", callbacks=[snapshots]).fit(loader, epochs=members * cycle)
        net = snapshots.ensemble(last=3)

    In each cycle the rate falls from its start to nearly 0, lr(t) = lr_0 / 2 (1 + cos(pi t / T)), so that the network settles
    in a minimum; the restart drives it out to look for another. G. Huang et al., "Snapshot ensembles: train 1, get M for
    free", ICLR 2017.

    The copies are kept in memory, as ``models``; with a run directory also in ``checkpoints/snapshot-<epoch>.safetensors``, from
    where a resumed run takes them.

    Raises:
        ValueError: ``every``, the epochs of a cycle, is below 1.
    """

    def __init__(self, every: int) -> None:
        if not (is_whole(every) and every >= 1):
            raise ValueError(f"Snapshots: expected every >= 1 epoch, got {every!r}")
        self.every = int(every)
        self.models: list[nn.Module] = []

    def on_fit_start(self, trainer: Any) -> None:
        self.models = []
        for epoch in range(self.every, trainer.epoch + 1, self.every):  # of a run that is resumed
            self.models.append(copy.deepcopy(trainer.net))
            path = _snapshot_path(trainer.run_directory, epoch)
            # A run that was killed behind the epoch's checkpoint and before the snapshot stands at the snapshot's weights.
            if epoch < trainer.epoch or path.exists():
                checkpoints.load_into(self.models[-1], checkpoints.load_weights(path), path)

    def on_epoch_end(self, trainer: Any, record: dict[str, Any]) -> None:
        if trainer.epoch % self.every == 0:
            self.models.append(copy.deepcopy(trainer.net))
            if isinstance(trainer.run_directory, RunDirectory):
                checkpoints.save_weights(trainer.net, _snapshot_path(trainer.run_directory, trainer.epoch))

    def ensemble(self, last: int | None = None) -> Ensemble:
        """Of all snapshots, or of the ``last`` ones, which are the better ones. ValueError where there are none."""
        if last is not None and not 1 <= last <= len(self.models):
            raise ValueError(
                f"Snapshots: expected 1 <= last <= {len(self.models)}, the number of snapshots, got {last}"
            )
        return Ensemble(self.models[-last:] if last else self.models)


def _snapshot_path(directory: RunDirectory, epoch: int) -> Path:
    return directory.last_checkpoint.with_name(f"snapshot-{epoch}.safetensors")
