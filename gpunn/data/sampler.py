"""Which examples an epoch shows, and in which order, where that is more than a shuffle.

A sampler is called as ``sampler(seed, epoch)`` and returns the indices of the epoch's examples, (n,) int64; n is
``len(sampler)``. `DataLoader` takes one as ``sampler=...``. What it returns depends on the seed, the epoch and what it was told.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from backends import philox
from gpunn.dtypes import is_number, is_whole
from gpunn.random import SHUFFLE, stream_of

# The loader's own shuffle draws from one stream an epoch; samplers from many, each in a block of 2**32 above those.
FIRST_BLOCK = 1 << 46
BLOCK = 1 << 32


class Sampler(Protocol):
    """What the loader asks for the order of an epoch."""

    def __call__(self, seed: int, epoch: int) -> np.ndarray: ...

    def __len__(self) -> int: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


class BalancedSampler:
    """Mini-batches with all classes equally often, however many examples each has.

    An epoch goes round by round; a round has one example of each class, in random order. So in batches whose size is a multiple
    of the number of classes, each comes equally often, and in others they differ by at most 2. A class's examples come in random
    order, all of them before any comes again; those of small classes come several times an epoch.

    Args:
        labels: (N,), integers, those of the data set. A class is a label that occurs.
        rounds: of an epoch. Default: as many as the largest class has examples, so that each example comes at least once.

    Raises:
        ValueError: there are no labels, they are not integers (N,), or ``rounds`` is below 1.
    """

    def __init__(self, labels: np.ndarray, rounds: int | None = None) -> None:
        labels = np.asarray(labels)
        if labels.ndim != 1 or not labels.size or labels.dtype.kind not in "iu":
            raise ValueError(
                f"BalancedSampler: expected integer labels (N,), N >= 1, got {labels.dtype} of shape {labels.shape}"
            )
        if rounds is not None and not (is_whole(rounds) and rounds >= 1):
            raise ValueError(f"BalancedSampler: expected rounds >= 1, got {rounds!r}")
        self.members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
        self.rounds = int(rounds) if rounds is not None else max(map(len, self.members))

    def __len__(self) -> int:
        return self.rounds * len(self.members)

    def __call__(self, seed: int, epoch: int) -> np.ndarray:
        chosen = np.stack(
            [self._of_class(number, seed, epoch) for number in range(len(self.members))], axis=1
        )  # (rounds, classes)
        keys = philox.uniform(seed, _stream(epoch, len(self.members)), chosen.shape)
        return np.take_along_axis(chosen, np.argsort(keys, axis=1, kind="stable"), axis=1).reshape(-1)

    def _of_class(self, number: int, seed: int, epoch: int) -> np.ndarray:
        """One member a round: whole passes through the class, each in an order of its own.

        The passes of all epochs are counted through, so that an epoch begins where the one before it ended.
        """
        members = self.members[number]
        first, count = epoch * self.rounds, len(members)
        passes = range(first // count, (first + self.rounds - 1) // count + 1)
        streams = (_stream(turn, number) for turn in passes)
        order = np.concatenate([members[philox.permutation(seed, stream, count)] for stream in streams])
        start = first - passes[0] * count
        return order[start : start + self.rounds]

    def state_dict(self) -> dict[str, Any]:
        return {"classes": len(self.members), "rounds": self.rounds}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing to take over: the order is a function of seed and epoch. ValueError for a state of other classes."""
        _expect_equal(self, state, self.state_dict())


class LargestErrorSampler:
    """The share of the examples with the largest errors, from which there is most to learn, or so one hopes; the easy ones rest.

    Tell it the losses before each epoch (``update``); until then it shows a random share. The chosen come in random order:
    sorted by their errors they would make batches of a kind, and the easiest would have the last word.

    The danger: examples that cannot be learned, such as outliers and wrong labels, keep their large errors, so that they come
    again and again and fill the epochs. Look at what it chooses before you trust it. Y. LeCun, L. Bottou, G. Orr and K.-R.
    Müller, "Efficient BackProp", 1998, section 4.2.

    Args:
        count: examples in the data set.
        share: of the examples in an epoch, 0 < share <= 1; at least one is shown.

    Raises:
        ValueError: ``count`` or ``share`` is out of range.
    """

    def __init__(self, count: int, share: float = 0.5) -> None:
        if not (is_whole(count) and count >= 1):
            raise ValueError(f"LargestErrorSampler: expected count >= 1, got {count!r}")
        if not (is_number(share) and 0 < share <= 1):
            raise ValueError(f"LargestErrorSampler: expected 0 < share <= 1, got {share!r}")
        self.count, self.share = int(count), float(share)
        self.losses: np.ndarray | None = None

    def __len__(self) -> int:
        return max(1, round(self.share * self.count))

    def update(self, losses: np.ndarray) -> None:
        """Take the examples' losses, (count,), in the order of the data set. ValueError for another shape or a NaN."""
        losses = np.array(losses)
        if losses.dtype.kind not in "iuf":
            raise ValueError(f"LargestErrorSampler: expected losses as real numbers, got {losses.dtype}")
        losses = losses.astype(np.float64)
        if losses.shape != (self.count,) or np.isnan(losses).any():
            raise ValueError(
                f"LargestErrorSampler: expected losses of shape ({self.count},) without NaN, got shape {losses.shape}"
                + (", with NaN" if np.isnan(losses).any() else "")
            )
        self.losses = losses

    def __call__(self, seed: int, epoch: int) -> np.ndarray:
        order = philox.permutation(seed, stream_of(SHUFFLE, epoch), self.count)
        if self.losses is None:
            return order[: len(self)]
        # Stable, so that chance decides between examples of equal loss.
        largest = np.argsort(-self.losses[order], kind="stable")[: len(self)]
        return order[np.sort(largest)]

    def state_dict(self) -> dict[str, Any]:
        return {
            "count": self.count,
            "share": self.share,
            "losses": None if self.losses is None else self.losses.tolist(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over the losses. ValueError for a state of another count or share."""
        _expect_equal(self, state, {"count": self.count, "share": self.share})
        if state["losses"] is not None:
            self.update(np.array(state["losses"]))


def _stream(turn: int, number: int) -> int:
    return stream_of(SHUFFLE, FIRST_BLOCK + number * BLOCK + turn)


def _expect_equal(sampler: object, state: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    for name, value in own.items():
        if state.get(name) != value:
            raise ValueError(
                f"{type(sampler).__name__}: the state has {name}={state.get(name)}, this sampler {name}={value}; "
                "use the data and the options it was saved with"
            )
