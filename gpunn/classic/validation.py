"""Choosing without looking at the test data: splits, folds, and the search for hyperparameters over folds.

Sources: T. Hastie, R. Tibshirani and J. Friedman, "The Elements of Statistical Learning", 2nd edition 2009, sections 7.2 (three
parts) and 7.10 (folds); R. Kohavi, "A study of cross-validation and bootstrap for accuracy estimation and model selection",
1995 (stratified folds).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple, Protocol, Self

import numpy as np

from backends import philox
from gpunn.classic.estimator import Classifier, Estimator, on_host
from gpunn.dtypes import is_number, is_whole
from gpunn.random import SHUFFLE, stream_of

# The shuffle streams of splits and folds, far above any epoch's and those of `Dataset.split`: group g uses number + g.
SPLIT = 3 << 46
FOLDS = 7 << 45


class Split(NamedTuple):
    """The rows of each part, sorted."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def train_validation_test_split(
    n: int, validation: float = 0.2, test: float = 0.2, labels: Any = None, seed: int = 0
) -> Split:
    """The rows 0..n-1 in three parts that share none, by chance: `X[split.train]` to learn, and so on.

    Learn on the training part, choose hyperparameters on the validation part, and report the test part once, at the end.

    Args:
        n: how many rows there are.
        validation, test: the share of each part, at least 0, together below 1; of n rows it gets round(share * n).
        labels: (n,), of any kind; where given, every class is split in these shares by itself.
        seed: of the choice, the same on every machine.

    Raises:
        ValueError: for other shares, labels of another length, and a share above 0 that would be of no row.
    """
    if not is_whole(n):
        raise TypeError(f"split: expected n, the number of rows, got {type(n).__name__}; give it len(X)")
    shares = (validation, test)
    if not (all(is_number(share) and share >= 0 for share in shares) and sum(shares) < 1):
        raise ValueError(f"split: expected shares of at least 0 and below 1 together, got {validation!r} and {test!r}")
    parts: list[tuple[np.ndarray, ...]] = []
    for number, rows in enumerate(_groups(n, labels)):
        shuffled = rows[philox.permutation(seed, stream_of(SHUFFLE, SPLIT + number), len(rows))]
        to_test = round(test * len(rows))
        to_validation = min(round(validation * len(rows)), len(rows) - to_test)
        held_out = to_validation + to_test
        parts.append((shuffled[held_out:], shuffled[to_test:held_out], shuffled[:to_test]))
    split = Split(*(np.sort(np.concatenate(members)) for members in zip(*parts, strict=True)))
    for name, share, part in (("validation", validation, split.validation), ("test", test, split.test)):
        if share > 0 and not len(part):
            raise ValueError(f"split: a share of {share} of {n} rows leaves no row for {name}; take a larger share")
    if not len(split.train):
        raise ValueError(f"split: {validation} and {test} of {n} rows leave no row for training; take smaller shares")
    return split


class Folds(Protocol):
    """What cuts rows into folds: `KFold` or `StratifiedKFold`."""

    def split(self, X: Any, y: Any = None) -> Iterator[tuple[np.ndarray, np.ndarray]]: ...


