"""Zero mean and scaling, principal components and whitening: by hand, by their definitions, and against scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest

import gpunn
from gpunn import data
from gpunn.data import PCA, Standardize, Whiten, preprocessing, principal_components


def cloud(n: int = 400, d: int = 5, seed: int = 0) -> np.ndarray:
    """Correlated features with means away from 0 and variances of several sizes."""
    random = np.random.default_rng(seed)
    return random.normal(size=(n, d)) * np.logspace(0, -2, d) @ random.normal(size=(d, d)) + np.arange(d)


def covariance(X: np.ndarray) -> np.ndarray:
    rows = X.reshape(len(X), -1)
    return np.cov(rows.T, bias=True).reshape(rows.shape[1], rows.shape[1])


def test_standardize_by_hand(device: str) -> None:
    X = np.array([[1, 10], [3, 10], [5, 40.0]])  # means 3 and 20; deviations sqrt(8/3) and sqrt(200)
    standardize = Standardize(device=device)
    Z = standardize.fit_transform(X)
    np.testing.assert_allclose(standardize.mean_, [3, 20], rtol=1e-15)
    np.testing.assert_allclose(standardize.scale_, [math.sqrt(8 / 3), math.sqrt(200)], rtol=1e-15)
    a, b = 1.5**0.5, 0.5**0.5
    np.testing.assert_allclose(Z, [[-a, -b], [0, -b], [a, 2 * b]], atol=1e-15)
    np.testing.assert_allclose(standardize.transform([[5, 20]]), [[a, 0]], atol=1e-15)
    np.testing.assert_allclose(standardize.inverse_transform(Z), X, rtol=1e-15)

    np.testing.assert_allclose(Standardize("largest", device).fit_transform(X), [[-1, -0.5], [0, -0.5], [1, 1]])
    below = [[0.0], [3.0], [3.0]]  # the mean 2 is farther from the smallest
    np.testing.assert_allclose(Standardize("largest", device).fit_transform(below), [[-1], [0.5], [0.5]])
    np.testing.assert_allclose(Standardize("none", device).fit_transform(X), [[-2, -10], [0, -10], [2, 20]])


@pytest.mark.parametrize("scale", ["deviation", "largest", "none"])
def test_a_feature_that_never_varies_becomes_zero(scale: preprocessing.Scale, device: str) -> None:
    X = cloud(1000)
    X[:, 2] = 0.1  # of which the sum, and so the mean, is rounded
    Z = Standardize(scale, device).fit_transform(X)
    assert (Z[:, 2] == 0).all()
    assert np.isfinite(Z).all()


def test_principal_components_by_hand(device: str) -> None:
    """The corners of a rectangle with sides 6 and 2, turned by 45 degrees: C has eigenvalues 9 and 1 along the sides."""
    long, short = np.array([1, 1]) / math.sqrt(2), np.array([1, -1]) / math.sqrt(2)
    X = np.array([7, 5]) + np.array([a * long + b * short for a in (3, -3) for b in (1, -1)])
    pca = PCA(device=device).fit(X)
    np.testing.assert_allclose(pca.mean_, [7, 5], rtol=1e-14)
    np.testing.assert_allclose(pca.variances_, [9, 1], rtol=1e-14)
    np.testing.assert_allclose(pca.share_, [0.9, 0.1], rtol=1e-14)
    np.testing.assert_allclose(pca.components_[0], long, rtol=1e-14)
    np.testing.assert_allclose(np.abs(pca.transform(X)), [[3, 1]] * 4, rtol=1e-13)
    # Onto the long side alone: what is lost is the other eigenvalue.
    flat = PCA(1, device).fit(X)
    assert np.square(X - flat.inverse_transform(flat.transform(X))).sum() / 4 == pytest.approx(1)
    # Whitened, the rectangle is the square of corners (+-1, +-1); turned back, its sides are again along the diagonals.
    np.testing.assert_allclose(np.abs(Whiten("pca", 0, device=device).fit_transform(X)), np.ones((4, 2)), rtol=1e-13)
    whitened = Whiten("zca", 0, device=device).fit_transform(X)
    np.testing.assert_allclose(whitened, [long + short, long - short, short - long, -long - short], atol=1e-13)


def test_what_principal_components_promise(device: str) -> None:
    X = cloud()
    pca = PCA(device=device).fit(X)
    C = covariance(X)
    np.testing.assert_allclose(pca.components_ @ pca.components_.T, np.eye(5), atol=1e-13)
    np.testing.assert_allclose(pca.components_ @ C @ pca.components_.T, np.diag(pca.variances_), atol=1e-13)
    assert (np.diff(pca.variances_) < 0).all()
    assert (np.take_along_axis(pca.components_, np.abs(pca.components_).argmax(axis=1)[:, None], axis=1) > 0).all()
    assert pca.share_.sum() == pytest.approx(1)
    for k in (1, 2, 4):
        some = PCA(k, device).fit(X)
        Z = some.transform(X)
        assert Z.shape == (400, k)
        lost = np.square(X - some.inverse_transform(Z)).sum() / 400
        assert lost == pytest.approx(pca.variances_[k:].sum(), rel=1e-9)
    for share, k in ((pca.share_[0] - 1e-9, 1), (pca.share_[0] + 1e-9, 2), (1.0, 5)):
        assert len(PCA(float(share), device).fit(X).components_) == k


@pytest.mark.parametrize("method", ["pca", "zca"])
def test_what_whitening_promises(method: principal_components.Method, device: str) -> None:
    X = cloud()
    whiten = Whiten(method, epsilon=0, device=device)
    Z = whiten.fit_transform(X)
    np.testing.assert_allclose(Z.mean(axis=0), 0, atol=1e-11)
    np.testing.assert_allclose(covariance(Z), np.eye(5), atol=1e-10)
    np.testing.assert_allclose(whiten.inverse_transform(Z), X, rtol=1e-10)
    damped = Whiten(method, epsilon=0.01, device=device).fit(X)
    expected = damped.variances_ / (damped.variances_ + 0.01)
    np.testing.assert_allclose(np.linalg.eigvalsh(covariance(damped.transform(X)))[::-1], expected, rtol=1e-9)


def test_zca_changes_the_data_least_of_all_whitenings(device: str) -> None:
    X = cloud()
    centered = X - X.mean(axis=0)
    Z = Whiten("zca", 0, device=device).fit_transform(X)
    C = covariance(X)
    W = np.linalg.inv(np.linalg.cholesky(C))
    others = [centered @ W.T, Whiten("pca", 0, device=device).fit_transform(X)]
    assert all(np.square(Z - centered).sum() < np.square(other - centered).sum() for other in others)
    # Its matrix is the inverse of the covariance's symmetric root.
    root = np.linalg.lstsq(centered, Z, rcond=None)[0]
    np.testing.assert_allclose(root, root.T, atol=1e-9)
    np.testing.assert_allclose(root @ C @ root, np.eye(5), atol=1e-10)


def test_fewer_examples_than_features(device: str) -> None:
    """Four examples span three directions; in the others nothing varies, and epsilon keeps them at 0."""
    X = cloud(4, 12)
    pca = PCA(device=device).fit(X)
    assert (pca.variances_ >= 0).all()
    assert (pca.variances_ > 1e-12).sum() == 3
    Z = Whiten("zca", 1e-3, device=device).fit_transform(X)
    np.testing.assert_allclose(np.linalg.eigvalsh(covariance(Z))[:9], 0, atol=1e-12)


def test_nothing_is_learned_from_other_data(device: str) -> None:
    train, test = cloud(seed=1), cloud(seed=2) + 3
    for method in (Standardize(device=device), PCA(3, device), Whiten("zca", device=device)):
        method.fit(train)
        alone = np.concatenate([method.transform(row[None]) for row in test])
        np.testing.assert_allclose(method.transform(test), alone, rtol=1e-10)


def test_images_and_tensors(device: str) -> None:
    images = np.random.default_rng(0).integers(0, 256, (30, 2, 3, 2)).astype(np.uint8)
    for method, shape in (
        (Standardize(device=device), (30, 2, 3, 2)),
        (PCA(4, device), (30, 4)),
        (Whiten("zca", 1.0, device=device), (30, 2, 3, 2)),
        (Whiten("pca", 1.0, device=device), (30, 12)),
    ):
        Z = method.fit_transform(images)
        assert Z.shape == shape
        assert method.inverse_transform(Z).shape == images.shape
        flat = type(method)(**{k: v for k, v in vars(method).items() if not k.endswith("_")})
        np.testing.assert_allclose(flat.fit_transform(images.reshape(30, -1)), Z.reshape(30, -1), rtol=1e-12)
        given = gpunn.tensor(images.astype(np.float64), device=device)
        np.testing.assert_array_equal(method.transform(given), Z)
        assert method.transform(images[:0]).shape == (0, *shape[1:])


def test_blocks_change_nothing_but_the_memory(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    X = cloud()
    methods = [Standardize("largest", device), PCA(3, device), Whiten("zca", device=device)]
    whole = [method.fit_transform(X) for method in methods]
    monkeypatch.setattr(preprocessing, "BLOCK", 5 * 7)
    for method, expected in zip(methods, whole, strict=True):
        np.testing.assert_allclose(method.fit_transform(X), expected, rtol=1e-7, atol=1e-9)


def test_as_a_transform_of_the_loader(device: str) -> None:
    images = np.random.default_rng(0).integers(0, 256, (50, 1, 4, 4)).astype(np.uint8)
    whiten = Whiten("zca", 10.0, device=device).fit(images)
    loader = data.DataLoader(data.Dataset(images, np.zeros(50, int), ["a"]), 20, transforms=[whiten])
    batches = [batch for batch, _ in loader]
    assert {batch.dtype.name for batch in batches} == {"float32"}
    np.testing.assert_allclose(np.concatenate(batches), whiten.transform(images), rtol=1e-5, atol=1e-6)
    assert whiten(images, 0, 0, 0).dtype == np.float32


def test_dtype_is_that_of_the_results() -> None:
    X = cloud()
    for method in (Standardize, PCA, Whiten):
        exact, single = method(), method(dtype="float32")
        Z = single.fit_transform(X)
        assert Z.dtype == np.float32 and single.mean_.dtype == np.float64
        np.testing.assert_array_equal(Z, exact.fit_transform(X).astype(np.float32))


def test_against_scikit_learn(device: str) -> None:
    decomposition = pytest.importorskip("sklearn.decomposition")
    scaling = pytest.importorskip("sklearn.preprocessing")
    digits = pytest.importorskip("sklearn.datasets").load_digits().data
    train, test = digits[:1000], digits[1000:]
    expected = scaling.StandardScaler().fit(train)
    np.testing.assert_allclose(
        Standardize(device=device).fit(train).transform(test), expected.transform(test), rtol=1e-11
    )

    ours, theirs = PCA(20, device).fit(train), decomposition.PCA(20, svd_solver="full").fit(train)
    n = len(train)
    np.testing.assert_allclose(ours.variances_, theirs.explained_variance_ * (n - 1) / n, rtol=1e-10)
    np.testing.assert_allclose(ours.share_, theirs.explained_variance_ratio_, rtol=1e-10)
    signs = np.sign((ours.components_ * theirs.components_).sum(axis=1))
    np.testing.assert_allclose(ours.components_, theirs.components_ * signs[:, None], atol=1e-9)
    np.testing.assert_allclose(ours.transform(test), theirs.transform(test) * signs, atol=1e-8)

    whiten = decomposition.PCA(20, svd_solver="full", whiten=True).fit(train)
    factor = signs * math.sqrt(n / (n - 1))
    np.testing.assert_allclose(
        Whiten("pca", 0, 20, device).fit(train).transform(test), whiten.transform(test) * factor, atol=1e-8
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Standardize("variance"), "Standardize: expected scale to be one of deviation, largest, none, got 'variance'"),
        (lambda: PCA(0), "PCA: expected components to be an integer >= 1, a share in (0, 1] or None, got 0"),
        (lambda: Whiten(components=1.5), "Whiten: expected components to be an integer >= 1, a share in (0, 1] or None, got 1.5"),
        (lambda: PCA("mle"), "PCA: expected components to be an integer >= 1, a share in (0, 1] or None, got 'mle'"),
        (lambda: Whiten(epsilon="small"), "Whiten: expected epsilon >= 0, got 'small'"),
        (lambda: Standardize().fit([["a", "b"]]), "expected real numbers, got <U1"),
        (lambda: Standardize().fit([[1j, 2j]]), "expected real numbers, got complex128"),
        (lambda: Standardize().fit([[1.0, 2.0], [3.0]]), "expected an array, or lists of equal lengths"),
        (lambda: Standardize(dtype="int64").fit(cloud()), "expected a floating dtype for the results"),
        (lambda: PCA(True), "PCA: expected components to be an integer >= 1"),
        (lambda: Whiten("svd"), "Whiten: expected method to be one of pca, zca, got 'svd'"),
        (lambda: Whiten(epsilon=-1.0), "Whiten: expected epsilon >= 0, got -1.0"),
        (lambda: PCA(6).fit(cloud()), "expected components of at most 5, the number of features"),
        (lambda: PCA().fit(np.zeros(3)), "expected X of shape (n, d) or (n, ...), none of them 0, got (3,)"),
        (lambda: PCA().fit(np.zeros((0, 3))), "none of them 0, got (0, 3)"),
        (lambda: Standardize().fit([[1.0], [math.nan]]), "X has a NaN or infinite value; repair or remove its rows"),
        (lambda: Standardize().fit(cloud()).transform(np.zeros((2, 4))), "expected shape (n, 5), got (2, 4)"),
        (lambda: PCA(2).fit(cloud()).inverse_transform(np.zeros((2, 5))), "expected shape (n, 2), got (2, 5)"),
        (lambda: Whiten(epsilon=0).fit(np.ones((4, 2))), "the data do not vary in every direction; expected epsilon > 0"),
    ],
)  # fmt: skip
def test_wrong_use_is_one_line(call, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        call()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", [Standardize(), PCA(), Whiten("zca")], ids=repr)
def test_fit_comes_first(method: preprocessing.Preprocessing) -> None:
    for use in (method.transform, method.inverse_transform):
        with pytest.raises(RuntimeError, match=r"has learned nothing yet; call fit\(training data\) first"):
            use(cloud())


def test_repr_says_the_options() -> None:
    assert repr(PCA(3).fit(cloud())) == "PCA(components=3, device='cpu', dtype='float64')"
