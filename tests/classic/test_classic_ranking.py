"""The ranking support vector machine: by hand, beside scikit-learn on the differences of pairs, and its score."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gpunn.classic import RankingSVM

DEVICES = ("reference", "cpu")
FEW: dict[str, Any] = {"dtype": "float64", "batch_size": None, "average": False}


def searches(queries: int = 30, documents: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Documents of five features, graded 0 to 3 by a hidden w x and noise; each query has a level of its own."""
    rng = np.random.default_rng(seed)
    query = np.repeat(np.arange(queries), documents)
    X = rng.normal(size=(len(query), 5)) + 3 * rng.normal(size=(queries, 5))[query]
    worth = X @ [2.0, -1.0, 0.5, 0.0, 0.0] + rng.normal(size=len(query))
    grades = np.zeros(len(query), np.int64)
    for number in range(queries):
        rows = query == number
        grades[rows] = np.searchsorted(np.quantile(worth[rows], [0.5, 0.75, 0.9]), worth[rows])
    return X, grades, query


def differences(X: np.ndarray, y: np.ndarray, query: np.ndarray) -> np.ndarray:
    """x_i - x_j of all pairs of a query with y_i > y_j, one by one."""
    pairs = [X[i] - X[j] for i in range(len(y)) for j in range(len(y)) if query[i] == query[j] and y[i] > y[j]]
    return np.array(pairs)


@pytest.mark.parametrize("device", DEVICES)
def test_by_hand(device: str) -> None:
    """Grades 0, 1, 2 at x = 0, 1, 3: the pairs are 1, 2 and 3 apart, so w = 1 is the least that leads by 1 everywhere.

    Where losses are cheap all three pull: w = C (1 + 2 + 3).
    """
    X, y = np.array([[0.0], [1.0], [3.0]]), np.array([0, 1, 2])
    dear = RankingSVM(C=10.0, epochs=800, step_size=0.25, device=device, **FEW).fit(X, y)
    np.testing.assert_allclose(dear.coef_, [1.0], rtol=5e-3)
    cheap = RankingSVM(C=0.01, epochs=200, step_size=1.0, schedule="constant", device=device, **FEW).fit(X, y)
    np.testing.assert_allclose(cheap.coef_, [0.06], rtol=1e-6)
    np.testing.assert_allclose(cheap.predict(X), [0.0, 0.06, 0.18], rtol=1e-6)


@pytest.mark.parametrize("device", DEVICES)
def test_documents_of_different_queries_are_not_compared(device: str) -> None:
    """Within each query larger is better, though the second one's documents are all larger and no better."""
    X, y, queries = np.array([[0.0], [1.0], [10.0], [11.0]]), np.array([1, 2, 0, 1]), np.array(["a", "a", "b", "b"])
    learner = RankingSVM(device=device).fit(X, y, queries)
    assert learner.coef_[0] > 0
    assert learner.score(X, y, queries) == 1.0
    assert learner.score(X, y) < 0.5  # as one query: of five pairs, two are in order
    assert RankingSVM(device=device).fit(X, y).coef_[0] < 0


def test_the_score_counts_pairs() -> None:
    learner = RankingSVM().fit([[0.0], [1.0]], [0, 1])
    learner.coef_ = np.array([1.0])
    # Pairs 2 > 1, 2 > 0, 1 > 0 with scores 3, 3, 5 for the grades 0, 1, 2: equal ones count half.
    assert learner.score([[3.0], [3.0], [5.0]], [0, 1, 2]) == pytest.approx(2.5 / 3)
    assert learner.score([[3.0], [3.0], [5.0]], [2, 1, 0]) == pytest.approx(0.5 / 3)


def test_devices_agree(device: str) -> None:
    X, y, query = searches(queries=3, documents=6)
    settings: dict[str, Any] = {"epochs": 2, "batch_size": 16}
    expected = RankingSVM(device="reference", dtype="float64", **settings).fit(X, y, query)
    found = RankingSVM(device=device, **settings).fit(X, y, query)
    np.testing.assert_allclose(found.coef_, expected.coef_, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found.predict(X), expected.predict(X), rtol=1e-3, atol=1e-3)
    assert found.score(X, y, query) == pytest.approx(expected.score(X, y, query), abs=0.02)


@pytest.mark.parametrize("device", DEVICES)
def test_beside_scikit_learn(device: str) -> None:
    """A linear machine on the differences, as likely upside down as not: at most one point below on new queries.

    The data are `searches`: 30 queries of 12 documents for learning, 30 others for the score.
    """
    svm = pytest.importorskip("sklearn.svm")
    X, y, query = searches()
    pairs = differences(X, y, query)
    turned = np.where(np.arange(len(pairs)) % 2, 1.0, -1.0)
    theirs = svm.LinearSVC(C=0.1, loss="hinge", fit_intercept=False, max_iter=100_000)
    theirs.fit(pairs * turned[:, None], turned)
    ours = RankingSVM(C=0.1, epochs=40, device=device).fit(X, y, query)
    new_X, new_y, new_query = searches(seed=1)
    expected = float((differences(new_X, new_y, new_query) @ theirs.coef_[0] > 0).mean())
    assert ours.score(new_X, new_y, new_query) >= expected - 0.01
    assert expected > 0.8

    def objective(w: np.ndarray) -> float:
        return float(w @ w / 2 + 0.1 * np.maximum(0, 1 - pairs @ w).sum())

    assert objective(ours.coef_) < 1.02 * objective(theirs.coef_[0])


def test_two_grades_and_one_query_score_the_area_under_the_curve() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    X, y, _ = searches(queries=4)
    learner = RankingSVM(epochs=5).fit(X, y > 0)
    assert learner.score(X, y > 0) == pytest.approx(metrics.roc_auc_score(y > 0, learner.predict(X)))


def test_wrong_use() -> None:
    X = np.eye(3)
    with pytest.raises(ValueError, match="RankingSVM: expected two rows of one query whose y differ, got none"):
        RankingSVM().fit(X, [1, 1, 1])
    with pytest.raises(ValueError, match="expected two rows of one query"):
        RankingSVM().fit(X, [1, 2, 3], ["a", "b", "c"])
    with pytest.raises(ValueError, match=r"expected y and queries of shape \(n,\), got \(3,\) and \(2,\)"):
        RankingSVM().fit(X, [1, 2, 3], [0, 1])
    with pytest.raises(ValueError, match=r"expected y and queries of shape \(n,\), got \(\) and \(\)"):
        RankingSVM().fit(X, None)
    with pytest.raises(ValueError, match="expected one y a row of X, got 3 rows and 2 of y"):
        RankingSVM().fit(X, [1, 2])
    with pytest.raises(ValueError, match="RankingSVM: expected C > 0"):
        RankingSVM(C=0).fit(X, [1, 2, 3])
    for grades in ([1.0, 2.0, np.nan], ["a", "b", "c"]):
        with pytest.raises(ValueError, match="RankingSVM: expected y to be finite numbers, the higher the better"):
            RankingSVM().fit(X, grades)
