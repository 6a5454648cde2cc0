"""The course's losses against numbers worked out by hand, their order, and the bounds of log-sum-exp."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gpunn
from gpunn import functional as F
from gpunn import nn

DEVICES = ("reference", "cpu")

# name: (loss, its module, prediction, target, the losses worked out by hand)
SCORES = [[2.0, 1.0, 0.0], [0.0, 0.0, 0.0], [1.0, 3.0, 2.5]]
LABELS = np.array([0, 2, 1])
E = math.e
OF_CLASSES: dict[str, tuple[Any, nn.Module, Any, Any, list[float]]] = {
    "cross-entropy": (
        F.cross_entropy, nn.CrossEntropyLoss(reduction="none"), SCORES, LABELS,
        # -log of e^2 / (e^2 + e + 1); of 1/3; of e^3 / (e + e^3 + e^2.5)
        [math.log(1 + 1 / E + 1 / E**2), math.log(3), math.log(1 + E**-2 + E**-0.5)],
    ),
    "negative log-likelihood": (
        F.nll_loss, nn.NLLLoss(reduction="none"), np.log([[0.5, 0.25, 0.25], [0.2, 0.3, 0.5], [0.9, 0.05, 0.05]]), LABELS,
        [math.log(2), math.log(2), math.log(20)],
    ),
    "sum of hinges": (  # divided by the number of classes, as PyTorch does
        F.multi_margin_loss, nn.MultiMarginLoss(reduction="none"), SCORES, LABELS,
        [0.0, (1 + 1) / 3, 0.5 / 3],
    ),
    "crammer and singer": (
        F.crammer_singer_loss, nn.CrammerSingerLoss(reduction="none"), SCORES, LABELS,
        [0.0, 1.0, 0.5],
    ),
}  # fmt: skip
OF_VALUES: dict[str, tuple[Any, nn.Module, Any, Any, list[float]]] = {
    "squared error": (F.mse_loss, nn.MSELoss(reduction="none"), [1.0, -2.0, 0.5], [3.0, -2.0, 0.0], [4.0, 0.0, 0.25]),
    "absolute error": (F.l1_loss, nn.L1Loss(reduction="none"), [1.0, -2.0, 0.5], [3.0, -2.0, 0.0], [2.0, 0.0, 0.5]),
    "binary cross-entropy": (
        F.binary_cross_entropy, nn.BCELoss(reduction="none"), [0.25, 0.25, 0.5], [1.0, 0.0, 0.5],
        [math.log(4), math.log(4 / 3), math.log(2)],
    ),
    "binary cross-entropy of logits": (  # sigmoid(-log 3) = 1/4
        F.binary_cross_entropy_with_logits, nn.BCEWithLogitsLoss(reduction="none"),
        [-math.log(3), -math.log(3), 0.0], [1.0, 0.0, 0.5], [math.log(4), math.log(4 / 3), math.log(2)],
    ),
}  # fmt: skip
# Margins -2, -1, 0, 1/2, 1, 2, once with each sign of the target.
MARGINS = np.array([-2.0, -1.0, 0.0, 0.5, 1.0, 2.0])
SIGNS = np.array([1.0, -1.0, 1.0, -1.0, 1.0, -1.0])
OF_SIGNS: dict[str, tuple[Callable[..., Any], nn.Module, list[float]]] = {
    "hinge": (F.hinge_loss, nn.HingeLoss(reduction="none"), [3.0, 2.0, 1.0, 0.5, 0.0, 0.0]),
    "squared hinge": (F.squared_hinge_loss, nn.SquaredHingeLoss(reduction="none"), [9.0, 4.0, 1.0, 0.25, 0.0, 0.0]),
    "modified Huber": (F.modified_huber_loss, nn.ModifiedHuberLoss(reduction="none"), [8.0, 4.0, 1.0, 0.25, 0.0, 0.0]),
    "exponential": (F.exponential_loss, nn.ExponentialLoss(reduction="none"), [E**2, E, 1.0, E**-0.5, 1 / E, E**-2]),
    "sigmoid": (
        F.sigmoid_loss, nn.SigmoidLoss(reduction="none"),
        [1 / (1 + E**-2), 1 / (1 + 1 / E), 0.5, 1 / (1 + E**0.5), 1 / (1 + E), 1 / (1 + E**2)],
    ),
    "logistic": (
        F.soft_margin_loss, nn.SoftMarginLoss(reduction="none"),
        [math.log(1 + E**2), math.log(1 + E), math.log(2), math.log(1 + E**-0.5), math.log(1 + 1 / E), math.log(1 + E**-2)],
    ),
    "logistic, base 2": (
        F.logistic_loss, nn.LogisticLoss(reduction="none"),
        [math.log2(1 + E**2), math.log2(1 + E), 1.0, math.log2(1 + E**-0.5), math.log2(1 + 1 / E), math.log2(1 + E**-2)],
    ),
}  # fmt: skip
# The derivative by the margin where there is one; at a corner any number between those beside it is a subgradient.
SLOPES: dict[str, list[tuple[float, float]]] = {
    "hinge": [(-1, -1), (-1, -1), (-1, -1), (-1, -1), (-1, 0), (0, 0)],
    "squared hinge": [(-6, -6), (-4, -4), (-2, -2), (-1, -1), (0, 0), (0, 0)],
    "modified Huber": [(-4, -4), (-4, -4), (-2, -2), (-1, -1), (0, 0), (0, 0)],
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", [*OF_CLASSES, *OF_VALUES])
def test_by_hand(device: str, name: str) -> None:
    loss, module, prediction, target, expected = (OF_CLASSES | OF_VALUES)[name]
    x = gpunn.tensor(prediction, dtype="float64", device=device)
    target = np.asarray(target)
    np.testing.assert_allclose(loss(x, target, reduction="none").numpy(), expected, rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(module(x, target).numpy(), expected, rtol=1e-14, atol=1e-15)
    assert loss(x, target).item() == pytest.approx(np.mean(expected), rel=1e-14)
    assert loss(x, target, reduction="sum").item() == pytest.approx(np.sum(expected), rel=1e-14)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", OF_SIGNS)
def test_of_margins_by_hand(device: str, name: str) -> None:
    loss, module, expected = OF_SIGNS[name]
    scores = gpunn.tensor(MARGINS * SIGNS, dtype="float64", device=device, requires_grad=True)
    losses = loss(scores, SIGNS, reduction="none")
    np.testing.assert_allclose(losses.numpy(), expected, rtol=1e-14)
    np.testing.assert_array_equal(module(scores, SIGNS).numpy(), losses.numpy())
    losses.sum().backward()
    assert scores.grad is not None
    slopes = scores.grad.numpy() * SIGNS
    for found, (low, high) in zip(slopes, SLOPES.get(name, []), strict=name in SLOPES):
        assert low <= found <= high


@pytest.mark.parametrize("device", DEVICES)
def test_the_convex_losses_lie_above_the_count_of_mistakes(device: str) -> None:
    """All but the sigmoid loss, and the logistic loss in bits; in nats it is only log 2 at 0."""
    margins = np.linspace(-3, 3, 601)
    mistakes = (margins <= 0).astype(float)
    x, signs = gpunn.tensor(margins, device=device), np.ones_like(margins)
    for name, (loss, _, _) in OF_SIGNS.items():
        above = (loss(x, signs, reduction="none").numpy() >= mistakes - 1e-12).all()
        assert above == (name not in ("sigmoid", "logistic")), name


@pytest.mark.parametrize("device", DEVICES)
def test_logistic_loss_in_several_units(device: str) -> None:
    x = gpunn.tensor(MARGINS, dtype="float64", device=device)
    ones = np.ones_like(MARGINS)
    nats = F.soft_margin_loss(x, ones, reduction="none").numpy()
    for base in (2.0, E, 10.0):
        found = F.logistic_loss(x, ones, base=base, reduction="none").numpy()
        np.testing.assert_allclose(found, nats / math.log(base), rtol=1e-14)
        np.testing.assert_allclose(nn.LogisticLoss(base, reduction="none")(x, ones).numpy(), found, rtol=1e-14)
    for base in (1.0, 0.5, math.nan):
        with pytest.raises(ValueError, match="logistic_loss: expected base > 1"):
            F.logistic_loss(x, ones, base=base)


@pytest.mark.parametrize("device", DEVICES)
def test_cross_entropy_is_binary_cross_entropy_of_two_classes(device: str) -> None:
    """softmax of (0, x) is the sigmoid of x; and of signs, the logistic loss."""
    scores, labels = np.array([-1.5, 0.0, 0.3, 4.0]), np.array([0, 1, 1, 0])
    x = gpunn.tensor(scores, device=device)
    two = F.cross_entropy(gpunn.tensor(np.stack([0 * scores, scores], axis=1), device=device), labels, reduction="none")
    one = F.binary_cross_entropy_with_logits(x, labels.astype(float), reduction="none")
    signs = F.soft_margin_loss(x, 2.0 * labels - 1, reduction="none")
    np.testing.assert_allclose(two.numpy(), one.numpy(), rtol=1e-13)
    np.testing.assert_allclose(two.numpy(), signs.numpy(), rtol=1e-13)


@pytest.mark.parametrize("device", DEVICES)
def test_of_two_classes_both_multiclass_hinges_are_the_hinge(device: str) -> None:
    scores, labels = np.array([[0.2, 0.9], [1.0, -3.0], [0.0, 0.5]]), np.array([1, 1, 0])
    x = gpunn.tensor(scores, device=device)
    hinge = F.hinge_loss(x[:, 1] - x[:, 0], 2.0 * labels - 1, reduction="none").numpy()
    np.testing.assert_allclose(F.crammer_singer_loss(x, labels, reduction="none").numpy(), hinge, rtol=1e-13)
    np.testing.assert_allclose(2 * F.multi_margin_loss(x, labels, reduction="none").numpy(), hinge, rtol=1e-13)


@pytest.mark.parametrize("device", DEVICES)
def test_subgradient_of_the_worst_rival(device: str) -> None:
    """One rival only is pushed down, the first of those that tie; the right class is pushed up as much."""
    scores = [[0.0, 0.5, 0.5], [5.0, 0.0, 0.0]]
    x = gpunn.tensor(scores, dtype="float64", device=device, requires_grad=True)
    F.crammer_singer_loss(x, np.array([0, 0]), reduction="sum").backward()
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.numpy(), [[-1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])


@pytest.mark.parametrize("device", DEVICES)
def test_the_bounds_of_log_sum_exp(device: str) -> None:
    """max <= logsumexp <= max + log n: below reached by one number, above by equal ones, to which the gap always lies."""
    rng = np.random.default_rng(0)
    for count in (1, 2, 7, 100):
        for scale in (0.01, 1.0, 1000.0):
            values = rng.normal(scale=scale, size=(50, count))
            found = F.logsumexp(gpunn.tensor(values, device=device), 1).numpy()
            peak = values.max(axis=1)
            assert (found >= peak).all()
            assert (found <= peak + math.log(count) + 1e-12 * np.abs(peak)).all()
        equal = gpunn.tensor(np.full(count, 3.5), device=device)
        assert equal.logsumexp(0).item() == pytest.approx(3.5 + math.log(count), rel=1e-15)
    assert F.logsumexp(gpunn.tensor([[1000.0, 1000.0]], device=device), 1, keepdim=True).shape == (1, 1)


@pytest.mark.parametrize("device", DEVICES)
def test_the_gradient_of_log_sum_exp_is_softmax(device: str) -> None:
    x = gpunn.tensor([[0.5, -1.0, 2.0], [3.0, 3.0, 3.0]], dtype="float64", device=device, requires_grad=True)
    F.logsumexp(x, 1).sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), F.softmax(x, 1).numpy(), rtol=1e-14)
    np.testing.assert_allclose(x.grad.numpy()[1], [1 / 3] * 3, rtol=1e-15)


@pytest.mark.parametrize("device", DEVICES)
def test_log_sum_exp_by_hand(device: str) -> None:
    """Of 0 and ln 3 it is ln 4; the gradient is 1/4 and 3/4."""
    x = gpunn.tensor([0.0, math.log(3)], dtype="float64", device=device, requires_grad=True)
    value = x.logsumexp(0)
    value.backward()
    assert x.grad is not None
    np.testing.assert_allclose([value.item(), *x.grad.numpy()], [math.log(4), 0.25, 0.75], rtol=1e-15)


def test_predictions_are_tensors() -> None:
    with pytest.raises(TypeError, match=r"hinge_loss: expected input to be a Tensor, got ndarray; use gpunn\.tensor"):
        F.hinge_loss(np.ones(2), np.ones(2))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="logistic_loss: expected base > 1, got 'e'"):
        F.logistic_loss(gpunn.tensor([1.0]), gpunn.tensor([1.0]), base="e")  # type: ignore[arg-type]


def test_log_sum_exp_beside_scipy() -> None:
    special = pytest.importorskip("scipy.special")
    x = np.random.default_rng(1).normal(scale=50, size=(4, 5, 6))
    for dim in (0, 1, -1, (0, 2), None):
        np.testing.assert_allclose(
            F.logsumexp(gpunn.tensor(x), dim).numpy(), special.logsumexp(x, axis=dim), rtol=1e-14
        )
