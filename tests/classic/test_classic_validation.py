"""Splits, folds and searches: every row where it belongs, scores by hand, and scikit-learn's folds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gpunn.classic import (
    GridSearch,
    KFold,
    KNeighborsClassifier,
    LeastSquares,
    PolynomialRegression,
    StratifiedKFold,
    cross_val_score,
    train_validation_test_split,
)

LABELS = np.repeat(["a", "b", "c"], [50, 30, 20])


def test_three_parts_share_no_row() -> None:
    split = train_validation_test_split(11, validation=0.2, test=0.3, seed=4)
    assert [len(part) for part in split] == [6, 2, 3]
    assert sorted(np.concatenate(split).tolist()) == list(range(11))
    for part in split:
        assert (np.diff(part) > 0).all()


def test_the_seed_alone_chooses() -> None:
    first, again, other = (train_validation_test_split(50, seed=seed) for seed in (1, 1, 2))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert (first.test != other.test).any()
    # Drawn from all over, not from one end.
    assert first.test.min() < 15 and first.test.max() > 35


def test_by_labels_every_class_has_its_share() -> None:
    split = train_validation_test_split(100, validation=0.1, test=0.3, labels=LABELS)
    for part, expected in zip(split, [[30, 18, 12], [5, 3, 2], [15, 9, 6]], strict=True):
        assert np.unique(LABELS[part], return_counts=True)[1].tolist() == expected


def test_no_validation_part() -> None:
    split = train_validation_test_split(10, validation=0, test=0.5)
    assert [len(part) for part in split] == [5, 0, 5]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((10, 0.5, 0.5), "expected shares of at least 0 and below 1 together, got 0.5 and 0.5"),
        ((10, "half", 0.5), "expected shares of at least 0 and below 1 together, got 'half' and 0.5"),
        ((10, -0.1, 0.5), "expected shares of at least 0"),
        ((3, 0.1, 0.4), "a share of 0.1 of 3 rows leaves no row for validation; take a larger share"),
        ((1, 0.0, 0.6), "0.0 and 0.6 of 1 rows leave no row for training; take smaller shares"),
        ((10, 0.2, 0.2, [0, 1]), r"expected labels of shape \(10,\), got \(2,\)"),
    ],
)
def test_wrong_splits(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train_validation_test_split(*arguments)


@pytest.mark.parametrize("folds", [KFold(3), KFold(3, shuffle=False), StratifiedKFold(3), StratifiedKFold(3, False)])
def test_every_row_is_held_out_once(folds: KFold) -> None:
    pairs = list(folds.split(LABELS, LABELS))
    assert sorted(len(held_out) for _, held_out in pairs) == [33, 33, 34]
    assert sorted(np.concatenate([held_out for _, held_out in pairs]).tolist()) == list(range(100))
    for train, held_out in pairs:
        assert sorted([*train, *held_out]) == list(range(100))


def test_folds_in_order_and_shuffled() -> None:
    held_out = [rows.tolist() for _, rows in KFold(3, shuffle=False).split(np.zeros(7))]
    assert held_out == [[0, 1, 2], [3, 4], [5, 6]]
    shuffled = [rows.tolist() for _, rows in KFold(3, seed=1).split(np.zeros(7))]
    assert shuffled == [rows.tolist() for _, rows in KFold(3, seed=1).split(np.zeros(7))]
    assert shuffled not in (held_out, [rows.tolist() for _, rows in KFold(3, seed=2).split(np.zeros(7))])


def test_stratified_folds_have_equal_shares() -> None:
    y = np.array([1, 0, 1, 0, 1, 1, 0, 1, 1, 0])  # six of class 1, four of class 0
    counts = [np.bincount(y[rows]).tolist() for _, rows in StratifiedKFold(2).split(y, y)]
    assert counts == [[2, 3], [2, 3]]
    for k in (3, 4):
        counts_of_4 = np.array([np.bincount(y[rows], minlength=2) for _, rows in StratifiedKFold(k).split(y, y)])
        assert (counts_of_4.max(axis=0) - counts_of_4.min(axis=0) <= 1).all()
        sizes = counts_of_4.sum(axis=1)
        assert sizes.max() - sizes.min() <= 1


def test_folds_as_scikit_learn_cuts_them() -> None:
    model_selection = pytest.importorskip("sklearn.model_selection")
    for n, k in ((10, 3), (23, 5), (6, 6)):
        ours, peers = KFold(k, shuffle=False).split(np.zeros(n)), model_selection.KFold(k).split(np.zeros(n))
        for (train, held_out), (peer_train, peer_held_out) in zip(ours, peers, strict=True):
            np.testing.assert_array_equal(train, peer_train)
            np.testing.assert_array_equal(held_out, peer_held_out)


def test_wrong_folds() -> None:
    with pytest.raises(ValueError, match="KFold: expected n_splits of at least 2, got 1"):
        KFold(1)
    with pytest.raises(ValueError, match=r"KFold: expected n_splits of at least 2, got 2\.5"):
        KFold(2.5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"cross_val_score: expected a learner of gpunn\.classic, got 3"):
        cross_val_score(3, [[0.0]], [0])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"split: expected n, the number of rows, got ndarray; give it len\(X\)"):
        train_validation_test_split(np.zeros((5, 1)))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected at least as many rows as folds, got 2 and 3"):
        next(KFold(3).split([0, 1]))
    with pytest.raises(ValueError, match="class b has 2 rows, fewer than the 3 folds; use fewer folds or KFold"):
        next(StratifiedKFold(3).split(np.zeros(5), ["a", "b", "a", "b", "a"]))
    with pytest.raises(ValueError, match="expected labels y"):
        next(StratifiedKFold(3).split(np.zeros(5)))


def test_scores_by_hand(device: str) -> None:
    """In order, each half has seen one class only and is wrong about the other; with both classes in each all is right."""
    X, y = np.array([[0.0], [1.0], [10.0], [11.0]]), np.array([0, 0, 1, 1])
    learner = KNeighborsClassifier(1, device=device)
    assert cross_val_score(learner, X, y, KFold(2, shuffle=False)).tolist() == [0, 0]
    assert cross_val_score(learner, X, y, 2).tolist() == [1, 1]  # stratified, since it is a classifier
    assert not hasattr(learner, "classes_")


def test_scores_as_scikit_learn_finds_them() -> None:
    model_selection = pytest.importorskip("sklearn.model_selection")
    linear_model = pytest.importorskip("sklearn.linear_model")
    random = np.random.default_rng(0)
    X = random.normal(size=(40, 3))
    y = X @ [1.0, -2.0, 0.5] + random.normal(size=40)
    pairs = list(KFold(4).split(X))
    peer = model_selection.cross_val_score(linear_model.LinearRegression(), X, y, cv=pairs)
    np.testing.assert_allclose(cross_val_score(LeastSquares(), X, y, KFold(4)), peer, rtol=1e-10)
    np.testing.assert_allclose(cross_val_score(LeastSquares(), X, y, 4), peer, rtol=1e-10)


def test_nothing_is_learned_from_what_is_held_out() -> None:
    """Labels by chance: who sees its own label is always right, who does not is right half the time."""
    random = np.random.default_rng(1)
    X, y = random.normal(size=(400, 2)), random.integers(0, 2, 400)
    learner = KNeighborsClassifier(1)
    assert learner.clone().fit(X, y).score(X, y) == 1
    assert abs(cross_val_score(learner, X, y, 5).mean() - 0.5) < 0.1


def test_a_search_finds_the_degree(device: str) -> None:
    random = np.random.default_rng(2)
    x = np.linspace(-1, 1, 30)[:, None]
    y = x[:, 0] - 2 * x[:, 0] ** 3 + 0.05 * random.normal(size=30)
    search = GridSearch(PolynomialRegression(device=device), {"degree": [1, 3, 12], "ridge": [0.0, 10.0]}).fit(x, y)
    assert search.best_params_ == {"degree": 3, "ridge": 0.0}
    assert [result["params"] for result in search.results_][:3] == [
        {"degree": 1, "ridge": 0.0},
        {"degree": 1, "ridge": 10.0},
        {"degree": 3, "ridge": 0.0},
    ]
    best = search.results_[2]
    np.testing.assert_allclose(best["scores"], cross_val_score(PolynomialRegression(3), x, y, 5), rtol=1e-10)
    assert search.best_score_ == best["mean"] == pytest.approx(best["scores"].mean())
    assert best["deviation"] == pytest.approx(best["scores"].std())
    # It learned from all data in the end.
    np.testing.assert_allclose(search.predict(x), PolynomialRegression(3).fit(x, y).predict(x), rtol=1e-10)
    assert search.score(x, y) == search.best_estimator_.score(x, y)


def test_of_equal_scores_the_first_is_the_best() -> None:
    X, y = [[0.0], [1.0], [10.0], [11.0]], [0, 0, 1, 1]
    search = GridSearch(KNeighborsClassifier(1), {"metric": ["linf", "l1", "l2"]}, folds=2).fit(X, y)
    assert [result["mean"] for result in search.results_] == [1, 1, 1]
    assert search.best_params_ == {"metric": "linf"}


def test_a_search_in_each_fold() -> None:
    """Nested: the scores are of data that the choice did not see. The inner learner classifies, so folds are stratified."""
    X = np.concatenate([np.arange(9.0), 20 + np.arange(9.0)])[:, None]
    search = GridSearch(KNeighborsClassifier(), {"n_neighbors": [1, 3]}, folds=3)
    assert cross_val_score(search, X, np.repeat(["left", "right"], 9), 3).tolist() == [1, 1, 1]
    assert not hasattr(search, "results_")


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ([1.0], r"expected a grid with a list of values to try for each hyperparameter, got \[1.0\]"),
        ({"ridge": 1.0}, "expected a grid with a list of values"),
        ({}, "expected a grid with a list of values to try for each hyperparameter"),
        ({"ridge": []}, "expected a grid with a list of values to try for each hyperparameter"),
        ({"alpha": [1.0]}, "LeastSquares has no hyperparameter 'alpha'; it has method, ridge, fit_intercept"),
    ],
)
def test_wrong_grids(grid: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GridSearch(LeastSquares(), grid).fit(np.zeros((10, 1)), np.arange(10.0))


def test_a_search_that_has_not_begun() -> None:
    with pytest.raises(RuntimeError, match=r"GridSearch has learned nothing yet; call fit\(X, y\) first"):
        GridSearch(LeastSquares(), {"ridge": [0.0]}).predict([[1.0]])
