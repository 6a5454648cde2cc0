"""The structured support vector machine: inference by trying everything, and the machines that it contains."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import gpunn
from gpunn.classic import MultilabelProblem, StructuredProblem, StructuredSVM, TreeProblem

DEVICES = ("reference", "cpu")
#        root
#       /    \
#   animal  thing
#   /    \     |
#  cat  dog   cup
PARENTS = {"animal": "root", "thing": "root", "cat": "animal", "dog": "animal", "cup": "thing"}
FLAT = {"a": "root", "b": "root", "c": "root"}


def sets_of_labels(count: int = 150, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three labels, each by a hidden direction and noise."""
    hidden, rng = np.random.default_rng(10).normal(size=(4, 3)), np.random.default_rng(seed)
    X = rng.normal(size=(count, 4))
    Y = X @ hidden + 0.5 * rng.normal(size=(count, 3)) + [0.5, 0.0, -0.5] > 0
    return X, Y.astype(np.int64)


def places(
    parents: dict[str, str], leaves: list[str], count: int = 150, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Clouds about a sum of directions, one a node on the way up: what is near in the tree is near in space."""
    rng = np.random.default_rng(seed)
    direction = {node: rng.normal(scale=1.5, size=4) for node in parents}
    y = rng.choice(leaves, count)
    X = rng.normal(size=(count, 4))
    for row, node in enumerate(y):
        while node in parents:
            X[row] += direction[node]
            node = parents[node]
    return X, y


def everything(problem: StructuredProblem) -> list[np.ndarray]:
    """All labels there are, as numbers."""
    if isinstance(problem, MultilabelProblem):
        return [np.array(bits) for bits in itertools.product((0, 1), repeat=problem.labels)]
    assert isinstance(problem, TreeProblem)
    return [np.array(number) for number in range(len(problem.leaves))]


@pytest.mark.parametrize("device", DEVICES)
def test_joint_features_by_hand(device: str) -> None:
    X = gpunn.tensor([[1.0, 2.0]], device=device)
    sets = MultilabelProblem(3)
    features = sets.joint_features(X, gpunn.tensor([[1, 0, 1]], device=device))
    np.testing.assert_array_equal(features.numpy(), [[1, 2, 0, 0, 1, 2]])
    assert sets.size(2) == 6
    tree = TreeProblem(PARENTS)
    assert tree.leaves == ["cat", "dog", "cup"]
    features = tree.joint_features(X, gpunn.tensor([tree.leaves.index("dog")], device=device))
    blocks = dict(zip(tree.nodes, features.numpy().reshape(5, 2).tolist(), strict=True))
    assert blocks == {"animal": [1, 2], "thing": [0, 0], "cat": [0, 0], "dog": [1, 2], "cup": [0, 0]}
    assert tree.size(2) == 10


@pytest.mark.parametrize("device", DEVICES)
def test_losses_by_hand(device: str) -> None:
    right = gpunn.tensor([[1, 0, 1, 0], [1, 0, 1, 0], [0, 0, 0, 0]], device=device)
    answers = gpunn.tensor([[1, 0, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1]], device=device)
    np.testing.assert_array_equal(MultilabelProblem(4).loss(right, answers).numpy(), [0, 0.5, 1])
    tree = TreeProblem(PARENTS)
    from_leaf, to_leaf = (tree.encode(names) for names in (["cat", "cat", "cat"], ["cat", "dog", "cup"]))
    found = tree.loss(gpunn.tensor(from_leaf, device=device), gpunn.tensor(to_leaf, device=device))
    np.testing.assert_array_equal(found.numpy(), [0, 2, 4])  # cat - animal - root - thing - cup
    assert tree.largest_loss == 4


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("problem", [MultilabelProblem(3), TreeProblem(PARENTS), TreeProblem(FLAT)], ids=repr)
def test_inference_finds_the_best_of_all_labels(device: str, problem: Any) -> None:
    """With and without the loss, the label found is worth as much as the best when all are tried."""
    rng = np.random.default_rng(0)
    labels = everything(problem)
    X = gpunn.tensor(rng.normal(size=(40, 3)), device=device)
    weight = gpunn.tensor(0.3 * rng.normal(size=problem.size(3)), device=device)
    right = gpunn.tensor(np.stack([labels[i] for i in rng.integers(0, len(labels), 40)]), device=device)
    for with_loss in (False, True):

        def worth(answers: Any, add: bool = with_loss) -> np.ndarray:
            scores = (problem.joint_features(X, answers) @ weight).numpy()
            return scores + problem.loss(right, answers).numpy() if add else scores

        tried = [worth(gpunn.tensor(np.stack([label] * 40), device=device)) for label in labels]
        found = worth(problem.infer(weight, X, right if with_loss else None))
        np.testing.assert_allclose(found, np.max(tried, axis=0), rtol=1e-12)


@pytest.mark.parametrize("device", DEVICES)
def test_one_label_by_hand(device: str) -> None:
    """One label, x = -1 without and 1 with it. Of w = (slope, constant), slope 1 is the least that leads by Delta = 1 at both;
    where losses are cheap, w = C (x_2, 1) less the constant that the other pulls down by as much, x_1: slope 2 C."""
    X, y = np.array([[-1.0], [1.0]]), np.array([[0], [1]])
    few: dict[str, Any] = {"dtype": "float64", "batch_size": None, "average": False, "device": device}
    dear = StructuredSVM(MultilabelProblem(1), C=10.0, epochs=1000, step_size=0.05, **few).fit(X, y)
    np.testing.assert_allclose(dear.coef_, [1.0, 0.0], atol=0.01)
    cheap = StructuredSVM(MultilabelProblem(1), C=0.1, epochs=100, step_size=1.0, schedule="constant", **few).fit(X, y)
    np.testing.assert_allclose(cheap.coef_, [0.2, 0.0], atol=1e-6)
    assert dear.predict(X).tolist() == [[0], [1]]
    assert dear.score(X, y) == 1.0
    assert dear.score(X, 1 - y) == 0.0


def test_devices_agree(device: str) -> None:
    X, Y = sets_of_labels(24)
    names, places_y = places(PARENTS, ["cat", "dog", "cup"], 24)
    settings: dict[str, Any] = {"epochs": 2, "batch_size": 8}
    for problem, inputs, labels in ((MultilabelProblem(3), X, Y), (TreeProblem(PARENTS), names, places_y)):
        expected = StructuredSVM(problem, device="reference", dtype="float64", **settings).fit(inputs, labels)
        found = StructuredSVM(problem, device=device, **settings).fit(inputs, labels)
        np.testing.assert_allclose(found.coef_, expected.coef_, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(found.objective_, expected.objective_, rtol=1e-3)
        assert found.score(inputs, labels) == pytest.approx(expected.score(inputs, labels), abs=0.05)


@pytest.mark.parametrize("device", DEVICES)
def test_hamming_loss_separates_into_one_machine_a_label(device: str) -> None:
    """The maximum over z is the sum over k of max(0, 1/K - t_k w_k x): soft-margin machines with C K, and w K times smaller."""
    svm = pytest.importorskip("sklearn.svm")
    X, Y = sets_of_labels()
    ours = StructuredSVM(MultilabelProblem(3), C=1.0, epochs=200, device=device).fit(X, Y)
    with_constant = np.c_[X, np.ones(len(X))]
    theirs = [
        svm.LinearSVC(C=3.0, loss="hinge", fit_intercept=False, max_iter=200_000).fit(with_constant, column).coef_[0]
        / 3
        for column in Y.T
    ]

    def objective(w: np.ndarray) -> float:
        hinges = np.maximum(0, 1 / 3 - (2 * Y - 1) * (with_constant @ w.T))
        return float((w * w).sum() / 2 + hinges.sum())

    assert objective(ours.coef_.reshape(3, 5)) < 1.02 * objective(np.stack(theirs))
    new_X, new_Y = sets_of_labels(seed=1, count=400)
    answers = np.c_[new_X, np.ones(len(new_X))] @ np.stack(theirs).T > 0
    assert ours.score(new_X, new_Y) >= (answers == new_Y).mean() - 0.01


@pytest.mark.parametrize("device", DEVICES)
def test_a_flat_tree_is_crammer_and_singers_machine(device: str) -> None:
    """All leaves are 2 apart: their loss with a lead of 2 instead of 1, so w is twice theirs for C / 2."""
    svm = pytest.importorskip("sklearn.svm")
    X, y = places(FLAT, list("abc"))
    ours = StructuredSVM(TreeProblem(FLAT), C=0.2, epochs=200, device=device).fit(X, y)
    with_constant = np.c_[X, np.ones(len(X))]
    theirs = svm.LinearSVC(C=0.1, multi_class="crammer_singer", fit_intercept=False, max_iter=200_000)
    theirs.fit(with_constant, y)
    numbers = TreeProblem(FLAT).encode(y)

    def objective(w: np.ndarray) -> float:
        scores = with_constant @ w.T
        leads = 2.0 + scores - scores[np.arange(len(y)), numbers][:, None]
        leads[np.arange(len(y)), numbers] = 0
        return float((w * w).sum() / 2 + 0.2 * leads.max(axis=1).sum())

    assert objective(ours.coef_.reshape(3, 5)) < 1.02 * objective(2 * theirs.coef_)
    assert (ours.predict(X) == y).mean() >= theirs.score(with_constant, y) - 0.01


@pytest.mark.parametrize("device", DEVICES)
def test_a_tree_avoids_what_is_far(device: str) -> None:
    X, y = places(PARENTS, ["cat", "dog", "cup"], 300)
    learner = StructuredSVM(TreeProblem(PARENTS), epochs=30, device=device).fit(X, y)
    answers = learner.predict(X)
    mean_loss = learner.mean_loss(X, y)
    far = np.mean((answers == "cup") != (y == "cup"))
    near = np.mean(answers != y) - far
    assert mean_loss == pytest.approx(2 * near + 4 * far, rel=1e-6)
    assert learner.score(X, y) == pytest.approx(1 - mean_loss / 4, rel=1e-6)
    assert learner.score(X, y) > 0.8


def test_wrong_use() -> None:
    X = np.eye(3)
    for problem, y, message in [
        (MultilabelProblem(2), [[0, 1], [1, 2], [0, 0]], r"expected zeros and ones of shape \(n, 2\), got \(3, 2\)"),
        (MultilabelProblem(2), [0, 1, 1], r"expected zeros and ones of shape \(n, 2\), got \(3,\)"),
        (TreeProblem(PARENTS), ["cat", "animal", "dog"], "'animal' is no leaf; the leaves are cat, dog, cup"),
        (TreeProblem(PARENTS), ["cat", "dog"], "expected one y a row of X, got 3 rows and 2 of y"),
    ]:
        with pytest.raises(ValueError, match=message):
            StructuredSVM(problem).fit(X, y)
    with pytest.raises(TypeError, match="StructuredSVM: expected a StructuredProblem, a TreeProblem say, got 'tree'"):
        StructuredSVM("tree").fit(X, [0, 1, 2])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="TreeProblem: expected a dict, the parent of each node, got list"):
        TreeProblem(["cat"])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"TreeProblem: expected labels of shape \(n,\), got \(\)"):
        StructuredSVM(TreeProblem(PARENTS)).fit(X, None)
    with pytest.raises(ValueError, match="expected at least one label, got 0"):
        MultilabelProblem(0)
    with pytest.raises(ValueError, match=r"expected one root, a parent that has none, got \['r', 's'\]"):
        TreeProblem({"a": "r", "b": "s"})
    with pytest.raises(ValueError, match="expected one root"):
        TreeProblem({"a": "b", "b": "a"})
    with pytest.raises(ValueError, match="the way up from 'a' comes back to 'b'; a tree has no circles"):
        TreeProblem({"a": "b", "b": "c", "c": "b", "z": "root"})
    with pytest.raises(ValueError, match=r"expected at least two leaves, got \['b'\]"):
        TreeProblem({"a": "root", "b": "a"})
