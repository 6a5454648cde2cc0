"""Least squares and polynomials: by hand, by NumPy's own solver, and scikit-learn's answers."""

from __future__ import annotations

from itertools import pairwise
from math import comb
from typing import Any

import numpy as np
import pytest

from gpunn.classic import LeastSquares, PolynomialFeatures, PolynomialRegression
from gpunn.classic.least_squares import METHODS


@pytest.mark.parametrize("method", METHODS)
def test_a_line_by_hand(method: str, device: str) -> None:
    """Means 1 and 2/3; w = (0 + 0 + 1/3 + 2/3) / 2 with x - 1 = -1, 0, 1 and y - 2/3 = -2/3, 1/3, 1/3."""
    learner = LeastSquares(method=method, device=device).fit([[0.0], [1.0], [2.0]], [0.0, 1.0, 1.0])
    np.testing.assert_allclose(learner.coef_, [0.5], rtol=1e-14)
    np.testing.assert_allclose(learner.intercept_, 1 / 6, rtol=1e-13)
    np.testing.assert_allclose(learner.predict([[4.0]]), [2 + 1 / 6], rtol=1e-14)
    # 1/36 + 4/36 + 1/36 of 2/3 are not explained.
    np.testing.assert_allclose(learner.score([[0.0], [1.0], [2.0]], [0.0, 1.0, 1.0]), 1 - (6 / 36) / (2 / 3))


@pytest.mark.parametrize("method", METHODS)
def test_without_intercept_and_with_ridge_by_hand(method: str, device: str) -> None:
    through_origin = LeastSquares(method=method, fit_intercept=False, device=device).fit([[1.0], [2.0]], [2.0, 3.0])
    np.testing.assert_allclose(through_origin.coef_, [(1 * 2 + 2 * 3) / (1 + 4)], rtol=1e-14)
    assert through_origin.intercept_ == 0
    # x'y / (x'x + ridge) = 2 / (2 + 2), and the intercept is not made smaller.
    ridge = LeastSquares(method=method, ridge=2.0, device=device).fit([[-1.0], [1.0]], [99.0, 101.0])
    np.testing.assert_allclose(ridge.coef_, [0.5], rtol=1e-13)
    np.testing.assert_allclose(ridge.intercept_, 100.0, rtol=1e-14)


@pytest.mark.parametrize("method", METHODS)
def test_against_numpy_and_the_normal_equations(method: str, device: str) -> None:
    random = np.random.default_rng(0)
    X, y = random.normal(size=(30, 4)), random.normal(size=(30, 2))
    learner = LeastSquares(method=method, device=device).fit(X, y)
    expected = np.linalg.lstsq(np.column_stack([X, np.ones(30)]), y, rcond=None)[0]
    assert learner.coef_.shape == (2, 4) and learner.intercept_.shape == (2,)
    np.testing.assert_allclose(learner.coef_, expected[:4].T, rtol=1e-12)
    np.testing.assert_allclose(learner.intercept_, expected[4], rtol=1e-12)
    # The residual is orthogonal to every feature and to the constant.
    residual = y - learner.predict(X)
    np.testing.assert_allclose(X.T @ residual, np.zeros((4, 2)), atol=1e-12)
    np.testing.assert_allclose(residual.sum(axis=0), 0, atol=1e-12)


def test_of_many_solutions_the_shortest(device: str) -> None:
    """w1 + w2 = 2 has many; (1, 1) is the shortest. The normal equations say that they have none."""
    X, y = [[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]], [2.0, 4.0, 6.0]
    learner = LeastSquares(fit_intercept=False, device=device).fit(X, y)
    np.testing.assert_allclose(learner.coef_, [1, 1], rtol=1e-14)
    assert learner.rank_ == 1
    with pytest.raises(ValueError, match=r"no single solution.*use method='pseudo_inverse' or ridge > 0"):
        LeastSquares("normal_equations", fit_intercept=False, device=device).fit(X, y)
    # A ridge gives them one, near to it.
    ridge = LeastSquares("normal_equations", ridge=1e-6, fit_intercept=False, device=device).fit(X, y)
    np.testing.assert_allclose(ridge.coef_, [1, 1], rtol=1e-6)


