"""Dropout in its two forms, equal in the mean; noise on a layer's input; label smoothing by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpunn
from gpunn import functional as F
from gpunn import nn

P = 0.3


def test_the_two_forms_have_the_same_mask(device: str) -> None:
    x = gpunn.tensor(np.linspace(-2, 3, 600).reshape(20, 30), device=device)
    gpunn.manual_seed(4)
    inverted = nn.Dropout(P)(x).numpy()
    gpunn.manual_seed(4)
    plain = nn.Dropout(P, inverted=False)(x).numpy()
    kept = plain != 0
    assert 0.6 < kept.mean() < 0.8
    np.testing.assert_allclose(plain[kept], x.numpy()[kept], rtol=1e-15)
    np.testing.assert_allclose(inverted, plain / (1 - P), rtol=1e-15)


def test_outside_of_training(device: str) -> None:
    x = gpunn.tensor([[1.0, -2.0, 0.5]], device=device)
    assert nn.Dropout(P).eval()(x).tolist() == x.tolist()
    np.testing.assert_allclose(nn.Dropout(P, inverted=False).eval()(x).numpy(), [[0.7, -1.4, 0.35]], rtol=1e-6)


@pytest.mark.parametrize("inverted", [True, False])
def test_the_mean_over_masks_is_what_evaluation_computes(device: str, inverted: bool) -> None:
    """Of a linear layer's output, exactly; the mean over n masks is off by its standard deviation / sqrt(n)."""
    masks, width = 4000, 8
    layer = nn.Sequential(nn.Dropout(P, inverted=inverted), nn.Linear(width, 1)).to(device)
    x = np.linspace(-1, 2, width).astype(np.float32)
    outputs = layer(gpunn.tensor(np.tile(x, (masks, 1)), device=device)).numpy()[:, 0].astype(np.float64)
    expected = layer.eval()(gpunn.tensor(x[np.newaxis], device=device)).item()
    assert abs(outputs.mean() - expected) < 4 * outputs.std() / masks**0.5
    w = layer[1].weight.numpy()[0].astype(np.float64) * x
    variance = P / (1 - P) * (w**2).sum() * (1.0 if inverted else (1 - P) ** 2)
    assert outputs.var() == pytest.approx(variance, rel=0.15)


@pytest.mark.parametrize("inverted", [True, False])
def test_gradients(device: str, inverted: bool) -> None:
    x = gpunn.tensor(np.ones(50), device=device, requires_grad=True)
    out = F.dropout(x, P, inverted=inverted)
    out.sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), out.numpy(), rtol=1e-15)  # of x * mask * c at x = 1
    x.grad = None
    F.dropout(x, P, training=False, inverted=inverted).sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), np.full(50, 1.0 if inverted else 1 - P))


@pytest.mark.parametrize(("p", "inverted"), [(0.0, True), (0.0, False), (1.0, True), (1.0, False)])
def test_none_and_all(device: str, p: float, inverted: bool) -> None:
    x = gpunn.tensor([1.0, 2.0], device=device)
    assert F.dropout(x, p, inverted=inverted).tolist() == ([1.0, 2.0] if p == 0 else [0.0, 0.0])
    expected = [0.0, 0.0] if p == 1 and not inverted else [1.0, 2.0]
    assert F.dropout(x, p, training=False, inverted=inverted).tolist() == expected


def test_repr_names_the_form() -> None:
    assert repr(nn.Dropout(0.2)) == "Dropout(p=0.2, inplace=False)"
    assert repr(nn.Dropout(0.2, inverted=False)) == "Dropout(p=0.2, inplace=False, inverted=False)"
    assert repr(nn.GaussianNoise(0.2)) == "GaussianNoise(std=0.2)"


def test_gaussian_noise(device: str) -> None:
    x = gpunn.tensor(np.full((100, 200), 5.0), device=device)
    noise = nn.GaussianNoise(0.5)
    added = noise(x).numpy() - 5.0
    assert abs(added.mean()) < 4 * 0.5 / 20_000**0.5
    assert added.std() == pytest.approx(0.5, rel=0.02)
    assert not np.array_equal(noise(x).numpy() - 5.0, added)  # another draw
    gpunn.manual_seed(0)
    np.testing.assert_array_equal(noise(x).numpy() - 5.0, added)
    assert noise.eval()(x).tolist() == x.tolist()
    assert nn.GaussianNoise(0.0)(x).tolist() == x.tolist()


def test_gaussian_noise_is_the_same_on_every_device(device: str) -> None:
    for dtype in ("float32", "float64"):
        gpunn.manual_seed(1)
        here = nn.GaussianNoise(1.0)(gpunn.ones(3, 4, dtype=dtype, device=device))
        gpunn.manual_seed(1)
        reference = nn.GaussianNoise(1.0)(gpunn.ones(3, 4, dtype=dtype, device="reference"))
        assert here.dtype == dtype
        np.testing.assert_array_equal(here.numpy(), reference.numpy())


def test_gradient_through_noise(device: str) -> None:
    x = gpunn.tensor([1.0, 2.0], device=device, requires_grad=True)
    (3.0 * nn.GaussianNoise(2.0)(x)).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [3.0, 3.0]


def test_noise_on_the_inputs_is_an_l2_penalty(device: str) -> None:
    """mean (y - (x + e) w)^2 over e is (y - x w)^2 + std^2 w'w."""
    count, std = 20_000, 0.4
    x, w, y = np.array([0.5, -1.0]), np.array([2.0, 1.0]), 1.5
    noisy = nn.GaussianNoise(std)(gpunn.tensor(np.tile(x, (count, 1)), device=device))
    errors = ((y - noisy @ gpunn.tensor(w, device=device)) ** 2).numpy()
    weights = gpunn.tensor(w, device=device)
    expected = (y - x @ w) ** 2 + std**2 * 2 * F.l2_penalty(weights).item()
    assert abs(errors.mean() - expected) < 4 * errors.std() / count**0.5


def test_label_smoothing_by_hand(device: str) -> None:
    """The target of the right class is 1 - s + s/K, that of each other one s/K."""
    scores, s = np.array([2.0, 0.0, -1.0]), 0.3
    log_shares = scores - np.log(np.exp(scores).sum())
    target = np.array([s / 3, 1 - s + s / 3, s / 3])
    loss = F.cross_entropy(
        gpunn.tensor(scores[np.newaxis], device=device), gpunn.tensor([1], device=device), label_smoothing=s
    )
    assert loss.item() == pytest.approx(-(target * log_shares).sum(), rel=1e-12)


def test_smoothed_scores_stay_finite(device: str) -> None:
    """Without smoothing the loss falls for ever as the right score grows; with it there is a best score."""
    s, classes = 0.1, 4
    best = np.log((1 - s + s / classes) / (s / classes))  # where softmax is the smoothed target
    score = gpunn.tensor([[best, 0.0, 0.0, 0.0]], dtype="float64", device=device, requires_grad=True)
    F.cross_entropy(score, gpunn.tensor([0], device=device), label_smoothing=s).backward()
    assert score.grad is not None
    np.testing.assert_allclose(score.grad.numpy(), 0, atol=1e-15)


@pytest.mark.parametrize("wrong", [-0.1, float("nan"), float("inf"), "0.1", None])
def test_errors(wrong: Any) -> None:
    with pytest.raises(ValueError, match="GaussianNoise: expected a finite std >= 0, got"):
        nn.GaussianNoise(wrong)
    with pytest.raises(ValueError, match="Dropout: expected a probability 0 <= p <= 1, got"):
        nn.Dropout(wrong)
