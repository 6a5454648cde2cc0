"""Linear and multiclass support vector machines: by hand, beside scikit-learn and a general minimizer."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpunn import data
from gpunn.classic import LinearSVM, MulticlassSVM, SoftmaxRegression

DEVICES = ("reference", "cpu")
TWO_X, TWO_Y = np.array([[-2.0], [2.0]]), np.array([0, 1])
# Of few points, all in each step. Where losses are dear, w grows to the corner and must not leap over it, from where only the
# small penalty leads back; where they are cheap, the minimum is that of a parabola.
DEAR: dict[str, Any] = {
    "C": 10.0,
    "dtype": "float64",
    "batch_size": None,
    "epochs": 500,
    "step_size": 0.07,
    "average": False,
}
CHEAP: dict[str, Any] = {**DEAR, "epochs": 100, "step_size": 1.0, "schedule": "constant"}
LOSSES = ("crammer_singer", "sum_of_hinges")


def clouds(classes: int, count: int = 40, spread: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """``count`` points about each of the corners of a polygon, as one data set in random order."""
    rng = np.random.default_rng(seed)
    angles = 2 * np.pi * np.arange(classes) / classes
    centers = 3 * np.stack([np.cos(angles), np.sin(angles)], axis=1) + 10
    y = rng.permutation(np.repeat(np.arange(classes), count))
    return centers[y] + rng.normal(scale=spread, size=(len(y), 2)), y


def objective(learner: Any, losses: Any, X: np.ndarray, y: np.ndarray) -> float:
    """1/2 |W|^2 + C times the sum of ``losses`` of the scores, divided by C n, in plain NumPy."""
    scores = X @ learner.coef_.T + learner.intercept_
    return float((learner.coef_**2).sum() / (2 * learner.C * len(y)) + losses(scores, y).mean())


def hinge(scores: np.ndarray, y: np.ndarray) -> np.ndarray:
    signs = np.where(y[:, None] == (np.arange(scores.shape[1]) if scores.shape[1] > 1 else [1]), 1, -1)
    return np.maximum(0, 1 - signs * scores).sum(axis=1)


def leads(scores: np.ndarray, y: np.ndarray) -> np.ndarray:
    """1 + s_j - s_y for all j but y, where it is 0."""
    rows = np.arange(len(y))
    found = 1 + scores - scores[rows, y][:, None]
    found[rows, y] = 0
    return np.maximum(found, 0)


MULTICLASS = {
    "crammer_singer": lambda s, y: leads(s, y).max(axis=1),
    "sum_of_hinges": lambda s, y: leads(s, y).sum(axis=1),
}


@pytest.mark.parametrize("device", DEVICES)
def test_two_points_by_hand(device: str) -> None:
    """Points at -2 and 2 have a margin of 4 = 2 / |w|: w = 1/2. Where losses are cheap, w = C times the sum of t x = 4 C."""
    hard = LinearSVM(device=device, **DEAR).fit(TWO_X, TWO_Y)
    np.testing.assert_allclose(hard.coef_, [[0.5]], rtol=2e-3)
    np.testing.assert_allclose(hard.intercept_, [0.0], atol=2e-3)
    soft = LinearSVM(device=device, **{**CHEAP, "C": 1 / 16}).fit(TWO_X, TWO_Y)
    np.testing.assert_allclose(soft.coef_, [[0.25]], rtol=2e-3)


@pytest.mark.parametrize("device", DEVICES)
def test_only_the_support_vectors_pull(device: str) -> None:
    """Four points of a street 2 wide about x_1 = 0: those behind may be anywhere."""
    near = np.array([[-1.0, 0.0], [-1.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    far = np.array([[-2.0, 0.5], [-1.5, -1.0], [2.0, 1.5], [3.0, 0.3]])
    X, y = np.concatenate([near, far]), np.array([0, 0, 1, 1] * 2)
    learner = LinearSVM(device=device, **{**DEAR, "epochs": 1000, "step_size": 0.3}).fit(X, y)
    np.testing.assert_allclose(learner.coef_, [[1.0, 0.0]], atol=0.05)
    np.testing.assert_allclose(learner.intercept_, [0.0], atol=0.05)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("loss", LOSSES)
def test_two_classes_by_hand(device: str, loss: str) -> None:
    """W = (-v, v) leads by 4 v at both points: v = 1/4 in the hard case; v = 2 C where losses are cheap."""
    hard = MulticlassSVM(loss=loss, device=device, **DEAR).fit(TWO_X, TWO_Y)
    np.testing.assert_allclose(hard.coef_, [[-0.25], [0.25]], rtol=5e-3)
    soft = MulticlassSVM(loss=loss, device=device, **{**CHEAP, "C": 1 / 32}).fit(TWO_X, TWO_Y)
    np.testing.assert_allclose(soft.coef_, [[-0.125], [0.125]], rtol=5e-3)


@pytest.mark.parametrize("device", DEVICES)
def test_three_points_by_hand(device: str) -> None:
    """Corners e_1, e_2, e_3 with W = a I + c: leads are a = 1, and |W|^2 is least where the columns add up to 0."""
    X, y = np.eye(3), np.array([0, 1, 2])
    for loss in LOSSES:
        learner = MulticlassSVM(loss=loss, device=device, **DEAR).fit(X, y)
        np.testing.assert_allclose(learner.coef_, np.eye(3) - 1 / 3, atol=0.01)


@pytest.mark.parametrize("learner", [LinearSVM(), MulticlassSVM(), MulticlassSVM(loss="sum_of_hinges")], ids=repr)
def test_devices_agree(device: str, learner: Any) -> None:
    X, y = clouds(3, count=8)
    settings: dict[str, Any] = {"epochs": 3, "batch_size": 8}
    expected = learner.clone().set_params(device="reference", dtype="float64", **settings).fit(X, y)
    found = learner.clone().set_params(device=device, **settings).fit(X, y)
    np.testing.assert_allclose(found.coef_, expected.coef_, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found.objective_, expected.objective_, rtol=1e-3)
    assert found.score(X, y) == expected.score(X, y)


@pytest.mark.parametrize("device", DEVICES)
def test_several_classes(device: str) -> None:
    """One against the rest, and all at once; shapes and labels."""
    X, y = clouds(4)
    names = np.array(list("wxyz"))[y]
    for learner in (LinearSVM(device=device), *(MulticlassSVM(loss=loss, device=device) for loss in LOSSES)):
        learner.set_params(epochs=30).fit(X, names)
        assert learner.coef_.shape == (4, 2)
        assert learner.decision_function(X).shape == (len(X), 4)
        assert learner.score(X, names) > 0.95
        assert set(learner.predict(X)) == set("wxyz")


@pytest.mark.parametrize("learner", [LinearSVM(), MulticlassSVM(), MulticlassSVM(loss="sum_of_hinges")], ids=repr)
def test_it_is_the_minimum(learner: Any) -> None:
    """No general minimizer gets lower, from there or from 0, by more than 0.2%."""
    optimize = pytest.importorskip("scipy.optimize")
    X, y = clouds(3, count=20, spread=2.0)
    losses = MULTICLASS[learner.loss] if isinstance(learner, MulticlassSVM) else hinge
    ours = learner.clone().set_params(C=0.1, epochs=200, dtype="float64").fit(X, y)
    found = objective(ours, losses, X, y)
    other = ours.clone()

    def value(flat: np.ndarray) -> float:
        other.coef_, other.intercept_ = flat[:6].reshape(3, 2), flat[6:]
        return objective(other, losses, X, y)

    for start in (np.r_[ours.coef_.ravel(), ours.intercept_], np.zeros(9)):
        lowest = optimize.minimize(value, start, method="Powell", options={"maxiter": 30}).fun
        assert found <= 1.002 * lowest


def test_the_objective_that_it_reports_is_the_objective() -> None:
    X, y = clouds(2, spread=2.0)
    learner = LinearSVM(epochs=100, dtype="float64", average=False).fit(X, y)
    assert learner.objective_[-1] == pytest.approx(objective(learner, hinge, X, y), rel=0.05)


def test_wrong_use() -> None:
    X, y = clouds(3)
    with pytest.raises(
        ValueError, match="MulticlassSVM: expected loss to be one of crammer_singer, sum_of_hinges, got 'svm'"
    ):
        MulticlassSVM(loss="svm").fit(X, y)
    with pytest.raises(ValueError, match="LinearSVM: expected C > 0"):
        LinearSVM(C=-1).fit(X, y)


def split_of_digits() -> tuple[np.ndarray, ...]:
    datasets = pytest.importorskip("sklearn.datasets")
    X, y = datasets.load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    train, test = order[:1200], order[1200:]
    return X[train], y[train], X[test], y[test]


@pytest.mark.parametrize("ours", [LinearSVM(), MulticlassSVM()], ids=repr)
def test_beside_scikit_learn_on_digits(ours: Any) -> None:
    """At most one point below on the test images, and at most 15% above its objective (the constant is not penalized here)."""
    svm = pytest.importorskip("sklearn.svm")
    X, y, new_X, new_y = split_of_digits()
    several = {"loss": "hinge"} if isinstance(ours, LinearSVM) else {"multi_class": "crammer_singer"}
    theirs = svm.LinearSVC(C=0.01, max_iter=20_000, intercept_scaling=10, **several).fit(X, y)
    ours = ours.clone().set_params(C=0.01, epochs=50).fit(X, y)
    assert ours.score(new_X, new_y) >= theirs.score(new_X, new_y) - 0.01
    losses = hinge if isinstance(ours, LinearSVM) else MULTICLASS["crammer_singer"]
    assert objective(ours, losses, X, y) < 1.15 * objective(theirs, losses, X, y)


def test_beside_scikit_learn_on_mnist() -> None:
    """5,000 training images, all 10,000 test images: at most one point below. The folder of MNIST stands in GPUNN_DATA."""
    svm = pytest.importorskip("sklearn.svm")
    linear_model = pytest.importorskip("sklearn.linear_model")
    folder = os.environ.get("GPUNN_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("GPUNN_DATA names no folder with MNIST")
    images, labels = [], []
    for train in (True, False):
        dataset = data.load("mnist", folder, train=train)
        images.append(dataset.images[: 5000 if train else None].reshape(-1, 784) / np.float32(255))
        labels.append(np.asarray(dataset.labels)[: 5000 if train else None])
    theirs = (
        linear_model.LogisticRegression(C=0.05, max_iter=300).fit(images[0], labels[0]),
        svm.LinearSVC(C=0.05, loss="hinge", intercept_scaling=10, max_iter=5000).fit(images[0], labels[0]),
    )
    ours = SoftmaxRegression(C=0.05, epochs=15), LinearSVM(C=0.05, epochs=15)
    for learner, other in zip(ours, theirs, strict=True):
        learner.fit(images[0], labels[0])
        assert learner.score(images[1], labels[1]) >= other.score(images[1], labels[1]) - 0.01