def test_fewer_rows_than_features_and_constant_features(device: str) -> None:
    random = np.random.default_rng(1)
    X, y = random.normal(size=(4, 9)), random.normal(size=4)
    learner = LeastSquares(device=device).fit(X, y)
    np.testing.assert_allclose(learner.predict(X), y, rtol=1e-12)
    assert learner.rank_ == 3  # one row fewer, since the rows were centred
    constant = LeastSquares(device=device).fit([[5.0], [5.0]], [1.0, 3.0])
    assert constant.rank_ == 0 and constant.coef_.tolist() == [0.0] and constant.intercept_ == 2.0


def test_the_normal_equations_lose_twice_as_many_digits() -> None:
    """Condition number 1e6: of 16 digits the pseudo-inverse keeps about 10, X'X about 4."""
    random = np.random.default_rng(2)
    left, _ = np.linalg.qr(random.normal(size=(50, 6)))
    right, _ = np.linalg.qr(random.normal(size=(6, 6)))
    X = left * np.logspace(0, -6, 6) @ right.T
    weights = np.ones(6)
    errors = {
        method: np.abs(LeastSquares(method, fit_intercept=False).fit(X, X @ weights).coef_ - weights).max()
        for method in METHODS
    }
    assert errors["pseudo_inverse"] < 1e-8
    assert errors["normal_equations"] > 30 * errors["pseudo_inverse"]


@pytest.mark.parametrize("method", METHODS)
def test_ridge_as_scikit_learn(method: str) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    random = np.random.default_rng(3)
    X, y = random.normal(size=(20, 5)) + 3, random.normal(size=20)
    ours = LeastSquares(method, ridge=0.7).fit(X, y)
    peer = linear_model.Ridge(alpha=0.7).fit(X, y)
    np.testing.assert_allclose(ours.coef_, peer.coef_, rtol=1e-10)
    np.testing.assert_allclose(ours.intercept_, peer.intercept_, rtol=1e-10)
    np.testing.assert_allclose(ours.score(X, y), peer.score(X, y), rtol=1e-12)


