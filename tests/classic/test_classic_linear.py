"""Softmax and logistic regression: by hand, beside scikit-learn, and the descent that the linear learners share."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import gpunn
from gpunn.classic import LogisticRegression, SoftmaxRegression
from gpunn.classic.subgradient import curvature

DEVICES = ("reference", "cpu")
TWO_X, TWO_Y = np.array([[-1.0], [1.0]]), np.array([0, 1])  # one example a class
STEEP = {"dtype": "float64", "batch_size": None, "schedule": "constant", "average": False, "epochs": 200}


def clouds(classes: int, count: int = 40, spread: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """``count`` points about each of the corners of a polygon far from 0, as one data set in random order."""
    rng = np.random.default_rng(seed)
    angles = 2 * np.pi * np.arange(classes) / classes
    centers = 3 * np.stack([np.cos(angles), np.sin(angles)], axis=1) + 10
    y = rng.permutation(np.repeat(np.arange(classes), count))
    return centers[y] + rng.normal(scale=spread, size=(len(y), 2)), y


@pytest.mark.parametrize("device", DEVICES)
def test_logistic_regression_by_hand(device: str) -> None:
    """1/2 w^2 + 2 C log(1 + exp(-w)) is least where w = 2 C / (1 + exp(w)): at w = 1 for C = (1 + e) / 2."""
    learner = LogisticRegression(C=(1 + math.e) / 2, device=device, **STEEP).fit(TWO_X, TWO_Y)
    np.testing.assert_allclose(learner.coef_, [[1.0]], rtol=1e-6)
    np.testing.assert_allclose(learner.intercept_, [0.0], atol=1e-6)
    one = math.e / (1 + math.e)
    np.testing.assert_allclose(learner.predict_proba([[1.0], [-1.0], [0.0]]), [[1 - one, one], [one, 1 - one], [0.5, 0.5]],
                               rtol=1e-6)  # fmt: skip


@pytest.mark.parametrize("device", DEVICES)
def test_softmax_regression_by_hand(device: str) -> None:
    """With W = (-v, v): v^2 + 2 C log(1 + exp(-2 v)) is least where v = 2 C / (1 + exp(2 v)): at 1/2 for C = (1 + e) / 4."""
    learner = SoftmaxRegression(C=(1 + math.e) / 4, device=device, **STEEP).fit(TWO_X, TWO_Y)
    np.testing.assert_allclose(learner.coef_, [[-0.5], [0.5]], rtol=1e-6)
    np.testing.assert_allclose(learner.intercept_, [0.0, 0.0], atol=1e-6)
    np.testing.assert_allclose(learner.predict_proba(TWO_X)[1], [1 / (1 + math.e), math.e / (1 + math.e)], rtol=1e-6)


@pytest.mark.parametrize("device", DEVICES)
def test_without_a_penalty_the_constant_is_the_share_of_the_classes(device: str) -> None:
    """From inputs that say nothing, the most likely probabilities are the frequencies."""
    X, y = np.array([[-1.0], [1.0]] * 4), np.array([0, 0, 1, 1, 1, 1, 2, 2])
    learner = SoftmaxRegression(C=math.inf, device=device, **STEEP).fit(X, y)
    np.testing.assert_allclose(learner.coef_, np.zeros((3, 1)), atol=1e-6)
    np.testing.assert_allclose(learner.predict_proba([[0.3]]), [[0.25, 0.5, 0.25]], rtol=1e-6)


def test_the_gradient_is_zero_at_the_minimum() -> None:
    """W = C sum_i (onehot(y_i) - p_i) x_i', the condition that scikit-learn's solution meets too."""
    X, y = clouds(3, spread=2.0)
    learner = SoftmaxRegression(C=0.1, **{**STEEP, "epochs": 2000}).fit(X, y)
    surprise = np.eye(3)[y] - learner.predict_proba(X)
    np.testing.assert_allclose(learner.coef_, 0.1 * surprise.T @ X, atol=1e-5)
    np.testing.assert_allclose(surprise.sum(axis=0), 0, atol=1e-4)  # the constant has no penalty


@pytest.mark.parametrize("learner", [SoftmaxRegression, LogisticRegression])
def test_devices_agree(device: str, learner: Any) -> None:
    """The same steps in the same order: what differs is the rounding."""
    X, y = clouds(2, count=12)
    settings: dict[str, Any] = {"epochs": 3, "batch_size": 8}
    expected = learner(device="reference", dtype="float64", **settings).fit(X, y)
    found = learner(device=device, **settings).fit(X, y)
    np.testing.assert_allclose(found.coef_, expected.coef_, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.objective_, expected.objective_, rtol=1e-4)
    np.testing.assert_array_equal(found.predict(X), expected.predict(X))


@pytest.mark.parametrize("device", DEVICES)
def test_labels_of_any_kind(device: str) -> None:
    X, y = clouds(3)
    names = np.array(["coat", "bag", "shirt"])[y]
    learner = SoftmaxRegression(epochs=20, device=device).fit(X, names)
    assert learner.classes_.tolist() == ["bag", "coat", "shirt"]
    assert learner.score(X, names) > 0.95
    assert learner.coef_.shape == (3, 2)
    assert learner.intercept_.shape == (3,)
    assert learner.decision_function(X[:4]).shape == (4, 3)
    np.testing.assert_allclose(learner.predict_proba(X).sum(axis=1), 1, rtol=1e-5)
    two = LogisticRegression(epochs=20, device=device).fit(X[y < 2], names[y < 2])
    assert two.decision_function(X[:4]).shape == (4,)
    assert set(two.predict(X)) == {"bag", "coat"}


@pytest.mark.parametrize("device", DEVICES)
def test_units_do_not_matter(device: str) -> None:
    """Without a penalty, inputs in other units give the same probabilities: the step follows the examples' curvature."""
    X, y = clouds(2, spread=2.0)
    one = LogisticRegression(C=math.inf, device=device).fit(X, y)
    other = LogisticRegression(C=math.inf, device=device).fit(1000 * X + 7, y)
    np.testing.assert_allclose(other.coef_ * 1000, one.coef_, rtol=1e-2)
    np.testing.assert_allclose(other.predict_proba(1000 * X + 7), one.predict_proba(X), atol=1e-2)


