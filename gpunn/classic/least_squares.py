"""Linear regression: the weights with the least sum of squared errors, in closed form."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gpunn.classic.estimator import Regressor
from gpunn.dtypes import is_number

METHODS = ("pseudo_inverse", "normal_equations")


class LeastSquares(Regressor):
    """The linear function with the least squared error, with a penalty on large weights where ``ridge`` is above 0.

    w, b = argmin  sum_i (x_i . w + b - y_i)^2 + ridge * |w|^2

    With X and y centred to mean zero, b = mean(y) - mean(x) . w, and w solves the normal equations

    (X'X + ridge * I) w = X'y

    method="normal_equations" solves them; X'X is small, d by d, but it squares the condition number of X, and it must be
    invertible. method="pseudo_inverse" takes the singular values X = U diag(s) V' and

    w = V diag(s / (s^2 + ridge)) U'y = X^+ y    (for ridge = 0; a singular value that is zero counts as 1/0 = 0)

    which loses half as many digits and always has an answer: where many w are best, the shortest of them.

    Args:
        method: "pseudo_inverse" or "normal_equations".
        ridge: the penalty's weight, at least 0; the intercept b is not penalized.
        fit_intercept: False leaves b out: the function is then 0 at x = 0.
        device, dtype: where to compute and in which numbers.

    Attributes:
        coef_: w, of shape (d,), or (m, d) for y of shape (n, m): a row an output.
        intercept_: b, a number, or (m,).
        rank_: how many singular values of X are not zero (method="pseudo_inverse").

    Source: C. Bishop, Pattern Recognition and Machine Learning, 2006, sections 3.1.1 and 3.1.4.
    """

    coef_: np.ndarray
    intercept_: Any
    rank_: int

    def __init__(
        self,
        method: str = "pseudo_inverse",
        ridge: float = 0.0,
        fit_intercept: bool = True,
        device: str = "cpu",
        dtype: str = "float64",
    ) -> None:
        self.method = method
        self.ridge = ridge
        self.fit_intercept = fit_intercept
        self.device = device
        self.dtype = dtype

    def fit(self, X: Any, y: Any) -> LeastSquares:
        """Learn from ``X`` (n, d) and ``y`` (n,) or (n, m).

        Raises:
            ValueError: for a method that is not known, a negative ridge, another shape, NaN or infinite values, and normal
                equations that have no single solution.
        """
        if self.method not in METHODS:
            raise ValueError(f"LeastSquares: expected method {' or '.join(map(repr, METHODS))}, got {self.method!r}")
        if not (is_number(self.ridge) and 0 <= self.ridge < math.inf):
            raise ValueError(f"LeastSquares: expected a finite ridge >= 0, got {self.ridge!r}")
        features = self._learning_features(X)
        targets = self._learning_targets(features, y)
        backend = self._backend
        with backend.scope():
            columns = targets.reshape(len(targets), -1)
            feature_mean, target_mean = features.mean(axis=0), columns.mean(axis=0)
            if self.fit_intercept:
                features, columns = features - feature_mean, columns - target_mean
            solve = self._by_pseudo_inverse if self.method == "pseudo_inverse" else self._by_normal_equations
            weights = solve(features, columns)
            intercept = target_mean - feature_mean @ weights
        coef = backend.to_numpy(weights).T.copy()
        offset = backend.to_numpy(intercept) if self.fit_intercept else np.zeros(len(coef), coef.dtype)
        self.coef_, self.intercept_ = (coef, offset) if targets.ndim == 2 else (coef[0], float(offset[0]))
        return self

    def _by_pseudo_inverse(self, features: Any, columns: Any) -> Any:
        xp = self._backend.xp
        left, values, right = xp.linalg.svd(features, full_matrices=False)
        # Rounding leaves about this much of a singular value that is zero.
        smallest = max(features.shape) * np.finfo(values.dtype).eps * values[0]
        kept = values > smallest
        self.rank_ = int(kept.sum())
        inverses = xp.where(kept, values / xp.where(kept, values**2 + self.ridge, 1), 0)
        return right.T @ (inverses[:, None] * (left.T @ columns))

    def _by_normal_equations(self, features: Any, columns: Any) -> Any:
        xp = self._backend.xp
        gram = features.T @ features + self.ridge * xp.eye(features.shape[1], dtype=features.dtype)
        # Not every device reports a singular matrix, so look before the step.
        values = xp.linalg.eigvalsh(gram)
        if not bool(values[0] > len(values) * np.finfo(values.dtype).eps * values[-1]):
            raise ValueError(
                "LeastSquares: the normal equations have no single solution, features depend on each other; "
                "use method='pseudo_inverse' or ridge > 0"
            )
        return xp.linalg.solve(gram, features.T @ columns)

    def predict(self, X: Any) -> np.ndarray:
        """x . w + b for each row of ``X`` (n, d): (n,), or (n, m)."""
        features = self._features(X)
        backend = self._backend
        with backend.scope():
            weights = backend.asarray(self.coef_, dtype=features.dtype)
            predicted = features @ weights.T + backend.asarray(self.intercept_, dtype=features.dtype)
        return backend.to_numpy(predicted)
