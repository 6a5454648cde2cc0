"""Linear classifiers: what they share, and those that model probabilities, softmax and logistic regression."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

import gpunn
from gpunn import functional as F
from gpunn.classic.estimator import Classifier
from gpunn.classic.subgradient import SubgradientLearner
from gpunn.tensor import Tensor


class LinearClassifier(SubgradientLearner, Classifier):
    """The base of the linear classifiers: scores X W' + b, learned by descent on a loss of them.

    For the descent the examples are centred and divided by one number, the root of their `curvature`; W and b are changed
    back afterwards. The minimum stays what it was, since the penalty remains that of the original W, and b has none; only
    the way to it is shorter.

    Attributes:
        coef_: W (K, d); (1, d) where one score decides between two classes.
        intercept_: b (K,) or (1,).
    """

    coef_: np.ndarray
    intercept_: np.ndarray

    def fit(self, X: Any, y: Any) -> Self:
        """Learn from examples ``X`` (n, d) and their labels ``y`` (n,), of at least two classes."""
        self._check_descent()
        backend = self._backend
        examples = Tensor(self._learning_features(X), backend)
        labels = self._learning_labels(examples, y)
        if len(self.classes_) < 2:
            raise ValueError(f"{type(self).__name__}: expected y of at least two classes, got only {self.classes_[0]}")
        count, dimension = examples.shape
        center = examples.mean(0)
        examples = examples - center
        scale = self._curvature(examples) ** 0.5
        examples = examples / scale
        targets, rows = self._targets(labels)
        targets = backend.asarray(targets)
        weight = gpunn.zeros(rows, dimension, dtype=self.dtype, device=self.device, requires_grad=True)
        bias = gpunn.zeros(rows, dtype=self.dtype, device=self.device, requires_grad=True)
        penalty = self._penalty(count) / scale**2

        def objective(batch: Any) -> Tensor:
            scores = F.linear(examples[batch], weight, bias)
            return penalty / 2 * (weight * weight).sum() + self._loss(scores, targets[batch])

        self._descend([weight, bias], count, objective, limit=1.0 + penalty)
        self.coef_ = weight.numpy() / scale
        self.intercept_ = bias.numpy() - self.coef_ @ center.numpy()
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """The scores of ``X`` (n, d): (n, K), or (n,) where one score decides between two classes."""
        features = self._features(X)
        backend = self._backend
        with backend.scope():
            coef, intercept = (backend.asarray(a, dtype=features.dtype) for a in (self.coef_, self.intercept_))
            scores = backend.to_numpy(features @ coef.T + intercept)
        return scores[:, 0] if len(self.coef_) == 1 else scores

    def predict(self, X: Any) -> np.ndarray:
        """The label (n,) of each row of ``X`` (n, d): that of the highest score; of one score, class 1 where it is above 0."""
        scores = self.decision_function(X)
        return self.classes_[(scores > 0).astype(np.int64) if scores.ndim == 1 else scores.argmax(axis=1)]

    # For subclasses

    def _targets(self, labels: np.ndarray) -> tuple[np.ndarray, int]:
        """What the loss compares the scores of each example with, and the number of scores."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it aims at")

    def _loss(self, scores: Tensor, targets: Any) -> Tensor:
        """The mean loss of a batch."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it loses")


class SoftmaxRegression(LinearClassifier):
    """Multinomial logistic regression: p(k | x) = softmax(W x + b)_k, by maximum likelihood with an L2 penalty.

    minimize 1/2 |W|^2 + C sum_i -log p(y_i | x_i)

    The gradient by the scores is softmax(W x_i + b) less 1 at y_i: what is predicted less what is.
    Source: C. Bishop, "Pattern Recognition and Machine Learning", 2006, section 4.3.4. `SubgradientLearner` says what the
    arguments mean.
    """

    def predict_proba(self, X: Any) -> np.ndarray:
        """p(k | x) of each row of ``X`` (n, d) and each class: (n, K), in the order of ``classes_``."""
        scores = gpunn.tensor(self.decision_function(X))
        return F.softmax(scores, 1).numpy()

    def _targets(self, labels: np.ndarray) -> tuple[np.ndarray, int]:
        return labels, len(self.classes_)

    def _loss(self, scores: Tensor, targets: Any) -> Tensor:
        return F.cross_entropy(scores, targets)


class LogisticRegression(LinearClassifier):
    """Binary logistic regression: p(class 1 | x) = sigmoid(w x + b), by maximum likelihood with an L2 penalty.

    minimize 1/2 |w|^2 + C sum_i log(1 + exp(-t_i (w x_i + b))),      t_i = -1 or +1 for the classes 0 and 1

    Source: C. Bishop, "Pattern Recognition and Machine Learning", 2006, sections 4.3.2 and 7.1.2. `SubgradientLearner`
    says what the arguments mean; more than two classes are for `SoftmaxRegression`.
    """

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probabilities of the classes 0 and 1 for each row of ``X`` (n, d): (n, 2)."""
        one = gpunn.tensor(self.decision_function(X)).sigmoid().numpy()
        return np.stack([1 - one, one], axis=1)

    def _targets(self, labels: np.ndarray) -> tuple[np.ndarray, int]:
        if len(self.classes_) != 2:
            raise ValueError(
                f"LogisticRegression: expected y of two classes, got {len(self.classes_)}; use SoftmaxRegression"
            )
        return signs(labels, 1), 1

    def _loss(self, scores: Tensor, targets: Any) -> Tensor:
        return F.soft_margin_loss(scores, targets)


def signs(labels: np.ndarray, rows: int) -> np.ndarray:
    """+1 and -1 (n, rows) for what is in a class and what is not; with one row, whether it is in class 1."""
    members = labels[:, None] == (np.arange(rows) if rows > 1 else np.array([1]))
    return np.where(members, 1.0, -1.0)
