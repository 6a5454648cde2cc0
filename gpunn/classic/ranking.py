"""Learning to rank: a support vector machine over pairs of documents of one query."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

import gpunn
from gpunn.classic.estimator import on_host
from gpunn.classic.subgradient import SubgradientLearner
from gpunn.tensor import Tensor

SAMPLE = 10_000  # pairs from which the step size is found


class RankingSVM(SubgradientLearner):
    """The ranking support vector machine: a score w x that puts the better of two documents first.

    minimize 1/2 |w|^2 + C sum over pairs of max(0, 1 - w (x_i - x_j))

    The pairs (i, j) are all those of one query with y_i > y_j: documents of different queries are never compared. A constant
    would cancel in the differences, so there is none.
    Source: T. Joachims, "Optimizing search engines using clickthrough data", 2002. `SubgradientLearner` says what the
    arguments mean; its examples are the pairs here.

    Attributes:
        coef_: w (d,).
    """

    coef_: np.ndarray

    def fit(self, X: Any, y: Any, queries: Any = None) -> Self:
        """Learn from documents ``X`` (n, d), how good each is, ``y`` (n,), and its query, ``queries`` (n,): None is one query."""
        self._check_descent()
        backend = self._backend
        documents = Tensor(self._learning_features(X), backend)
        better, worse = self._pairs(documents, y, queries)
        count = len(better)
        every = slice(None, None, -(-count // SAMPLE))
        limit = self._curvature(documents[better[every]] - documents[worse[every]])
        better, worse = backend.asarray(better), backend.asarray(worse)
        weight = gpunn.zeros(documents.shape[1], dtype=self.dtype, device=self.device, requires_grad=True)
        penalty = self._penalty(count)

        def objective(batch: Any) -> Tensor:
            margins = (documents[better[batch]] - documents[worse[batch]]).matmul(weight)
            return penalty / 2 * (weight * weight).sum() + (1 - margins).relu().mean()

        self._descend([weight], count, objective, limit=limit + penalty)
        self.coef_ = weight.numpy().copy()
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The score (n,) of each row of ``X`` (n, d): within a query, the higher the better."""
        features = self._features(X)
        backend = self._backend
        with backend.scope():
            return backend.to_numpy(features @ backend.asarray(self.coef_, dtype=features.dtype))

    def score(self, X: Any, y: Any, queries: Any = None) -> float:
        """The share of the pairs that `fit` would take from these whose order is right; equal scores count half.

        With two grades of ``y`` and one query it is the area under the receiver operating characteristic.
        """
        scores = self.predict(X)
        better, worse = self._pairs(scores, y, queries)
        ahead = scores[better] - scores[worse]
        return float(((ahead > 0) + 0.5 * (ahead == 0)).mean())

    def _pairs(self, X: Any, y: Any, queries: Any) -> tuple[np.ndarray, np.ndarray]:
        """The rows (pairs,) of the better and of the worse documents."""
        grades = on_host(y)
        labels = np.zeros(grades.shape, np.int64) if queries is None else on_host(queries)
        if grades.ndim != 1 or labels.shape != grades.shape:
            raise ValueError(f"RankingSVM: expected y and queries of shape (n,), got {grades.shape} and {labels.shape}")
        self._check_length(X, grades)
        if grades.dtype.kind not in "biuf" or not np.isfinite(grades).all():
            raise ValueError("RankingSVM: expected y to be finite numbers, the higher the better")
        found = []
        for query in np.unique(labels):
            rows = np.flatnonzero(labels == query)
            first, second = np.nonzero(grades[rows][:, None] > grades[rows])
            found.append(np.stack([rows[first], rows[second]]))
        pairs = np.concatenate(found, axis=1) if found else np.zeros((2, 0), np.int64)
        if not pairs.size:
            raise ValueError(
                "RankingSVM: expected two rows of one query whose y differ, got none; there is no pair to order"
            )
        return pairs[0], pairs[1]
