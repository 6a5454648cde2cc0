"""What a structured support vector machine answers: a set of labels, or a place in a tree.

A problem says how input and label become features, what a wrong label costs, and how the best label is found.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gpunn.classic.estimator import on_host
from gpunn.dtypes import is_whole
from gpunn.tensor import Tensor


class StructuredProblem:
    """What a structured support vector machine is about. Inside, labels are arrays of numbers, one row an example.

    Attributes:
        largest_loss: what the worst answer costs.
    """

    largest_loss: float

    def encode(self, labels: Any) -> np.ndarray:
        """Labels as the user gives them, as numbers, one row an example. ValueError for what is not a label."""
        raise NotImplementedError

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """The labels of numbers: the inverse of `encode`."""
        raise NotImplementedError

    def size(self, features: int) -> int:
        """p, the number of joint features of an input of ``features`` numbers and a label."""
        raise NotImplementedError

    def joint_features(self, X: Tensor, Y: Tensor) -> Tensor:
        """Psi(x, y) (n, p) of inputs (n, d) and labels: w Psi(x, y) says how well the label suits the input."""
        raise NotImplementedError

    def loss(self, Y: Tensor, Z: Tensor) -> Tensor:
        """Delta(y, z) (n,) >= 0: what it costs to answer z where y is right; 0 for z = y."""
        raise NotImplementedError

    def infer(self, weight: Tensor, X: Tensor, Y: Tensor | None = None) -> Tensor:
        """The label z with the largest w Psi(x, z); with right labels ``Y``, with the largest w Psi(x, z) + Delta(y, z).

        The second is the loss-augmented inference: it finds the label that violates the margin most.
        """
        raise NotImplementedError


class MultilabelProblem(StructuredProblem):
    """Each example has any of K labels: y in {0, 1}^K.

        Psi(x, y) = (y_1 x, ..., y_K x),      Delta(y, z) = (number of k with y_k != z_k) / K      (Hamming)

    Both are sums over the labels, so each is inferred by itself: z_k = 1 where w_k x + (1 - 2 y_k) / K > 0.

    Args:
        labels: K.
    """

    largest_loss = 1.0

    def __init__(self, labels: int) -> None:
        if not (is_whole(labels) and labels >= 1):
            raise ValueError(f"MultilabelProblem: expected at least one label, got {labels!r}")
        self.labels = labels

    def __repr__(self) -> str:
        return f"MultilabelProblem({self.labels})"

    def encode(self, labels: Any) -> np.ndarray:
        sets = on_host(labels)
        if sets.ndim != 2 or sets.shape[1] != self.labels or not np.isin(sets, (0, 1)).all():
            raise ValueError(
                f"MultilabelProblem: expected zeros and ones of shape (n, {self.labels}), got {sets.shape}"
            )
        return sets.astype(np.int64)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        return codes.astype(np.int64)

    def size(self, features: int) -> int:
        return self.labels * features

    def joint_features(self, X: Tensor, Y: Tensor) -> Tensor:
        return _blocks(Y.to(dtype=X.dtype), X)

    def loss(self, Y: Tensor, Z: Tensor) -> Tensor:
        return (Y != Z).to(dtype="float32").mean(1)

    def infer(self, weight: Tensor, X: Tensor, Y: Tensor | None = None) -> Tensor:
        scores = X.matmul(weight.reshape(self.labels, X.shape[1]).T)
        if Y is not None:
            scores = scores + (1 - 2 * Y.to(dtype=X.dtype)) / self.labels
        return (scores > 0).to(dtype="int64")


class TreeProblem(StructuredProblem):
    """Each example is one of the leaves of a tree, and the farther the answer is in the tree, the more it costs.

        Psi(x, y): one block a node, x in those on the way from the root to y, 0 in the others
        Delta(y, z): the number of edges on the way from y to z

    A node's weights serve all leaves below it. Inference looks at every leaf.
    L. Cai and T. Hofmann, "Hierarchical document categorization with support vector machines", 2004.

    Args:
        parents: the parent of each node but the root. Leaves are what is nobody's parent; they are the labels.
    """

    def __init__(self, parents: Mapping[Any, Any]) -> None:
        if not isinstance(parents, Mapping):
            raise TypeError(f"TreeProblem: expected a dict, the parent of each node, got {type(parents).__name__}")
        inner = set(parents.values())
        roots = inner - set(parents)
        if len(roots) != 1:
            raise ValueError(f"TreeProblem: expected one root, a parent that has none, got {sorted(map(str, roots))}")
        self.parents = dict(parents)
        self.nodes = list(parents)
        self.leaves = [node for node in self.nodes if node not in inner]
        if len(self.leaves) < 2:
            raise ValueError(f"TreeProblem: expected at least two leaves, got {self.leaves}")
        self.ways = np.array([[node in self._way(leaf) for node in self.nodes] for leaf in self.leaves])
        self.distances = (self.ways[:, None] != self.ways).sum(axis=2)
        self.largest_loss = float(self.distances.max())

    def __repr__(self) -> str:
        return f"TreeProblem({self.parents!r})"

    def _way(self, leaf: Any) -> set[Any]:
        """The nodes from ``leaf`` up to below the root."""
        way, node = set(), leaf
        while node in self.parents:
            if node in way:
                raise ValueError(f"TreeProblem: the way up from {leaf!r} comes back to {node!r}; a tree has no circles")
            way.add(node)
            node = self.parents[node]
        return way

    def encode(self, labels: Any) -> np.ndarray:
        numbers = {leaf: number for number, leaf in enumerate(self.leaves)}
        array = on_host(labels)
        if array.ndim != 1:
            raise ValueError(f"TreeProblem: expected labels of shape (n,), got {array.shape}")
        given = array.tolist()
        strange = [label for label in given if label not in numbers]
        if strange:
            raise ValueError(
                f"TreeProblem: {strange[0]!r} is no leaf; the leaves are {', '.join(map(str, self.leaves))}"
            )
        return np.array([numbers[label] for label in given], dtype=np.int64)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        return np.array(self.leaves)[codes]

    def size(self, features: int) -> int:
        return len(self.nodes) * features

    def joint_features(self, X: Tensor, Y: Tensor) -> Tensor:
        return _blocks(_like(X, self.ways)[Y], X)

    def loss(self, Y: Tensor, Z: Tensor) -> Tensor:
        return _like(Y, self.distances)[Y, Z]

    def infer(self, weight: Tensor, X: Tensor, Y: Tensor | None = None) -> Tensor:
        of_nodes = X.matmul(weight.reshape(len(self.nodes), X.shape[1]).T)
        scores = of_nodes.matmul(_like(X, self.ways).T)
        return (scores if Y is None else scores + _like(X, self.distances)[Y]).argmax(1)


def _blocks(members: Tensor, X: Tensor) -> Tensor:
    """Copies of each x (n, d), one a block, times the block's member (n, B): (n, B d)."""
    return (members.unsqueeze(2) * X.unsqueeze(1)).reshape(len(X), members.shape[1] * X.shape[1])


def _like(tensor: Tensor, values: np.ndarray) -> Tensor:
    """A constant on the device of ``tensor``, of its dtype, or float32 beside integers."""
    dtype = tensor.dtype if tensor.dtype.kind == "f" else "float32"
    return Tensor(tensor.backend.asarray(values.astype(dtype)), tensor.backend)
