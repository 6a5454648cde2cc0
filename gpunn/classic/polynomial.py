"""Polynomials: their terms as features, and the polynomial that fits best by least squares."""

from __future__ import annotations

from itertools import combinations_with_replacement
from typing import Any, Self

import numpy as np

from gpunn.classic.estimator import Estimator, Regressor
from gpunn.classic.least_squares import LeastSquares
from gpunn.dtypes import is_whole


class PolynomialFeatures(Estimator):
    """All products of features up to a degree: for (a, b) and degree 2 they are 1, a, b, a^2, ab, b^2, in this order.

    Of d features there are (d + degree)! / (d! degree!) products, the constant 1 among them.

    Args:
        degree: the highest, at least 0.
        include_bias: False leaves the constant 1 out, for a learner that has an intercept of its own.
        device, dtype: where to compute and in which numbers.

    Attributes:
        powers_: (products, d), integers: product j is prod_i x_i ^ powers_[j, i].

    Source: C. Bishop, Pattern Recognition and Machine Learning, 2006, section 3.1 (basis functions).
    """

    powers_: np.ndarray

    def __init__(self, degree: int = 2, include_bias: bool = True, device: str = "cpu", dtype: str = "float64") -> None:
        self.degree = degree
        self.include_bias = include_bias
        self.device = device
        self.dtype = dtype

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the number of features of ``X`` (n, d); ``y`` is not looked at. ValueError for a degree that is none."""
        self._learn_powers(self._learning_features(X))
        return self

    def transform(self, X: Any) -> np.ndarray:
        """The products of each row of ``X`` (n, d): (n, products)."""
        return self._backend.to_numpy(self._products(self._features(X)))

    def fit_transform(self, X: Any, y: Any = None) -> np.ndarray:
        return self.fit(X, y).transform(X)

    def _learn_powers(self, features: Any) -> None:
        lowest = 0 if self.include_bias else 1
        if not is_whole(self.degree) or self.degree < lowest:
            raise ValueError(f"PolynomialFeatures: expected a whole degree of at least {lowest}, got {self.degree!r}")
        self.n_features_in_ = d = features.shape[1]
        terms = [
            term
            for degree in range(lowest, int(self.degree) + 1)
            for term in combinations_with_replacement(range(d), degree)
        ]
        self.powers_ = np.array([np.bincount(np.array(term, dtype=np.int64), minlength=d) for term in terms])

    def _products(self, features: Any) -> Any:
        xp = self._backend.xp
        with self._backend.scope():
            products = xp.ones((len(features), len(self.powers_)), dtype=features.dtype)
            for column, powers in enumerate(self.powers_):
                for feature in np.flatnonzero(powers):
                    products[:, column] *= features[:, int(feature)] ** int(powers[feature])
        return products


class PolynomialRegression(Regressor):
    """The polynomial of a degree with the least squared error: `PolynomialFeatures`, then `LeastSquares`.

    p(x) = b + sum_j w_j prod_i x_i ^ powers_j,i

    Too low a degree cannot follow the data (underfitting), too high a one follows the noise (overfitting). Features
    should be of size about 1: their high powers are else of very different sizes, and digits are lost.

    Args:
        degree: of the polynomial, at least 1.
        ridge: the weight of the penalty |w|^2; see `LeastSquares`.
        device, dtype: where to compute and in which numbers.

    Attributes:
        coef_: w, of shape (products,), or (m, products) for y of shape (n, m).
        intercept_: b, a number, or (m,).
        powers_: (products, d), the exponents of each product.

    Source: C. Bishop, Pattern Recognition and Machine Learning, 2006, section 1.1.
    """

    coef_: np.ndarray
    intercept_: Any
    powers_: np.ndarray

    def __init__(self, degree: int = 2, ridge: float = 0.0, device: str = "cpu", dtype: str = "float64") -> None:
        self.degree = degree
        self.ridge = ridge
        self.device = device
        self.dtype = dtype

    def fit(self, X: Any, y: Any) -> Self:
        """Learn from ``X`` (n, d) and ``y`` (n,) or (n, m); ValueError as in `LeastSquares`."""
        features = self._learning_features(X)
        targets = self._learning_targets(features, y)
        self._expansion = PolynomialFeatures(self.degree, include_bias=False, device=self.device, dtype=self.dtype)
        self._expansion._learn_powers(features)
        self._regression = LeastSquares(ridge=self.ridge, device=self.device, dtype=self.dtype)
        self._regression.fit(self._expansion._products(features), targets)
        self.powers_ = self._expansion.powers_
        self.coef_, self.intercept_ = self._regression.coef_, self._regression.intercept_
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The polynomial at each row of ``X`` (n, d): (n,), or (n, m)."""
        features = self._features(X)
        return self._regression.predict(self._expansion._products(features))
