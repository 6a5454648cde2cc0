"""Gaussian classifiers: densities by hand, boundaries by formula, and scikit-learn's discriminant analysis."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gpunn.classic import GaussianClassifier, train_validation_test_split

# Class a: mean 1, variance 1. Class b: mean 6, variance 4.
X = [[0.0], [2.0], [4.0], [8.0]]
Y = ["a", "a", "b", "b"]
HALF_LOG_2_PI = 0.5 * np.log(2 * np.pi)


def test_own_covariances_by_hand(device: str) -> None:
    learner = GaussianClassifier(device=device).fit(X, Y)
    np.testing.assert_allclose(learner.means_, [[1], [6]])
    np.testing.assert_allclose(learner.covariances_, [[[1]], [[4]]])
    assert learner.priors_.tolist() == [0.5, 0.5]
    a, b = -HALF_LOG_2_PI - (3 - 1) ** 2 / 2, -HALF_LOG_2_PI - np.log(2) - (3 - 6) ** 2 / (2 * 4)
    np.testing.assert_allclose(learner.log_likelihood([[3.0]]), [[a, b]], rtol=1e-14)
    np.testing.assert_allclose(learner.predict_proba([[3.0]]), [[1 / (1 + np.exp(b - a)), 1 / (1 + np.exp(a - b))]])
    assert learner.predict([[2.9], [-5.0]]).tolist() == ["a", "b"]  # far to the left the wider density is higher
    assert learner.score(X, Y) == 1


def test_a_shared_covariance_by_hand(device: str) -> None:
    learner = GaussianClassifier("shared", device=device).fit(X, Y)
    np.testing.assert_allclose(learner.covariances_, [[[(1 + 4) / 2]]])
    np.testing.assert_allclose(
        learner.log_likelihood([[3.0]]), [[-HALF_LOG_2_PI - 0.5 * np.log(2.5) - q / 5 for q in (4, 9)]], rtol=1e-14
    )
    # The boundary is in the middle; it moves away from the class that is more frequent, by v / (m_b - m_a) log(p_a / p_b).
    assert learner.predict([[3.5 - 1e-9], [3.5 + 1e-9]]).tolist() == ["a", "b"]
    learner = GaussianClassifier("shared", priors=[0.8, 0.2], device=device).fit(X, Y)
    variance = 0.8 * 1 + 0.2 * 4
    boundary = 3.5 + variance / 5 * np.log(0.8 / 0.2)
    np.testing.assert_allclose(learner.covariances_, [[[variance]]])
    assert learner.predict([[boundary - 1e-9], [boundary + 1e-9]]).tolist() == ["a", "b"]


def test_priors_are_the_shares(device: str) -> None:
    learner = GaussianClassifier("shared", device=device).fit([[0.0], [2.0], [1.0], [5.0], [6.0]], [0, 0, 0, 1, 1])
    np.testing.assert_allclose(learner.priors_, [0.6, 0.4])
    likelihood = np.exp(learner.log_likelihood([[3.0]]))[0]
    np.testing.assert_allclose(learner.predict_proba([[3.0]])[0], likelihood * [0.6, 0.4] / (likelihood @ [0.6, 0.4]))


def test_shrinkage_by_hand(device: str) -> None:
    """Covariance diag(4, 1), mean variance 2.5: a fifth of the way, 0.8 * (4, 1) + 0.2 * 2.5."""
    points = [[-2.0, 1.0], [2.0, 1.0], [-2.0, -1.0], [2.0, -1.0]]
    learner = GaussianClassifier(shrinkage=0.2, device=device).fit(points, [0] * 4)
    np.testing.assert_allclose(learner.covariances_[0], np.diag([3.7, 1.3]), rtol=1e-14)


@pytest.mark.parametrize("covariance", ["own", "shared"])
def test_densities_of_scipy(covariance: str, device: str) -> None:
    stats = pytest.importorskip("scipy.stats")
    random = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], 20)
    points = random.normal(size=(60, 4)) @ random.normal(size=(4, 4)) + y[:, None]
    learner = GaussianClassifier(covariance, device=device).fit(points, y)
    own = [np.cov(points[y == k].T, bias=True) for k in range(3)]
    expected = own if covariance == "own" else [np.mean(own, axis=0)] * 3
    columns = [stats.multivariate_normal(points[y == k].mean(axis=0), expected[k]).logpdf(points) for k in range(3)]
    np.testing.assert_allclose(learner.log_likelihood(points), np.stack(columns, axis=1), rtol=1e-10)


def test_far_away_nothing_vanishes(device: str) -> None:
    """Both densities are 0 as numbers, their logarithms are not."""
    learner = GaussianClassifier(device=device).fit(X, Y)
    np.testing.assert_allclose(learner.predict_proba([[1e4], [-1e4]]), [[0, 1], [0, 1]], atol=1e-300)
    assert np.isfinite(learner.predict_log_proba([[1e4]])).all()


def test_digits_as_scikit_learn_classifies_them() -> None:
    """On the same split the same probabilities, and so the same scores; scikit-learn's other defaults within a point."""
    datasets = pytest.importorskip("sklearn.datasets")
    peers = pytest.importorskip("sklearn.discriminant_analysis")
    points, labels = datasets.load_digits(return_X_y=True)
    split = train_validation_test_split(len(labels), 0, 0.3, labels=labels)
    train, test = split.train, split.test
    linear = GaussianClassifier("shared", shrinkage=0.01).fit(points[train], labels[train])
    quadratic = GaussianClassifier("own", shrinkage=0.01).fit(points[train], labels[train])
    same = peers.LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.01).fit(points[train], labels[train])
    np.testing.assert_allclose(linear.predict_proba(points[test]), same.predict_proba(points[test]), atol=1e-9)
    for ours, peer in (
        (linear, peers.LinearDiscriminantAnalysis()),
        (quadratic, peers.QuadraticDiscriminantAnalysis(reg_param=0.01)),
    ):
        score = ours.score(points[test], labels[test])
        assert abs(score - peer.fit(points[train], labels[train]).score(points[test], labels[test])) <= 0.01
        assert score > 0.92


