"""The structured support vector machine: answers that are made of parts, and errors that weigh more or less.

Source: I. Tsochantaridis, T. Joachims, T. Hofmann and Y. Altun, "Large margin methods for structured and interdependent output
variables", 2005 (margin rescaling).
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np

import gpunn
from gpunn.classic.structured_problem import StructuredProblem
from gpunn.classic.subgradient import SubgradientLearner
from gpunn.tensor import Tensor

SAMPLE = 1000  # examples from which the step size is found


class StructuredSVM(SubgradientLearner):
    """The structured support vector machine with margin rescaling.

    minimize 1/2 |w|^2 + C sum_i loss_i,
    loss_i = max over labels z of (Delta(y_i, z) + w Psi(x_i, z) - w Psi(x_i, y_i))

    The right label shall lead any other by what that one costs. With z_i the label of the maximum (loss-augmented inference),
    w + C sum_i (Psi(x_i, z_i) - Psi(x_i, y_i)) is a subgradient. A 1 is added to each x_i, so that scores have a constant.

    Args:
        problem: what is answered, and what errors cost. The others are those of `SubgradientLearner`.

    Attributes:
        coef_: w (p,).
    """

    coef_: np.ndarray

    def __init__(
        self,
        problem: StructuredProblem,
        *,
        C: float = 1.0,
        epochs: int = 100,
        batch_size: int | None = 32,
        step_size: float = 4.0,
        schedule: str = "1/sqrt(t)",
        average: bool = True,
        seed: int = 0,
        device: str = "cpu",
        dtype: str = "float32",
    ) -> None:
        super().__init__(
            C=C, epochs=epochs, batch_size=batch_size, step_size=step_size, schedule=schedule, average=average, seed=seed,
            device=device, dtype=dtype,
        )  # fmt: skip
        self.problem = problem

    def fit(self, X: Any, y: Any) -> Self:
        """Learn from examples ``X`` (n, d) and their labels ``y``, as the problem has them."""
        self._check_descent()
        if not isinstance(self.problem, StructuredProblem):
            raise TypeError(f"StructuredSVM: expected a StructuredProblem, a TreeProblem say, got {self.problem!r}")
        problem, backend = self.problem, self._backend
        examples = _with_constant(Tensor(self._learning_features(X), backend))
        codes = problem.encode(y)
        self._check_length(examples, codes)
        right = Tensor(backend.asarray(codes), backend)
        count = len(examples)
        some = slice(None, None, -(-count // SAMPLE))
        limit = self._curvature(problem.joint_features(examples[some], right[some]))
        size = problem.size(examples.shape[1])
        weight = gpunn.zeros(size, dtype=self.dtype, device=self.device, requires_grad=True)
        penalty = self._penalty(count)

        def objective(batch: Any) -> Tensor:
            inputs, labels = examples[batch], right[batch]
            with gpunn.no_grad():  # the label of the maximum is a constant of the subgradient
                worst = problem.infer(weight, inputs, labels)
            ahead = problem.joint_features(inputs, worst) - problem.joint_features(inputs, labels)
            losses = problem.loss(labels, worst) + ahead.matmul(weight)
            return penalty / 2 * (weight * weight).sum() + losses.mean()

        self._descend([weight], count, objective, limit=limit + penalty)
        self.coef_ = weight.numpy().copy()
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The label of each row of ``X`` (n, d), as the problem has them."""
        return self.problem.decode(self._infer(X).numpy())

    def mean_loss(self, X: Any, y: Any) -> float:
        """The mean of Delta(y, predicted) over the rows of ``X`` (n, d) and their labels ``y``."""
        codes, answers = self.problem.encode(y), self._infer(X)
        self._check_length(answers, codes)
        right = Tensor(self._backend.asarray(codes), self._backend)
        return float(self.problem.loss(right, answers).to(dtype="float64").mean().item())

    def score(self, X: Any, y: Any) -> float:
        """1 - `mean_loss` / the loss of the worst answer: 1 where all answers are right, 0 where all are at their worst."""
        return 1.0 - self.mean_loss(X, y) / self.problem.largest_loss

    def _infer(self, X: Any) -> Tensor:
        features = Tensor(self._features(X), self._backend)
        weight = gpunn.tensor(self.coef_, dtype=self.dtype, device=self.device)
        return self.problem.infer(weight, _with_constant(features))


def _with_constant(X: Tensor) -> Tensor:
    """(n, d) with a column of ones, (n, d + 1)."""
    ones = X.backend.ones((len(X), 1), X.dtype)
    return gpunn.cat([X, Tensor(ones, X.backend)], dim=1)
