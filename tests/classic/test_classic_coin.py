"""The coin: maxima and means by hand, curves by SciPy, and the gradient of the loss that networks use."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import gpunn
from gpunn.classic import Coin
from gpunn.functional import binary_cross_entropy


def test_three_heads_of_four_by_hand(device: str) -> None:
    coin = Coin(device=device).fit([1, 1, 0, 1])
    assert (coin.heads_, coin.tails_) == (3, 1)
    assert coin.maximum_likelihood_ == 0.75 and coin.maximum_posterior_ == 0.75  # the prior is flat
    assert coin.posterior_mean_ == pytest.approx(4 / 6)
    np.testing.assert_allclose(coin.likelihood([0.5, 0.75]), [1 / 16, 27 / 256], rtol=1e-14)
    np.testing.assert_allclose(coin.log_likelihood([[0.5]]), [[-4 * np.log(2)]], rtol=1e-14)
    # 1 / B(4, 2) = 5! / (3! 1!) = 20
    np.testing.assert_allclose(coin.posterior(0.5), 20 / 16, rtol=1e-13)


def test_a_prior_by_hand(device: str) -> None:
    """Like 9 heads and 9 tails seen before."""
    coin = Coin(a=10, b=10, device=device).fit([True, True])
    assert coin.maximum_likelihood_ == 1
    assert coin.maximum_posterior_ == pytest.approx(11 / 20)
    assert coin.posterior_mean_ == pytest.approx(12 / 22)
    many = Coin(a=10, b=10, device=device).fit([True] * 2000)
    assert many.maximum_posterior_ > 0.99


def test_the_maxima_are_maxima(device: str) -> None:
    p = np.linspace(0, 1, 1001)
    coin = Coin(a=3, b=2, device=device).fit([1, 0, 0, 1, 0, 0, 1])
    assert p[coin.likelihood(p).argmax()] == pytest.approx(coin.maximum_likelihood_, abs=1e-3)
    assert p[coin.posterior(p).argmax()] == pytest.approx(coin.maximum_posterior_, abs=1e-3)
    weights = coin.posterior(p) / 1000  # the density is 0 at both ends, so this is the trapezoidal rule
    assert weights.sum() == pytest.approx(1, abs=1e-5)
    assert weights @ p == pytest.approx(coin.posterior_mean_, abs=1e-5)


def test_the_curves_of_scipy(device: str) -> None:
    stats = pytest.importorskip("scipy.stats")
    p = np.linspace(0, 1, 11)
    coin = Coin(a=2.5, b=4, device=device).fit([1, 0, 0, 1, 1])
    np.testing.assert_allclose(coin.prior(p), stats.beta.pdf(p, 2.5, 4), rtol=1e-12)
    np.testing.assert_allclose(coin.posterior(p), stats.beta.pdf(p, 5.5, 6), rtol=1e-12)
    np.testing.assert_allclose(coin.likelihood(p), np.exp(stats.bernoulli.logpmf([[1], [0], [0], [1], [1]], p).sum(0)))


def test_impossible_and_certain(device: str) -> None:
    """0 log 0 is 0: a coin that never shows tails makes heads alone certain."""
    coin = Coin(device=device).fit([1, 1])
    assert coin.log_likelihood([0.0, 1.0]).tolist() == [-np.inf, 0]
    assert coin.likelihood([0.0, 1.0]).tolist() == [0, 1]
    assert Coin(device=device).fit([0]).log_likelihood([0.0, 1.0]).tolist() == [0, -np.inf]


def test_it_is_the_minimum_of_the_cross_entropy(device: str) -> None:
    """n times the mean binary cross-entropy is -log L, and its gradient is 0 at h / n."""
    tosses = np.array([1.0, 0.0, 1.0, 1.0, 0.0])
    coin = Coin(device=device).fit(tosses)
    p = gpunn.tensor(coin.maximum_likelihood_, dtype="float64", device=device, requires_grad=True)
    loss = binary_cross_entropy(p * gpunn.ones(5, dtype="float64", device=device), gpunn.tensor(tosses, device=device))
    loss.backward()
    np.testing.assert_allclose(5 * loss.item(), -coin.log_likelihood(0.6), rtol=1e-12)
    np.testing.assert_allclose(p.grad.item(), 0, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "tosses", "message"),
    [
        ({"a": 0.5}, [1], "expected a >= 1 and b >= 1, both finite, got a=0.5 and b=1.0"),
        ({"b": math.inf}, [1], "both finite, got a=1.0 and b=inf"),
        ({"a": "2"}, [1], "got a='2' and b=1.0"),
        ({}, [], r"expected tosses of shape \(n,\) with n at least 1, got \(0,\)"),
        ({}, [[1]], r"expected tosses of shape \(n,\) with n at least 1, got \(1, 1\)"),
        ({}, [1, 2], r"expected tosses of 0 \(tails\) and 1 \(heads\), got other values"),
        ({}, ["heads"], r"expected tosses of 0 \(tails\) and 1 \(heads\), got other values"),
    ],
)
def test_wrong_tosses(options: dict[str, Any], tosses: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Coin(**options).fit(tosses)


def test_wrong_probabilities() -> None:
    coin = Coin().fit([1])
    for p in (-0.1, 1.5, float("nan"), "heads"):
        with pytest.raises(ValueError, match="expected probabilities from 0 to 1"):
            coin.likelihood(p)
    with pytest.raises(RuntimeError, match=r"seen no tosses yet; call fit\(tosses\) first"):
        Coin().likelihood(0.5)
