"""Penalties on weights and activations: values and gradients by hand, and what L2 has to do with weight decay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpunn
from gpunn import functional as F
from gpunn import nn, optim

A, B = [[1.0, -2.0], [0.0, 3.0]], [0.5, -0.5]


def leaf(values: Any, device: str) -> gpunn.Tensor:
    return gpunn.tensor(values, dtype="float64", device=device, requires_grad=True)


def gradient(tensor: gpunn.Tensor) -> Any:
    assert tensor.grad is not None
    return tensor.grad.tolist()


def test_l2(device: str) -> None:
    a, b = leaf(A, device), leaf(B, device)
    loss = 3.0 * F.l2_penalty([a, b])
    loss.backward()
    assert loss.item() == 3.0 * (1 + 4 + 0 + 9 + 0.25 + 0.25) / 2
    assert gradient(a) == [[3.0, -6.0], [0.0, 9.0]]
    assert gradient(b) == [1.5, -1.5]
    assert F.l2_penalty(b).item() == 0.25


def test_l1(device: str) -> None:
    a, b = leaf(A, device), leaf(B, device)
    loss = 2.0 * F.l1_penalty(iter([a, b]))
    loss.backward()
    assert loss.item() == 2.0 * (6 + 1)
    assert gradient(a) == [[2.0, -2.0], [0.0, 2.0]]  # at 0 the subgradient is 0
    assert gradient(b) == [2.0, -2.0]


def test_distance(device: str) -> None:
    a, b = leaf(A, device), leaf(B, device)
    home = leaf([[1.0, 1.0], [1.0, 1.0]], device)
    loss = F.distance_penalty([a, b], [home, np.array([0.0, 0.5])])
    loss.backward()
    assert loss.item() == (0 + 9 + 1 + 4 + 0.25 + 1) / 2
    assert gradient(a) == [[0.0, -3.0], [-1.0, 2.0]]
    assert gradient(b) == [0.5, -1.0]
    assert home.grad is None  # what is given is not learned
    assert F.distance_penalty(b, [0.5, 0.5]).item() == 0.5


def test_tying_draws_both(device: str) -> None:
    a, b = leaf([1.0, 2.0], device), leaf([4.0, 0.0], device)
    loss = F.tying_penalty(a, b)
    loss.backward()
    assert loss.item() == (9 + 4) / 2
    assert gradient(a) == [-3.0, 2.0]
    assert gradient(b) == [3.0, -2.0]


def test_tied_weights_become_equal(device: str) -> None:
    a, b = leaf([1.0, 2.0], device), leaf([4.0, 0.0], device)
    optimizer = optim.SGD([a, b], lr=0.25)
    for _ in range(60):
        optimizer.zero_grad()
        F.tying_penalty(a, b).backward()
        optimizer.step()
    np.testing.assert_allclose(a.numpy(), [2.5, 1.0], rtol=1e-12)
    np.testing.assert_allclose(b.numpy(), [2.5, 1.0], rtol=1e-12)


def test_sparsity_is_of_one_example(device: str) -> None:
    hidden = leaf([[1.0, -2.0, 0.0], [0.5, 0.0, 4.0]], device)
    loss = F.sparsity_penalty(hidden)
    loss.backward()
    assert loss.item() == 7.5 / 2
    assert gradient(hidden) == [[0.5, -0.5, 0.0], [0.5, 0.0, 0.5]]
    maps = gpunn.tensor(np.ones((4, 2, 3, 3)), device=device)
    assert F.sparsity_penalty(maps).item() == 18


def test_sparsity_of_halves_is_summed_in_float32() -> None:
    pytest.importorskip("ml_dtypes")
    hidden = gpunn.ones(2, 70_000, dtype="float16")
    with gpunn.autocast("float16"):
        assert F.sparsity_penalty(hidden).item() == 70_000  # float16 ends at 65,504


def regression(device: str) -> tuple[gpunn.Tensor, gpunn.Tensor]:
    numbers = np.random.default_rng(3)
    x = numbers.normal(size=(20, 4))
    return gpunn.tensor(x, device=device), gpunn.tensor(x @ [1.0, -2.0, 0.5, 0.0] + 1, device=device)


def trained(device: str, make: Any, strength: float, steps: int = 12, **options: Any) -> np.ndarray:
    """Weights after some steps from the same start; ``strength`` is that of the penalty in the loss."""
    x, y = regression(device)
    w = leaf([1.0, 1.0, -1.0, 2.0], device)
    optimizer = make([w], lr=0.05, **options)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = F.mse_loss(x @ w, y)
        if strength:
            loss = loss + strength * F.l2_penalty(w)
        loss.backward()
        optimizer.step()
    return w.numpy()


@pytest.mark.parametrize("options", [{}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}])
def test_l2_is_weight_decay_under_sgd(device: str, options: dict[str, Any]) -> None:
    penalized = trained(device, optim.SGD, 0.1, **options)
    decayed = trained(device, optim.SGD, 0.0, weight_decay=0.1, **options)
    np.testing.assert_allclose(penalized, decayed, rtol=1e-12)
    assert not np.allclose(penalized, trained(device, optim.SGD, 0.0, **options), rtol=1e-3)


def test_l2_is_not_decoupled_weight_decay_under_adam(device: str) -> None:
    penalized = trained(device, optim.Adam, 0.1)
    np.testing.assert_allclose(penalized, trained(device, optim.Adam, 0.0, weight_decay=0.1), rtol=1e-12)
    assert not np.allclose(penalized, trained(device, optim.AdamW, 0.0, weight_decay=0.1), rtol=1e-3)


@pytest.mark.parametrize("strength", [0.01, 1.0, 100.0])
def test_one_step_of_adam_by_hand(device: str, strength: float) -> None:
    """With no other loss Adam's first step is lr whatever the strength; AdamW's takes lr * strength * w."""
    lr, w0 = 0.001, 4.0
    penalized, decayed, plain = leaf([w0], device), leaf([w0], device), leaf([w0], device)
    (strength * F.l2_penalty(penalized)).backward()
    optim.Adam([penalized], lr=lr, eps=1e-12).step()
    decayed.grad = gpunn.zeros(1, dtype="float64", device=device)
    optim.AdamW([decayed], lr=lr, weight_decay=strength).step()
    (strength * F.l2_penalty(plain)).backward()
    optim.SGD([plain], lr=lr).step()
    assert penalized.item() == pytest.approx(w0 - lr, rel=1e-9)
    assert decayed.item() == pytest.approx(w0 - lr * strength * w0, rel=1e-12)
    assert plain.item() == pytest.approx(decayed.item(), rel=1e-12)


def test_ridge_in_closed_form(device: str) -> None:
    """Descent on squared error with the penalty arrives where the normal equations say: (X'X + n/2 strength I) w = X'y."""
    x, y = regression(device)
    w = leaf(np.zeros(4), device)
    optimizer = optim.SGD([w], lr=0.2)
    for _ in range(800):
        optimizer.zero_grad()
        (F.mse_loss(x @ w, y) + 0.5 * F.l2_penalty(w)).backward()
        optimizer.step()
    X, Y = x.numpy(), y.numpy()
    np.testing.assert_allclose(w.numpy(), np.linalg.solve(X.T @ X + 20 / 2 * 0.5 * np.eye(4), X.T @ Y), rtol=1e-9)


def test_lasso_soft_thresholds(device: str) -> None:
    """1/2 (w - a)^2 + strength |w| is least at sign(a) max(|a| - strength, 0); L2 only shrinks, by 1 / (1 + strength)."""
    a = np.array([2.0, 0.3, -1.0, -0.1])
    ends = {}
    for penalty in (F.l1_penalty, F.l2_penalty):
        w = leaf(np.ones(4), device)
        optimizer = optim.SGD([w], lr=0.01)
        for _ in range(1500):
            optimizer.zero_grad()
            (F.distance_penalty(w, a) + 0.5 * penalty(w)).backward()
            optimizer.step()
        ends[penalty] = w.numpy()
    # The subgradient's steps around 0 are lr * strength wide.
    np.testing.assert_allclose(ends[F.l1_penalty], [1.5, 0.0, -0.5, 0.0], atol=0.011)
    np.testing.assert_allclose(ends[F.l2_penalty], a / 1.5, rtol=1e-5)


def test_of_a_network(device: str) -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).to(device)
    expected = sum(float((p.numpy().astype(np.float64) ** 2).sum()) for p in net.parameters()) / 2
    assert F.l2_penalty(net.parameters()).item() == pytest.approx(expected, rel=1e-6)
    start = [p.numpy().copy() for p in net.parameters()]
    assert F.distance_penalty(net.parameters(), start).item() == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda w: F.l2_penalty([]), "l2_penalty: expected at least one tensor, got none"),
        (lambda w: F.l1_penalty(iter([])), "l1_penalty: expected at least one tensor, got none"),
        (lambda w: F.distance_penalty([w], []), "expected a target for each of 1 tensors, got 0"),
        (lambda w: F.distance_penalty(w, [1.0]), r"distance_penalty: .* one shape, got \(2,\) and \(1,\)"),
        (lambda w: F.tying_penalty(w, w.reshape(2, 1)), r"tying_penalty: .* one shape, got \(2,\) and \(2, 1\)"),
        (lambda w: F.sparsity_penalty(w[:0]), r"n >= 1 examples, got shape \(0,\)"),
        (lambda w: F.sparsity_penalty(w.sum()), r"n >= 1 examples, got shape \(\)"),
    ],
)
def test_errors(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        call(gpunn.tensor([1.0, 2.0]))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrong", [3.0, "weights", np.ones(2), [np.ones(2)]], ids=repr)
@pytest.mark.parametrize("penalty", [F.l1_penalty, F.l2_penalty, lambda w: F.distance_penalty(w, [1.0])])
def test_only_tensors_are_penalized(penalty: Any, wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"penalty: expected Tensors, got .*; use gpunn\.tensor"):
        penalty(wrong)
    with pytest.raises(TypeError, match="tying_penalty: expected Tensors, got"):
        F.tying_penalty(gpunn.tensor([1.0]), wrong)