def test_equal_examples_teach_the_frequencies() -> None:
    learner = LogisticRegression(epochs=200).fit(np.ones((4, 2)), [0, 1, 1, 1])
    np.testing.assert_allclose(learner.predict_proba(np.ones((1, 2))), [[0.25, 0.75]], atol=0.01)


def test_the_average_comes_closer_than_the_last_iterate() -> None:
    X, y = clouds(2, spread=2.5)
    settings: dict[str, Any] = {"epochs": 30, "batch_size": 4, "step_size": 1.0, "schedule": "constant"}
    best = LogisticRegression(**STEEP).fit(X, y).coef_
    averaged, last = (LogisticRegression(average=a, **settings).fit(X, y).coef_ for a in (True, False))
    assert np.abs(averaged - best).max() < 0.5 * np.abs(last - best).max()


@pytest.mark.parametrize("schedule", ["constant", "1/sqrt(t)", "1/t"])
def test_the_objective_falls(schedule: str) -> None:
    X, y = clouds(3)
    learner = SoftmaxRegression(schedule=schedule, epochs=30).fit(X, y)
    assert learner.objective_.shape == (30,)
    assert learner.objective_[-1] < 0.5 * learner.objective_[0] < 0.5 * math.log(3)


def test_the_schedules_shrink_the_step() -> None:
    """One example of each class, all in one step a pass, in a loss that is nearly straight: steps add up as 1, 1/sqrt(t), 1/t."""
    sums = {"constant": 3.0, "1/sqrt(t)": 1 + 2**-0.5 + 3**-0.5, "1/t": 1 + 1 / 2 + 1 / 3}
    for schedule, total in sums.items():
        learner = LogisticRegression(
            C=math.inf, epochs=3, batch_size=None, step_size=1e-4, schedule=schedule, average=False, dtype="float64"
        ).fit(TWO_X, TWO_Y)
        # Scaled examples are +-1/s with s^2 = 1 + 1/2, the gradient at 0 is 1/2 |x|.
        assert learner.coef_[0, 0] == pytest.approx(1e-4 * total * 0.5 / 1.5, rel=1e-3)


