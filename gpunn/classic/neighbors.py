"""Classification by the nearest examples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from gpunn.classic.estimator import Classifier
from gpunn.dtypes import is_number, is_whole

METRICS = ("l1", "l2", "linf", "cosine")


class KNeighborsClassifier(Classifier):
    """The most frequent label among the k nearest training examples.

    Distances between x and z:

    l1      sum_i |x_i - z_i|
    l2      sqrt(sum_i (x_i - z_i)^2)
    linf    max_i |x_i - z_i|
    cosine  1 - x . z / (|x| |z|) = |x/|x| - z/|z||^2 / 2;  1 for a vector of zeros

    Ties. Of labels with equally many neighbours the one with the nearer nearest neighbour wins, and of equally near ones
    the smaller label. Of examples at the same distance the earlier in the training data are taken as neighbours.

    The distances are computed for a block of queries at a time, so that a block with all that belongs to it needs about
    ``block_bytes`` of the device's memory (at least one query's). For l2 and cosine the neighbours are found by a matrix
    product, |x|^2 + |z|^2 - 2 x . z, which rounds to within a few eps * (|x|^2 + |z|^2); those found are then ordered by
    their distances from differences, which are exact.

    Args:
        n_neighbors: k, from 1 to the number of training examples.
        metric: "l1", "l2", "linf" or "cosine".
        block_bytes: the memory for a block of distances.
        device, dtype: where to compute and in which numbers.

    Attributes:
        classes_: (K,), the labels in order.

    Source: T. Cover and P. Hart, "Nearest neighbor pattern classification", IEEE Transactions on Information Theory, 1967.
    """

    def __init__(
        self,
        n_neighbors: int = 5,
        metric: str = "l2",
        block_bytes: int = 1 << 25,
        device: str = "cpu",
        dtype: str = "float64",
    ) -> None:
        self.n_neighbors = n_neighbors
        self.metric = metric
        self.block_bytes = block_bytes
        self.device = device
        self.dtype = dtype

    def fit(self, X: Any, y: Any) -> KNeighborsClassifier:
        """Keep ``X`` (n, d) and the labels ``y`` (n,); ValueError for a k, a metric or values that are not allowed."""
        if self.metric not in METRICS:
            raise ValueError(
                f"KNeighborsClassifier: expected metric {', '.join(map(repr, METRICS))}, got {self.metric!r}"
            )
        features = self._learning_features(X)
        if not (is_whole(self.n_neighbors) and 1 <= self.n_neighbors <= len(features)):
            raise ValueError(
                f"KNeighborsClassifier: expected 1 <= n_neighbors <= {len(features)}, the number of examples, "
                f"got {self.n_neighbors!r}"
            )
        if not (is_number(self.block_bytes) and self.block_bytes > 0):
            raise ValueError(f"KNeighborsClassifier: expected block_bytes > 0, got {self.block_bytes!r}")
        labels = self._learning_labels(features, y)
        self._examples = self._prepared(features)
        with self._backend.scope():
            self._example_labels = self._backend.asarray(labels)
            # Far from the origin |x|^2 drowns the distances. A whole number as the centre keeps pixels' products exact.
            self._center = self._backend.xp.rint(self._examples.mean(axis=0))
            self._centred = self._examples - self._center
        return self

    def kneighbors(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """Distances (n, k) from each row of ``X`` (n, d) to its neighbours, nearest first, and their rows (n, k) in `fit`.

        Of equally near ones that of the smaller label comes first, then the earlier.
        """
        blocks = [(self._on_host(distances), self._on_host(rows)) for distances, rows in self._neighbours(X)]
        return np.concatenate([b[0] for b in blocks]), np.concatenate([b[1] for b in blocks])

    def predict(self, X: Any) -> np.ndarray:
        """The label (n,) of each row of ``X`` (n, d)."""
        winners = []
        for _, rows in self._neighbours(X):
            with self._backend.scope():
                labels = self._example_labels[rows]
                votes = (labels[:, :, None] == labels[:, None, :]).sum(axis=2)
                # The first of the most frequent: the neighbours come nearest first, then by label.
                first = votes.argmax(axis=1)
                winner = self._backend.xp.take_along_axis(labels, first[:, None], axis=1)
            winners.append(self._on_host(winner)[:, 0])
        return self.classes_[np.concatenate(winners)]

    def predict_proba(self, X: Any) -> np.ndarray:
        """The share of each label (n, K) among the neighbours, the labels in the order of ``classes_``."""
        shares = []
        for _, rows in self._neighbours(X):
            with self._backend.scope():
                labels = self._on_host(self._example_labels[rows])
            counts = [(labels == k).sum(axis=1) for k in range(len(self.classes_))]
            shares.append(np.stack(counts, axis=1) / self.n_neighbors)
        return np.concatenate(shares)

    def _on_host(self, array: Any) -> np.ndarray:
        return self._backend.to_numpy(array)

    def _prepared(self, features: Any) -> Any:
        """As the distances are computed: of length 1 for cosine. ValueError for values whose squares have no number."""
        xp = self._backend.xp
        with self._backend.scope():
            limit = (np.finfo(features.dtype).max / (8 * features.shape[1])) ** 0.5
            if bool((abs(features) > limit).any()):
                raise ValueError(
                    f"KNeighborsClassifier: a value of X is above {limit:.0e}, its distances overflow {self.dtype}; "
                    f"scale the features"
                )
            if self.metric != "cosine":
                return features
            # Dividing by the largest value first keeps the squares of very small vectors above 0.
            largest = abs(features).max(axis=1, keepdims=True)
            features = features / xp.where(largest > 0, largest, 1)
            length = xp.sqrt((features**2).sum(axis=1, keepdims=True))
            return features / xp.where(length > 0, length, 1)

    def _neighbours(self, X: Any) -> Iterator[tuple[Any, Any]]:
        """For one block of queries after another: distances (b, k) in order, and the examples' rows (b, k)."""
        self._check_is_fitted()
        if not 1 <= self.n_neighbors <= len(self._examples):
            raise ValueError(f"KNeighborsClassifier: n_neighbors {self.n_neighbors} was changed after fit; fit again")
        queries = self._prepared(self._features(X))
        (n, d), k = self._examples.shape, self.n_neighbors
        # Distances, a mask and a running count of n; the differences to k neighbours; k by k votes.
        numbers = max(4 * n, 3 * k * d, k * k)
        size = max(1, int(self.block_bytes) // (numbers * 8))
        for start in range(0, len(queries), size):
            block = queries[start : start + size]
            with self._backend.scope():
                rows = self._nearest(self._pairwise(block))
                distances = self._between(block[:, None, :], self._examples[rows])
                ordered = self._in_order(distances, rows)
            yield ordered

    def _in_order(self, distances: Any, rows: Any) -> tuple[Any, Any]:
        """By distance, of equal ones by label, of equal ones by row: each sort keeps what is equal in its order."""
        along = self._backend.xp.take_along_axis
        by_label = self._example_labels[rows].argsort(axis=1, kind="stable")
        distances, rows = along(distances, by_label, axis=1), along(rows, by_label, axis=1)
        by_distance = distances.argsort(axis=1, kind="stable")
        return along(distances, by_distance, axis=1), along(rows, by_distance, axis=1)

    def _pairwise(self, queries: Any) -> Any:
        """What orders examples by distance: (b, n)."""
        xp, examples = self._backend.xp, self._examples
        if self.metric == "cosine":
            return -(queries @ examples.T)
        if self.metric == "l2":
            products = (queries - self._center) @ self._centred.T
            products *= -2
            products += (self._centred**2).sum(axis=1)
            return products
        distances = xp.empty((len(queries), len(examples)), dtype=examples.dtype)
        size = max(1, int(self.block_bytes) // (2 * 8 * max(queries.size, 1)))
        for start in range(0, len(examples), size):
            part = examples[None, start : start + size]
            distances[:, start : start + size] = self._between(queries[:, None, :], part)
        return distances

    def _between(self, x: Any, z: Any) -> Any:
        """The distances between vectors along the last axis."""
        differences = abs(x - z)
        if self.metric == "l1":
            return differences.sum(axis=2)
        if self.metric == "linf":
            return differences.max(axis=2)
        squares = (differences**2).sum(axis=2)
        if self.metric == "l2":
            return self._backend.xp.sqrt(squares)
        zeros = ((x == 0).all(axis=2)) | ((z == 0).all(axis=2))
        return self._backend.xp.where(zeros, 1, squares / 2)

    def _nearest(self, distances: Any) -> Any:
        """The columns (b, k) of the k smallest in each row, ascending; of equal ones the earlier."""
        xp, k = self._backend.xp, self.n_neighbors
        last = xp.partition(distances, k - 1, axis=1)[:, k - 1 : k]
        nearer, as_near = distances < last, distances == last
        free = k - nearer.sum(axis=1, keepdims=True)
        chosen = nearer | (as_near & (as_near.cumsum(axis=1) <= free))
        return xp.nonzero(chosen)[1].reshape(len(distances), k)
