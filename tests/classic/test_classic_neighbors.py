"""Nearest neighbours: distances and votes by hand, ties, memory, and scikit-learn's answers."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

from gpunn.classic import KNeighborsClassifier, train_validation_test_split

METRICS = {"l1": "cityblock", "l2": "euclidean", "linf": "chebyshev", "cosine": "cosine"}


def learner(X: Any, y: Any, k: int = 1, **options: Any) -> KNeighborsClassifier:
    return KNeighborsClassifier(n_neighbors=k, **options).fit(X, y)


@pytest.mark.parametrize(
    ("metric", "distances"),
    [
        # From (3, 4) to (0, 0), (3, 0), (0, 5) and (8, 6).
        ("l1", [7.0, 4.0, 4.0, 7.0]),
        ("l2", [5.0, 4.0, 10**0.5, 29**0.5]),
        ("linf", [4.0, 4.0, 3.0, 5.0]),
        ("cosine", [1.0, 1 - 3 / 5, 1 - 4 / 5, 1 - 48 / 50]),
    ],
)
def test_distances_by_hand(metric: str, distances: list[float], device: str) -> None:
    X = [[0, 0], [3, 0], [0, 5], [8, 6]]
    found, rows = learner(X, [0, 0, 0, 0], k=4, metric=metric, device=device).kneighbors([[3, 4]])
    order = sorted(range(4), key=lambda row: (round(distances[row], 9), row))
    assert rows.tolist() == [order]
    np.testing.assert_allclose(found[0], [distances[row] for row in order], rtol=1e-14)


def test_votes_by_hand(device: str) -> None:
    X, y = [[0.0], [1.0], [2.0], [10.0]], ["near", "near", "far", "far"]
    classifier = learner(X, y, k=3, device=device)
    assert classifier.predict([[0.4], [9.0]]).tolist() == ["near", "far"]
    assert classifier.classes_.tolist() == ["far", "near"]
    np.testing.assert_allclose(classifier.predict_proba([[0.4], [9.0]]), [[1 / 3, 2 / 3], [2 / 3, 1 / 3]])
    assert classifier.score([[0.4], [9.0]], ["near", "near"]) == 0.5


def test_a_tied_vote_goes_to_the_nearer_label(device: str) -> None:
    """One vote each: label 7 is at distance 1, label 2 at distance 2."""
    assert learner([[1.0], [-2.0]], [7, 2], k=2, device=device).predict([[0.0]]).tolist() == [7]
    # Two votes each; that the second of label 2 is nearer does not count.
    classifier = learner([[1.0], [-2.0], [2.5], [-4.0]], [7, 2, 2, 7], k=4, device=device)
    assert classifier.predict([[0.0]]).tolist() == [7]


def test_a_tied_vote_at_one_distance_goes_to_the_smaller_label(device: str) -> None:
    classifier = learner([[1.0], [-1.0]], [7, 2], k=2, device=device)
    assert classifier.predict([[0.0]]).tolist() == [2]
    assert classifier.kneighbors([[0.0]])[1].tolist() == [[1, 0]]


def test_of_examples_at_one_distance_the_earlier_is_the_neighbour(device: str) -> None:
    assert learner([[1.0], [-1.0]], [7, 2], k=1, device=device).predict([[0.0]]).tolist() == [7]
    corners = [[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0], [0.5, 0.0]]
    for metric in ("l1", "l2", "linf"):
        classifier = learner(corners, [0] * 5, k=3, metric=metric, device=device)
        assert classifier.kneighbors([[0.0, 0.0]])[1].tolist() == [[4, 0, 1]]


@pytest.mark.parametrize("metric", METRICS)
def test_against_scipy_in_blocks_of_any_size(metric: str, device: str) -> None:
    """One query at a time, some, and all at once find the same neighbours."""
    distance = pytest.importorskip("scipy.spatial.distance")
    random = np.random.default_rng(3)
    X, queries, y = random.normal(size=(40, 5)), random.normal(size=(23, 5)), random.integers(0, 3, 40)
    expected = distance.cdist(queries, X, METRICS[metric])
    order = expected.argsort(axis=1)[:, :7]
    for block_bytes in (1, 10_000, 1 << 25):
        classifier = learner(X, y, k=7, metric=metric, block_bytes=block_bytes, device=device)
        distances, rows = classifier.kneighbors(queries)
        np.testing.assert_array_equal(rows, order)
        np.testing.assert_allclose(distances, np.take_along_axis(expected, order, axis=1), rtol=1e-12)


@pytest.mark.parametrize("metric", ["l1", "l2"])
def test_blocks_bound_the_memory(metric: str) -> None:
    """All distances at once would be 3000 x 3000 x 8 bytes, 72 MB, and the differences of l1 three times that."""
    random = np.random.default_rng(0)
    X, y = random.normal(size=(3000, 3)), random.integers(0, 2, 3000)
    classifier = learner(X, y, k=3, metric=metric, block_bytes=1 << 20)
    tracemalloc.start()
    classifier.predict(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 << 20


def test_far_from_the_origin(device: str) -> None:
    """There |x|^2 is 1e16 times the squared distances, and the product alone would know nothing of them."""
    random = np.random.default_rng(1)
    X = random.normal(size=(30, 2)).astype("float32").astype("float64")
    expected = learner(X, [0] * 30, k=5, device=device).kneighbors(X)
    moved = learner(X + 2.0**27, [0] * 30, k=5, device=device).kneighbors(X + 2.0**27)
    np.testing.assert_array_equal(moved[1], expected[1])
    np.testing.assert_allclose(moved[0], expected[0], rtol=1e-6, atol=1e-7)


def test_a_training_example_is_its_own_neighbour_at_distance_zero(device: str) -> None:
    X = np.random.default_rng(2).normal(size=(50, 8))
    for metric in METRICS:
        distances, rows = learner(X, np.arange(50), metric=metric, device=device).kneighbors(X)
        assert rows[:, 0].tolist() == list(range(50))
        assert (distances == 0).all()


def test_cosine_of_vectors_of_zeros_and_of_very_small_ones(device: str) -> None:
    X = [[0.0, 0.0], [1e-200, 0.0], [-3.0, 1e-9]]
    classifier = learner(X, [0, 1, 2], k=3, metric="cosine", device=device)
    distances, rows = classifier.kneighbors([[1e-300, 0.0], [0.0, 0.0]])
    assert rows.tolist() == [[1, 0, 2], [0, 1, 2]]
    np.testing.assert_allclose(distances, [[0, 1, 2], [1, 1, 1]])
    # At a cosine of 0.28 a vector is nearer, by 0.72, than one of zeros.
    assert learner([[0, 0], [7, 24]], [0, 1], metric="cosine", device=device).predict([[1, 0]]).tolist() == [1]


def test_digits_as_scikit_learn_classifies_them() -> None:
    """Within one point on the same split, for every metric; ties are broken otherwise there."""
    datasets = pytest.importorskip("sklearn.datasets")
    neighbors = pytest.importorskip("sklearn.neighbors")
    X, y = datasets.load_digits(return_X_y=True)
    split = train_validation_test_split(len(y), 0, 0.3, labels=y)
    for metric, name in METRICS.items():
        ours = learner(X[split.train], y[split.train], k=5, metric=metric).score(X[split.test], y[split.test])
        peer = neighbors.KNeighborsClassifier(5, metric=name, algorithm="brute").fit(X[split.train], y[split.train])
        assert abs(ours - peer.score(X[split.test], y[split.test])) <= 0.01
        assert ours > 0.95


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "l3"}, "expected metric 'l1', 'l2', 'linf', 'cosine', got 'l3'"),
        ({"n_neighbors": 0}, "expected 1 <= n_neighbors <= 2, the number of examples, got 0"),
        ({"n_neighbors": 1.5}, "expected 1 <= n_neighbors <= 2, the number of examples, got 1.5"),
        ({"n_neighbors": 1, "block_bytes": "1 MB"}, "expected block_bytes > 0, got '1 MB'"),
        ({"n_neighbors": 3}, "expected 1 <= n_neighbors <= 2, the number of examples, got 3"),
    ],
)
def test_wrong_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        KNeighborsClassifier(**options).fit([[0.0], [1.0]], [0, 1])


def test_values_whose_distances_have_no_number() -> None:
    with pytest.raises(ValueError, match="distances overflow float32; scale the features"):
        learner([[1e19], [0.0]], [0, 1], dtype="float32")
    assert learner([[1e19], [0.0]], [0, 1]).predict([[1.0]]).tolist() == [1]


def test_more_neighbours_after_fit() -> None:
    classifier = learner([[0.0], [1.0]], [0, 1]).set_params(n_neighbors=3)
    with pytest.raises(ValueError, match="n_neighbors 3 was changed after fit; fit again"):
        classifier.predict([[0.0]])