class KFold:
    """k folds of equal size (within one row); each is held out once while the others are learned from.

    Args:
        n_splits: k, at least 2.
        shuffle: False takes the rows in their order, which misleads where they are sorted.
        seed: of the shuffle, the same on every machine.
    """

    def __init__(self, n_splits: int = 5, shuffle: bool = True, seed: int = 0) -> None:
        if not (is_whole(n_splits) and n_splits >= 2):
            raise ValueError(f"{type(self).__name__}: expected n_splits of at least 2, got {n_splits!r}")
        self.n_splits = n_splits
        self.shuffle = shuffle
        self.seed = seed

    def split(self, X: Any, y: Any = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """For each fold the rows of the others and its own, both sorted. ValueError for fewer rows than folds."""
        n = len(X)
        if n < self.n_splits:
            raise ValueError(f"KFold: expected at least as many rows as folds, got {n} and {self.n_splits}")
        rows = np.arange(n)
        if self.shuffle:
            rows = rows[philox.permutation(self.seed, stream_of(SHUFFLE, FOLDS), n)]
        for held_out in np.array_split(rows, self.n_splits):
            yield _others_and(held_out, n)


class StratifiedKFold(KFold):
    """k folds with the same share of each class: of a class, two folds differ by at most one row.

    Arguments as those of `KFold`.
    """

    def split(self, X: Any, y: Any = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """As that of `KFold`, by the labels ``y`` (n,). ValueError for a class of fewer rows than folds."""
        if y is None:
            raise ValueError("StratifiedKFold: expected labels y of shape (n,), got none; use KFold")
        n = len(X)
        ordered = []
        for number, rows in enumerate(_groups(n, y)):
            if len(rows) < self.n_splits:
                label = on_host(y)[rows[0]]
                raise ValueError(
                    f"StratifiedKFold: class {label} has {len(rows)} rows, fewer than the {self.n_splits} folds; "
                    f"use fewer folds or KFold"
                )
            if self.shuffle:
                rows = rows[philox.permutation(self.seed, stream_of(SHUFFLE, FOLDS + number), len(rows))]
            ordered.append(rows)
        # Dealt out like cards, class after class: so the folds' sizes, too, differ by at most one.
        dealt = np.concatenate(ordered)
        for fold in range(self.n_splits):
            yield _others_and(dealt[fold :: self.n_splits], n)


def cross_val_score(learner: Estimator, X: Any, y: Any, folds: int | Folds = 5) -> np.ndarray:
    """The score on each fold of a copy of ``learner`` that learned from the others: (k,).

    Their mean estimates the score on new data: every row is used for testing once, and never by who learned from it.

    Args:
        learner: with `fit` and `score`; it is not changed.
        X, y: the rows and what belongs to them.
        folds: `KFold`, `StratifiedKFold`, or a number of folds: shuffled, and for classifiers stratified.

    Source: C. Bishop, Pattern Recognition and Machine Learning, 2006, section 1.3.
    """
    if not isinstance(learner, Estimator):
        raise TypeError(f"cross_val_score: expected a learner of gpunn.classic, got {learner!r}")
    rows, targets = on_host(X), on_host(y)
    if not hasattr(folds, "split") or isinstance(folds, str):
        classifies = isinstance(learner.learner if isinstance(learner, GridSearch) else learner, Classifier)
        folds = StratifiedKFold(folds) if classifies else KFold(folds)
    scores = []
    for train, held_out in folds.split(rows, targets):
        copy: Any = learner.clone()
        scores.append(copy.fit(rows[train], targets[train]).score(rows[held_out], targets[held_out]))
    return np.array(scores)


class GridSearch(Estimator):
    """Tries all combinations of hyperparameters by cross-validation, then learns from all data with the best.

    Args:
        learner: the one to tune; it is not changed.
        grid: for each hyperparameter's name the values to try.
        folds: as for `cross_val_score`.

    Attributes:
        results_: for each combination, in the order of the grid, a dict: "params", "scores" (k,), "mean", "deviation"
            (the standard deviation of the scores over the folds).
        best_params_: those of the highest mean score; of equal ones the first.
        best_score_: their mean score. It was chosen as the best of many, so it is better than new data will show: keep
            test data apart to know how much.
        best_estimator_: has learned from all data with them.
    """

    results_: list[dict[str, Any]]
    best_params_: dict[str, Any]
    best_score_: float
    best_estimator_: Any

    def __init__(self, learner: Estimator, grid: Mapping[str, Sequence[Any]], folds: int | Folds = 5) -> None:
        self.learner = learner
        self.grid = grid
        self.folds = folds

    def fit(self, X: Any, y: Any) -> Self:
        """Search with ``X`` (n, d) and ``y``, then learn. ValueError for a name that the learner has not, or no values."""
        tried = list(self.grid.values()) if isinstance(self.grid, Mapping) else []
        if not tried or not all(_is_list(values) for values in tried):
            raise ValueError(
                f"GridSearch: expected a grid with a list of values to try for each hyperparameter, got {self.grid!r}"
            )
        self.results_ = []
        for values in product(*self.grid.values()):
            params = dict(zip(self.grid, values, strict=True))
            scores = cross_val_score(self.learner.clone().set_params(**params), X, y, self.folds)
            result = {
                "params": params,
                "scores": scores,
                "mean": float(scores.mean()),
                "deviation": float(scores.std()),
            }
            self.results_.append(result)
        best = max(self.results_, key=lambda result: result["mean"])
        self.best_params_, self.best_score_ = best["params"], best["mean"]
        self.best_estimator_ = self.learner.clone().set_params(**self.best_params_)
        self.best_estimator_.fit(X, y)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """What the best learner predicts."""
        return self._best().predict(X)

    def score(self, X: Any, y: Any) -> float:
        """The best learner's score."""
        return self._best().score(X, y)

    def _best(self) -> Any:
        if not hasattr(self, "best_estimator_"):
            raise RuntimeError("GridSearch has learned nothing yet; call fit(X, y) first")
        return self.best_estimator_


def _is_list(values: Any) -> bool:
    return isinstance(values, (Sequence, np.ndarray)) and not isinstance(values, str) and len(values) > 0


def _groups(n: int, labels: Any) -> list[np.ndarray]:
    """The rows of each class, in the order of the labels; all rows in one group where there are none."""
    if labels is None:
        return [np.arange(n)]
    given = on_host(labels)
    if given.shape != (n,):
        raise ValueError(f"split: expected labels of shape ({n},), got {given.shape}")
    return [np.flatnonzero(given == label) for label in np.unique(given)]


def _others_and(rows: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows of 0..n-1 that are not among ``rows``, and these; both sorted."""
    inside = np.zeros(n, dtype=bool)
    inside[rows] = True
    return np.flatnonzero(~inside), np.flatnonzero(inside)