@pytest.mark.parametrize(
    ("points", "labels", "owner"),
    [
        ([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [3.0, 3.0]], [0, 0, 0, 0], "class 0"),
        ([[0.0], [1.0], [5.0]], ["x", "x", "y"], "class y"),  # one row has no variance
        ([[0.0, 1e-9], [1.0, 1.0], [2.0, 2.0], [3.0, 3.0]], [0, 0, 0, 0], "class 0"),  # lost in rounding
    ],
)
def test_singular_covariances(points: Any, labels: Any, owner: str, device: str) -> None:
    with pytest.raises(ValueError, match=f"the covariance of {owner} is singular.*set shrinkage"):
        GaussianClassifier(device=device).fit(points, labels)


def test_a_shared_covariance_may_be_of_classes_that_are_singular_alone(device: str) -> None:
    points, labels = [[0.0], [1.0], [5.0]], ["x", "x", "y"]
    assert GaussianClassifier("shared", device=device).fit(points, labels).score(points, labels) == 1
    with pytest.raises(ValueError, match="the covariance of all classes is singular"):
        GaussianClassifier("shared", device=device).fit([[1.0], [5.0]], labels[1:])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"covariance": "full"}, "expected covariance 'own' or 'shared', got 'full'"),
        ({"shrinkage": 1.5}, "expected 0 <= shrinkage <= 1, got 1.5"),
        ({"priors": [0.5, 0.6]}, r"expected priors as 2 positive numbers of sum 1, got \[0.5, 0.6\]"),
        ({"shrinkage": "auto"}, "expected 0 <= shrinkage <= 1, got 'auto'"),
        ({"priors": "equal"}, "expected priors as 2 positive numbers of sum 1, got 'equal'"),
        ({"priors": [1.0]}, "expected priors as 2 positive numbers of sum 1"),
        ({"priors": [1.0, 0.0]}, "expected priors as 2 positive numbers of sum 1"),
    ],
)
def test_wrong_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GaussianClassifier(**options).fit(X, Y)