def test_single_precision(device: str) -> None:
    learner = LeastSquares(dtype="float32", device=device).fit([[0.0], [1.0], [2.0]], [1.0, 3.0, 5.0])
    assert learner.coef_.dtype == "float32" and learner.predict([[3.0]]).dtype == "float32"
    np.testing.assert_allclose(learner.predict([[3.0]]), [7], rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "y", "message"),
    [
        ({"method": "qr"}, [1.0, 2.0], "expected method 'pseudo_inverse' or 'normal_equations', got 'qr'"),
        ({"ridge": -1.0}, [1.0, 2.0], "expected a finite ridge >= 0, got -1.0"),
        ({"ridge": float("nan")}, [1.0, 2.0], "expected a finite ridge >= 0, got nan"),
        ({"ridge": "1"}, [1.0, 2.0], "expected a finite ridge >= 0, got '1'"),
        ({}, [1.0, 2.0, 3.0], "expected one y a row of X, got 2 rows and 3 of y"),
        ({}, [[[1.0]], [[2.0]]], r"expected y of shape \(n,\) or \(n, m\), got \(2, 1, 1\)"),
        ({}, [1.0, float("nan")], "y has NaN or infinite values"),
    ],
)
def test_wrong_arguments(options: dict[str, Any], y: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LeastSquares(**options).fit([[0.0], [1.0]], y)


def test_products_by_hand(device: str) -> None:
    products = PolynomialFeatures(2, device=device).fit_transform([[2.0, 3.0], [-1.0, 0.5]])
    np.testing.assert_array_equal(products, [[1, 2, 3, 4, 6, 9], [1, -1, 0.5, 1, -0.5, 0.25]])
    assert PolynomialFeatures(3, include_bias=False, device=device).fit_transform([[2.0]]).tolist() == [[2, 4, 8]]
    assert PolynomialFeatures(0, device=device).fit_transform([[2.0], [5.0]]).tolist() == [[1], [1]]


def test_products_as_scikit_learn_orders_them() -> None:
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    X = np.random.default_rng(4).normal(size=(7, 3))
    for degree in (1, 2, 4):
        ours = PolynomialFeatures(degree).fit(X)
        peer = preprocessing.PolynomialFeatures(degree).fit(X)
        assert len(ours.powers_) == comb(3 + degree, degree)
        np.testing.assert_array_equal(ours.powers_, peer.powers_)
        np.testing.assert_allclose(ours.transform(X), peer.transform(X), rtol=1e-13)


@pytest.mark.parametrize(("degree", "bias", "lowest"), [(-1, True, 0), (0, False, 1), (1.5, True, 0), ("two", True, 0)])
def test_wrong_degrees(degree: Any, bias: bool, lowest: int) -> None:
    with pytest.raises(ValueError, match=f"expected a whole degree of at least {lowest}, got {degree!r}"):
        PolynomialFeatures(degree, bias).fit([[1.0]])  # type: ignore


def test_a_cubic_is_found_again(device: str) -> None:
    x = np.linspace(-1, 1, 9)
    learner = PolynomialRegression(3, device=device).fit(x[:, None], 2 - x + 4 * x**3)
    np.testing.assert_allclose(learner.coef_, [-1, 0, 4], atol=1e-13)
    np.testing.assert_allclose(learner.intercept_, 2, rtol=1e-13)
    assert learner.powers_.tolist() == [[1], [2], [3]]
    np.testing.assert_allclose(learner.predict([[2.0]]), [32], rtol=1e-12)


def test_the_fit_of_numpy() -> None:
    random = np.random.default_rng(5)
    x, y = random.uniform(-1, 1, 25), random.normal(size=25)
    for degree in (1, 4, 8):
        expected = np.polyval(np.polyfit(x, y, degree), x)
        np.testing.assert_allclose(
            PolynomialRegression(degree).fit(x[:, None], y).predict(x[:, None]), expected, rtol=1e-8
        )


def test_the_error_on_what_was_learned_falls_with_the_degree_to_zero() -> None:
    random = np.random.default_rng(6)
    x = np.linspace(-1, 1, 10)[:, None]
    y = np.sin(3 * x[:, 0]) + 0.2 * random.normal(size=10)
    new = np.linspace(-1, 1, 200)[:, None]
    learners = [PolynomialRegression(degree).fit(x, y) for degree in range(1, 10)]
    errors = [float(((learner.predict(x) - y) ** 2).mean()) for learner in learners]
    assert all(later <= earlier * (1 + 1e-9) for earlier, later in pairwise(errors))
    assert errors[-1] < 1e-18  # ten points, ten coefficients: overfitting
    true_errors = [float(((learner.predict(new) - np.sin(3 * new[:, 0])) ** 2).mean()) for learner in learners]
    assert min(true_errors) < true_errors[0] / 5 and min(true_errors) < true_errors[-1] / 5
    # A penalty holds the large coefficients back.
    penalized = PolynomialRegression(9, ridge=1e-2).fit(x, y)
    assert np.abs(penalized.coef_).max() < np.abs(learners[-1].coef_).max() / 10


def test_several_outputs(device: str) -> None:
    x = np.linspace(0, 1, 6)[:, None]
    learner = PolynomialRegression(2, device=device).fit(x, np.column_stack([x, x**2]))
    np.testing.assert_allclose(learner.coef_, [[1, 0], [0, 1]], atol=1e-12)
    assert learner.predict(x).shape == (6, 2) and learner.score(x, np.column_stack([x, x**2])) == pytest.approx(1)
