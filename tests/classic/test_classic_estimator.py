"""What all learners share: hyperparameters, checked inputs, scores; and that they compute on the device alone."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

import cupy_stand_in
import numpy as np
import pytest

import backends
import gpunn
from gpunn import classic
from gpunn.classic import (
    Classifier,
    Coin,
    Estimator,
    GaussianClassifier,
    KNeighborsClassifier,
    LeastSquares,
    PolynomialFeatures,
    PolynomialRegression,
    Regressor,
)

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(12, 2))
LABELS = np.array(["no", "yes"] * 6)
VALUES = X @ [1.0, -2.0] + 0.1 * RANDOM.normal(size=12)

LEARNERS: list[tuple[Callable[..., Any], Any]] = [
    (LeastSquares, VALUES),
    (PolynomialRegression, VALUES),
    (GaussianClassifier, LABELS),
    (KNeighborsClassifier, LABELS),
]
each_learner = pytest.mark.parametrize(("make", "y"), LEARNERS, ids=[make.__name__ for make, _ in LEARNERS])


def test_hyperparameters() -> None:
    learner = KNeighborsClassifier(3, metric="l1")
    assert learner.get_params() == {
        "n_neighbors": 3, "metric": "l1", "block_bytes": 1 << 25, "device": "cpu", "dtype": "float64",
    }  # fmt: skip
    assert learner.set_params(metric="linf") is learner and learner.metric == "linf"
    assert repr(learner) == "KNeighborsClassifier(n_neighbors=3, metric='linf')"
    assert repr(LeastSquares()) == "LeastSquares()"
    with pytest.raises(ValueError, match="LeastSquares has no hyperparameter 'alpha'; it has method, ridge"):
        LeastSquares().set_params(alpha=1.0)


def test_a_clone_has_learned_nothing() -> None:
    learner = GaussianClassifier(priors=[0.3, 0.7]).fit(X, LABELS)
    copy = learner.clone()
    assert copy.get_params() == learner.get_params()
    assert copy.priors is not learner.priors
    assert not hasattr(copy, "classes_")


@each_learner
def test_fit_returns_the_learner_and_repeats(make: Callable[..., Any], y: Any, device: str) -> None:
    learner = make(device=device)
    assert learner.fit(X, y) is learner
    assert learner.n_features_in_ == 2
    first = learner.predict(X)
    assert isinstance(first, np.ndarray) and first.shape == (12,)
    np.testing.assert_array_equal(learner.fit(X, y).predict(X), first)


@each_learner
def test_lists_and_tensors_are_taken_too(make: Callable[..., Any], y: Any, device: str) -> None:
    expected = make(device=device).fit(X, y).predict(X)
    np.testing.assert_array_equal(make(device=device).fit(X.tolist(), y.tolist()).predict(X.tolist()), expected)
    tensor = gpunn.tensor(X, device=device)
    np.testing.assert_array_equal(make(device=device).fit(tensor, y).predict(tensor), expected)
    if y is VALUES:
        learner = make(device=device).fit(tensor, gpunn.tensor(y, device=device))
        assert learner.score(tensor, gpunn.tensor(y, device=device)) == learner.score(X, y)


@each_learner
def test_the_inputs_are_left_as_they_were(make: Callable[..., Any], y: Any) -> None:
    before, y_before = X.copy(), y.copy()
    make().fit(X, y).predict(X)
    np.testing.assert_array_equal(X, before)
    np.testing.assert_array_equal(y, y_before)


@each_learner
def test_wrong_inputs(make: Callable[..., Any], y: Any) -> None:
    name = make.__name__
    with pytest.raises(RuntimeError, match=rf"{name} has learned nothing yet; call fit\(X, y\) first"):
        make().predict(X)
    for wrong in (X[:, 0], X[None], X[:0], X[:, :0]):
        with pytest.raises(ValueError, match=rf"{name}: expected X of shape \(n, d\), n and d at least 1, got"):
            make().fit(wrong, y[: len(wrong)])
    with pytest.raises(ValueError, match=rf"{name}: expected one y a row of X, got 12 rows and 11 of y"):
        make().fit(X, y[:-1])
    for wrong, error, message in [
        ([["a", "b"]] * len(y), ValueError, "could not convert string to float"),
        ([[1.0, 2.0], [3.0]], ValueError, "in lists of equal lengths"),
        (X * 1j, TypeError, "expected real numbers, got complex128"),
    ]:
        with pytest.raises(error, match=message) as caught:
            make().fit(wrong, y)
        assert "\n" not in str(caught.value)
    with pytest.raises(TypeError, match="unknown dtype 'decimal'; expected a name such as 'float32'"):
        make(dtype="decimal").fit(X, y)
    for bad in (np.nan, np.inf):
        spoiled = X.copy()
        spoiled[3, 1] = bad
        with pytest.raises(ValueError, match=f"{name}: X has NaN or infinite values; repair or remove those rows"):
            make().fit(spoiled, y)
    learner = make().fit(X, y)
    with pytest.raises(ValueError, match=rf"{name}: expected X of shape \(n, 2\) as in fit, got \(4, 3\)"):
        learner.predict(np.zeros((4, 3)))
    with pytest.raises(ValueError, match=f"{name}: expected dtype 'float32' or 'float64', got 'float16'"):
        make(dtype="float16").fit(X, y)
    with pytest.raises(backends.DeviceError, match="unknown device 'gpu'"):
        make(device="gpu").fit(X, y)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["no", "yes"], ["no", "yes"]),
        ([True, False], [False, True]),
        ([7, -3], [-3, 7]),
        ([2.0, 1.0], [1.0, 2.0]),
    ],
)
def test_labels_of_any_kind(labels: list[Any], classes: list[Any], device: str) -> None:
    learner = KNeighborsClassifier(1, device=device).fit([[0.0], [1.0]], labels)
    assert learner.classes_.tolist() == classes
    assert learner.predict([[0.1], [0.9]]).tolist() == labels
    assert learner.score([[0.1], [0.9], [0.8]], [*labels, labels[0]]) == pytest.approx(2 / 3)


def test_numbers_are_no_labels() -> None:
    for fractions in ([0.5, 1.0], [float("nan"), 1.0]):
        with pytest.raises(ValueError, match="expected labels, got fractions or NaN; a regressor learns numbers"):
            KNeighborsClassifier(1).fit([[0.0], [1.0]], fractions)
    with pytest.raises(ValueError, match="expected labels that can be sorted, got several kinds, or None"):
        KNeighborsClassifier(1).fit([[0.0], [1.0]], [None, 1])
    with pytest.raises(ValueError, match="expected an array, or lists of equal lengths"):
        KNeighborsClassifier(1).fit([[0.0], [1.0]], [[0], [1, 2]])
    with pytest.raises(ValueError, match=r"expected y of shape \(n,\), got \(2, 1\)"):
        KNeighborsClassifier(1).fit([[0.0], [1.0]], [[0], [1]])


class Fixed(Regressor):
    """Predicts what it is told."""

    def __init__(self, values: Any = ()) -> None:
        self.values = values

    def predict(self, X: Any) -> np.ndarray:
        return np.asarray(self.values, dtype=float)


def test_r_squared_by_hand() -> None:
    x = np.zeros((3, 1))
    assert Fixed([1, 2, 4]).score(x, [1, 2, 3]) == 1 - 1 / 2
    assert Fixed([2, 2, 2]).score(x, [1, 2, 3]) == 0
    assert Fixed([3, 2, 1]).score(x, [1, 2, 3]) == -3
    assert Fixed([5, 5, 5]).score(x, [5, 5, 5]) == 1
    assert Fixed([5, 5, 6]).score(x, [5, 5, 5]) == 0
    assert Fixed([[1, 3], [2, 2], [3, 1]]).score(x, [[1, 1], [2, 2], [3, 3]]) == (1 - 3) / 2
    with pytest.raises(ValueError, match=r"expected y of shape \(3,\), got \(2,\)"):
        Fixed([1, 2, 4]).score(x, [1, 2])
    with pytest.raises(ValueError, match="R\\^2 needs at least two rows, got 1"):
        Fixed([1]).score(x[:1], [1])


def test_r_squared_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    y, predicted = RANDOM.normal(size=(9, 3)), RANDOM.normal(size=(9, 3))
    expected = metrics.r2_score(y, predicted)
    np.testing.assert_allclose(Fixed(predicted).score(np.zeros((9, 1)), y), expected, rtol=1e-12)


def test_what_a_learner_must_say_itself() -> None:
    for kind in (Classifier, Regressor):
        with pytest.raises(NotImplementedError, match=f"{kind.__name__} does not say how it predicts"):
            kind().predict(X)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> str:
    """A device whose arrays refuse to be mixed with NumPy's, as CuPy's do."""
    monkeypatch.setitem(sys.modules, "cupy", cupy_stand_in.make())
    monkeypatch.setattr(backends, "_made", {name: be for name, be in backends._made.items() if ":" not in name})
    return "cuda:0"


@each_learner
def test_arrays_of_host_and_gpu_are_not_mixed(make: Callable[..., Any], y: Any, cuda: str) -> None:
    learner, expected = make(device=cuda).fit(X, y), make().fit(X, y)
    assert type(learner.predict(X)) is np.ndarray
    np.testing.assert_array_equal(learner.predict(X), expected.predict(X))
    assert learner.score(X, y) == expected.score(X, y)
    for name, value in vars(learner).items():
        if name.endswith("_") and isinstance(value, np.ndarray):
            assert type(value) is np.ndarray, name
    if isinstance(learner, Classifier):
        np.testing.assert_allclose(learner.predict_proba(X), expected.predict_proba(X), rtol=1e-12)


@pytest.mark.parametrize("metric", ["l1", "l2", "linf", "cosine"])
def test_neighbours_on_a_gpu(metric: str, cuda: str) -> None:
    options: dict[str, Any] = {"n_neighbors": 4, "metric": metric, "block_bytes": 2000}
    distances, rows = KNeighborsClassifier(device=cuda, **options).fit(X, LABELS).kneighbors(X)
    expected = KNeighborsClassifier(**options).fit(X, LABELS).kneighbors(X)
    np.testing.assert_array_equal(rows, expected[1])
    np.testing.assert_allclose(distances, expected[0], rtol=1e-12, atol=1e-15)


def test_other_learners_on_a_gpu(cuda: str) -> None:
    np.testing.assert_allclose(
        LeastSquares("normal_equations", ridge=0.1, device=cuda).fit(X, VALUES).coef_,
        LeastSquares("normal_equations", ridge=0.1).fit(X, VALUES).coef_,
        rtol=1e-12,
    )
    np.testing.assert_allclose(
        GaussianClassifier("shared", shrinkage=0.1, device=cuda).fit(X, LABELS).log_likelihood(X),
        GaussianClassifier("shared", shrinkage=0.1).fit(X, LABELS).log_likelihood(X),
        rtol=1e-12,
    )
    products = PolynomialFeatures(3, device=cuda).fit_transform(X)
    np.testing.assert_allclose(products, PolynomialFeatures(3).fit_transform(X), rtol=1e-12)
    assert Coin(device=cuda).fit([1, 0]).likelihood([0.5]).tolist() == [0.25]
    tensor = gpunn.tensor(X, device=cuda)
    assert KNeighborsClassifier(device=cuda).fit(tensor, LABELS).score(tensor, LABELS) > 0.5
    # The arrays of a GPU themselves are taken too.
    assert LeastSquares(device=cuda).fit(tensor.data, VALUES).score(tensor.data, VALUES) > 0.9


def test_the_public_is_documented() -> None:
    for name in classic.__all__:
        thing = getattr(classic, name)
        assert vars(thing).get("__doc__") if inspect.isclass(thing) else thing.__doc__, f"{name} has no docstring"
        if inspect.isclass(thing) and issubclass(thing, Estimator):
            for method, function in vars(thing).items():
                if not method.startswith("_") and inspect.isfunction(function) and method != "fit_transform":
                    assert function.__doc__, f"{name}.{method} has no docstring"