def test_the_order_comes_from_the_seed() -> None:
    X, y = clouds(3)
    one, same, other = (SoftmaxRegression(seed=s, epochs=2).fit(X, y).coef_ for s in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_curvature() -> None:
    """The largest eigenvalue of X'X / n, and the mean square length over the batch."""
    X = np.random.default_rng(0).normal(size=(50, 4)) * [5.0, 1.0, 0.5, 0.1]
    largest, squares = np.linalg.eigvalsh(X.T @ X / 50)[-1], (X**2).sum(axis=1).mean()
    assert curvature(gpunn.tensor(X), 10) == pytest.approx(largest + squares / 10, rel=1e-6)
    assert curvature(gpunn.tensor(np.zeros((3, 2))), 1) == 0


def test_wrong_use() -> None:
    X, y = clouds(3)
    for given, message in [
        ({"C": 0}, "SoftmaxRegression: expected C > 0, got 0; inf leaves the penalty out"),
        ({"C": math.nan}, "expected C > 0"),
        ({"epochs": 0}, "expected whole epochs and batch_size of at least 1, got 0 and 32"),
        ({"epochs": 1.5}, "expected whole epochs and batch_size of at least 1, got 1.5 and 32"),
        ({"batch_size": 0}, "expected whole epochs and batch_size of at least 1"),
        ({"C": "1"}, "expected C > 0, got '1'"),
        ({"step_size": "1"}, "expected a finite step_size > 0, got '1'"),
        ({"seed": None}, "expected seed to be a whole number, got None"),
        ({"step_size": 0.0}, "expected a finite step_size > 0"),
        ({"schedule": "1/t^2"}, "expected schedule to be one of constant, 1/sqrt"),
    ]:
        with pytest.raises(ValueError, match=message):
            SoftmaxRegression(**given).fit(X, y)
    with pytest.raises(ValueError, match="expected y of at least two classes, got only 1"):
        SoftmaxRegression().fit(X, np.ones(len(X)))
    with pytest.raises(ValueError, match="LogisticRegression: expected y of two classes, got 3; use SoftmaxRegression"):
        LogisticRegression().fit(X, y)
    with pytest.raises(ValueError, match="expected one y a row of X"):
        SoftmaxRegression().fit(X, y[:-1])
    with pytest.raises(RuntimeError, match="fit"):
        SoftmaxRegression().predict(X)
    with pytest.raises(ValueError, match="the descent left all bounds; choose a step_size smaller than 1e"):
        LogisticRegression(C=1e-3, step_size=1e300, dtype="float64").fit(X[y < 2], y[y < 2])


def test_softmax_regression_beside_scikit_learn_on_digits() -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    linear_model = pytest.importorskip("sklearn.linear_model")
    X, y = datasets.load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    train, test = order[:1200], order[1200:]
    theirs = linear_model.LogisticRegression(C=0.01, max_iter=1000).fit(X[train], y[train])
    ours = SoftmaxRegression(C=0.01, epochs=40).fit(X[train], y[train])
    assert ours.score(X[test], y[test]) >= theirs.score(X[test], y[test]) - 0.01
    np.testing.assert_allclose(ours.predict_proba(X[test]), theirs.predict_proba(X[test]), atol=0.1)


def test_logistic_regression_beside_scikit_learn() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    X, y = clouds(2, spread=2.5)
    theirs = linear_model.LogisticRegression(C=0.5, tol=1e-8).fit(X, y)
    ours = LogisticRegression(C=0.5, **STEEP).fit(X, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-3)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, rtol=1e-3)
