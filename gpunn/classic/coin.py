"""The probability of heads, from tosses of a coin: by maximum likelihood, and with a prior."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gpunn.classic.estimator import Estimator, on_host
from gpunn.dtypes import is_number


class Coin(Estimator):
    """A coin that shows heads with an unknown probability p, learned from h heads and t tails.

    likelihood             L(p) = p^h (1 - p)^t,  log L(p) = h log p + t log(1 - p)
    its maximum            p = h / (h + t), where d log L / dp = h/p - t/(1 - p) = 0
    prior (Beta)           p(p) = p^(a-1) (1 - p)^(b-1) / B(a, b)
    posterior (Beta)       p(p | tosses) = p^(h+a-1) (1 - p)^(t+b-1) / B(h + a, t + b)
    its maximum            p = (h + a - 1) / (h + t + a + b - 2)
    its mean               p = (h + a) / (h + t + a + b): the probability of heads in the next toss

    The prior acts like a - 1 heads and b - 1 tails seen before: with a = b = 1 it is flat and both maxima are the same,
    and the more tosses there are, the less it matters.

    Args:
        a, b: of the prior, at least 1, so that it has a single maximum or is flat.
        device, dtype: where the curves are computed and in which numbers.

    Attributes:
        heads_, tails_: h and t.
        maximum_likelihood_: the p of the highest likelihood.
        maximum_posterior_: the p of the highest posterior density.
        posterior_mean_: the mean of p under the posterior.

    Source: C. Bishop, Pattern Recognition and Machine Learning, 2006, section 2.1.
    """

    heads_: int
    tails_: int
    maximum_likelihood_: float
    maximum_posterior_: float
    posterior_mean_: float

    def __init__(self, a: float = 1.0, b: float = 1.0, device: str = "cpu", dtype: str = "float64") -> None:
        self.a = a
        self.b = b
        self.device = device
        self.dtype = dtype

    def fit(self, tosses: Any) -> Coin:
        """Learn from ``tosses`` (n,), n at least 1: 1 or True for heads, 0 or False for tails. ValueError for others."""
        if not all(is_number(value) and 1 <= value < math.inf for value in (self.a, self.b)):
            raise ValueError(f"Coin: expected a >= 1 and b >= 1, both finite, got a={self.a!r} and b={self.b!r}")
        shown = on_host(tosses)
        if shown.ndim != 1 or not len(shown):
            raise ValueError(f"Coin: expected tosses of shape (n,) with n at least 1, got {shown.shape}")
        if not np.isin(shown, (0, 1)).all():
            raise ValueError("Coin: expected tosses of 0 (tails) and 1 (heads), got other values")
        self.heads_ = h = int(shown.sum())
        self.tails_ = t = len(shown) - h
        self.maximum_likelihood_ = h / (h + t)
        self.maximum_posterior_ = (h + self.a - 1) / (h + t + self.a + self.b - 2)
        self.posterior_mean_ = (h + self.a) / (h + t + self.a + self.b)
        return self

    def log_likelihood(self, p: Any) -> np.ndarray:
        """log L(p), natural logarithm, for probabilities ``p`` of any shape; -inf where the tosses are impossible."""
        self._check_is_tossed()
        return self._exponents(p, self.heads_, self.tails_)

    def likelihood(self, p: Any) -> np.ndarray:
        """L(p): the probability of these tosses in this order, for ``p`` of any shape."""
        return np.exp(self.log_likelihood(p))

    def prior(self, p: Any) -> np.ndarray:
        """The prior's density at ``p`` of any shape."""
        return self._beta(p, self.a, self.b)

    def posterior(self, p: Any) -> np.ndarray:
        """The posterior's density at ``p`` of any shape."""
        self._check_is_tossed()
        return self._beta(p, self.heads_ + self.a, self.tails_ + self.b)

    def _check_is_tossed(self) -> None:
        if not hasattr(self, "heads_"):
            raise RuntimeError("Coin has seen no tosses yet; call fit(tosses) first")

    def _beta(self, p: Any, a: float, b: float) -> np.ndarray:
        log_normalizer = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
        return np.exp(self._exponents(p, a - 1, b - 1) - log_normalizer)

    def _exponents(self, p: Any, heads: float, tails: float) -> np.ndarray:
        """heads log p + tails log(1 - p), where 0 log 0 is 0."""
        backend = self._backend
        given = on_host(p)
        if given.dtype.kind not in "biuf":
            raise ValueError(f"Coin: expected probabilities from 0 to 1, got {given.dtype}")
        values = backend.asarray(given, dtype=self.dtype)
        with backend.scope():
            if not bool(((values >= 0) & (values <= 1)).all()):
                raise ValueError("Coin: expected probabilities from 0 to 1, got others")
            total = backend.xp.zeros_like(values)
            if heads:
                total += heads * backend.xp.log(values)
            if tails:
                total += tails * backend.xp.log1p(-values)
        return backend.to_numpy(total)
