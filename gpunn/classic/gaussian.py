"""Classification by Gaussian densities, one a class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gpunn import functional as F
from gpunn.classic.estimator import Classifier
from gpunn.dtypes import is_number
from gpunn.tensor import Tensor

COVARIANCES = ("own", "shared")


class GaussianClassifier(Classifier):
    """Each class k has a Gaussian density and a prior; a row belongs to the class that is most probable given it.

    p(x | k) = (2 pi)^(-d/2) |S_k|^(-1/2) exp(-(x - m_k)' S_k^-1 (x - m_k) / 2)
    p(k | x) = p(x | k) p(k) / sum_j p(x | j) p(j)

    The most likely parameters, given n_k rows of class k among n:

    p(k) = n_k / n
    m_k  = 1/n_k sum_i x_i
    S_k  = 1/n_k sum_i (x_i - m_k) (x_i - m_k)'      over the rows i of class k
    S    = sum_k p(k) S_k                            covariance="shared": one for all classes

    With own covariances the boundaries between classes are quadratic, with a shared one they are linear. Many features
    and few rows make S singular; ``shrinkage`` s moves it towards a sphere, S <- (1 - s) S + s trace(S)/d I.

    Nothing is inverted: by Cholesky's S = L L', (x - m)' S^-1 (x - m) = |z|^2 with L z = x - m, and
    log|S| = 2 sum_i log L_ii.

    Args:
        covariance: "own" or "shared".
        priors: p(k) in the order of the labels, positive, of sum 1; None takes the shares n_k / n.
        shrinkage: s, from 0 to 1.
        device, dtype: where to compute and in which numbers.

    Attributes:
        classes_: (K,), the labels in order.
        priors_: (K,), p(k).
        means_: (K, d), m_k.
        covariances_: (K, d, d), S_k after shrinkage; (1, d, d) where it is shared.

    Sources: C. Bishop, Pattern Recognition and Machine Learning, 2006, section 4.2 (its exercises for own covariances);
    J. Friedman, "Regularized discriminant analysis", Journal of the American Statistical Association, 1989 (shrinkage).
    """

    priors_: np.ndarray
    means_: np.ndarray
    covariances_: np.ndarray

    def __init__(
        self,
        covariance: str = "own",
        priors: Sequence[float] | None = None,
        shrinkage: float = 0.0,
        device: str = "cpu",
        dtype: str = "float64",
    ) -> None:
        self.covariance = covariance
        self.priors = priors
        self.shrinkage = shrinkage
        self.device = device
        self.dtype = dtype

    def fit(self, X: Any, y: Any) -> GaussianClassifier:
        """Learn from ``X`` (n, d) and the labels ``y`` (n,).

        Raises:
            ValueError: for an argument or a shape that is not allowed, and a covariance that is singular.
        """
        if self.covariance not in COVARIANCES:
            raise ValueError(
                f"GaussianClassifier: expected covariance {' or '.join(map(repr, COVARIANCES))}, got {self.covariance!r}"
            )
        if not (is_number(self.shrinkage) and 0 <= self.shrinkage <= 1):
            raise ValueError(f"GaussianClassifier: expected 0 <= shrinkage <= 1, got {self.shrinkage!r}")
        features = self._learning_features(X)
        labels = self._learning_labels(features, y)
        shares = np.bincount(labels) / len(labels)
        self.priors_ = shares if self.priors is None else self._checked_priors(self.priors)
        backend = self._backend
        xp = backend.xp
        with backend.scope():
            groups = [features[backend.asarray(np.flatnonzero(labels == k))] for k in range(len(shares))]
            means = [group.mean(axis=0) for group in groups]
            covariances = []
            for group, mean in zip(groups, means, strict=True):
                centred = group - mean
                covariances.append(centred.T @ centred / len(group))
            if self.covariance == "shared":
                terms = [float(share) * own for share, own in zip(self.priors_, covariances, strict=True)]
                covariances = [xp.stack(terms).sum(axis=0)]
            covariances = [self._shrunk(covariance) for covariance in covariances]
            owners = [f"class {label}" for label in self.classes_] if self.covariance == "own" else ["all classes"]
            self._factors = [self._cholesky(c, owner) for c, owner in zip(covariances, owners, strict=True)]
            self._means = means
        self.means_ = np.stack([backend.to_numpy(mean) for mean in means])
        self.covariances_ = np.stack([backend.to_numpy(covariance) for covariance in covariances])
        return self

    def _checked_priors(self, priors: Sequence[float]) -> np.ndarray:
        given = np.asarray(priors)
        if (
            given.dtype.kind not in "iuf"
            or given.shape != self.classes_.shape
            or not (given > 0).all()
            or not math.isclose(given.sum(), 1, rel_tol=1e-6)
        ):
            raise ValueError(
                f"GaussianClassifier: expected priors as {len(self.classes_)} positive numbers of sum 1, got {priors!r}"
            )
        return given.astype(np.float64)

    def _shrunk(self, covariance: Any) -> Any:
        d = len(covariance)
        sphere = self._backend.xp.eye(d, dtype=covariance.dtype) * (covariance.trace() / d)
        return (1 - self.shrinkage) * covariance + self.shrinkage * sphere

    def _cholesky(self, covariance: Any, owner: str) -> Any:
        """L, lower triangular, with L L' = S. ValueError for a singular S."""
        xp = self._backend.xp
        # A device need not report that it could not: so also look whether the product is S, and how small L's diagonal is.
        rounding = len(covariance) * np.finfo(covariance.dtype).eps * abs(covariance).max()
        try:
            factor = xp.tril(xp.linalg.cholesky(covariance))
            regular = bool((abs(factor @ factor.T - covariance) <= 8 * rounding).all())
            regular = regular and bool((factor.diagonal() ** 2 > rounding).all())
        except np.linalg.LinAlgError:
            regular = False
        if not regular:
            raise ValueError(
                f"GaussianClassifier: the covariance of {owner} is singular: too few rows for {len(covariance)} features, "
                f"or features that depend on each other; set shrinkage, say 0.01, or remove features"
            )
        return factor

    def log_likelihood(self, X: Any) -> np.ndarray:
        """log p(x | k) of each row of ``X`` (n, d) under each class: (n, K), natural logarithms."""
        return self._backend.to_numpy(self._log_likelihood(self._features(X)))

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """log p(k | x): (n, K), natural logarithms; log-softmax of log p(x | k) + log p(k)."""
        joint = Tensor(self._log_joint(self._features(X)), self._backend)
        return F.log_softmax(joint, dim=1).numpy()

    def predict_proba(self, X: Any) -> np.ndarray:
        """p(k | x): (n, K), rows of sum 1."""
        return np.exp(self.predict_log_proba(X))

    def predict(self, X: Any) -> np.ndarray:
        """The most probable label (n,) of each row of ``X`` (n, d); of equally probable ones the smaller."""
        joint = self._log_joint(self._features(X))
        return self.classes_[self._backend.to_numpy(joint).argmax(axis=1)]

    def _log_joint(self, features: Any) -> Any:
        with self._backend.scope():
            priors = self._backend.asarray(np.log(self.priors_), dtype=features.dtype)
            return self._log_likelihood(features) + priors

    def _log_likelihood(self, features: Any) -> Any:
        xp = self._backend.xp
        columns = []
        with self._backend.scope():
            for k, mean in enumerate(self._means):
                factor = self._factors[k if self.covariance == "own" else 0]
                standardized = xp.linalg.solve(factor, (features - mean).T)
                log_volume = xp.log(factor.diagonal()).sum() + 0.5 * len(factor) * math.log(2 * math.pi)
                columns.append(-0.5 * (standardized**2).sum(axis=0) - log_volume)
            return xp.stack(columns, axis=1)
