"""A shared trunk with several heads: outputs by name, gradients that add up, and that a task helps another."""

from __future__ import annotations

import numpy as np
import pytest

import gpunn
from gpunn import functional as F
from gpunn import models, nn, optim


def network() -> models.MultiTask:
    heads = {"kind": nn.Linear(5, 3), "size": nn.Linear(5, 1)}
    return models.MultiTask(nn.Sequential(nn.Linear(4, 5), nn.Tanh()), heads)


def test_outputs_by_name(device: str) -> None:
    net = network().to(device)
    x = gpunn.randn(7, 4, device=device)
    out = net(x)
    assert list(out) == ["kind", "size"]
    features = net.trunk(x)
    np.testing.assert_array_equal(out["kind"].numpy(), net.heads.kind(features).numpy())
    np.testing.assert_array_equal(out["size"].numpy(), net.heads.size(features).numpy())
    assert {"trunk.0.weight", "heads.kind.weight", "heads.size.bias"} < set(net.state_dict())
    assert len(list(net.parameters())) == 6


def test_the_trunks_gradient_is_the_weighted_sum(device: str) -> None:
    net = network().double().to(device)
    x = gpunn.randn(7, 4, dtype="float64", device=device)
    kinds, sizes = np.arange(7) % 3, np.linspace(0, 1, 7).reshape(7, 1)

    def gradients(weights: tuple[float, float]) -> list[np.ndarray]:
        net.zero_grad()
        out = net(x)
        loss = weights[0] * F.cross_entropy(out["kind"], kinds) + weights[1] * F.mse_loss(out["size"], sizes)
        loss.backward()
        return [p.grad.numpy() for p in net.trunk.parameters()]

    for both, one, other in zip(gradients((1.0, 0.3)), gradients((1.0, 0.0)), gradients((0.0, 1.0)), strict=True):
        np.testing.assert_allclose(both, one + 0.3 * other, rtol=1e-12, atol=1e-15)
        assert np.abs(one).max() > 0
        assert np.abs(other).max() > 0


def test_a_head_hears_of_its_own_task_alone(device: str) -> None:
    net = network().to(device)
    F.cross_entropy(net(gpunn.randn(3, 4, device=device))["kind"], np.array([0, 1, 2])).backward()
    assert net.heads.kind.weight.grad is not None
    assert net.heads.size.weight.grad is None


@pytest.mark.parametrize("device", ["reference", "cpu"])
def test_a_task_with_many_examples_helps_one_with_few(device: str) -> None:
    """Both depend on one direction of the inputs, which the second task has too few examples to find."""
    numbers = np.random.default_rng(1)
    count, few, width = 400, 12, 20
    x = numbers.normal(size=(2 * count, width)).astype(np.float32)
    direction = numbers.normal(size=width)
    hidden = (x @ (direction / np.linalg.norm(direction))).astype(np.float32)
    many, rare = (2 * hidden + 1)[:, np.newaxis], (-hidden)[:, np.newaxis]

    def error(help_weight: float) -> float:
        gpunn.manual_seed(0)
        heads = {"many": nn.Linear(1, 1), "rare": nn.Linear(1, 1)}
        net = models.MultiTask(nn.Linear(width, 1, bias=False), heads).to(device)
        optimizer = optim.Adam(net.parameters(), lr=0.03)
        inputs = gpunn.tensor(x, device=device)
        for _ in range(250):
            optimizer.zero_grad()
            loss = F.mse_loss(net(inputs[:few])["rare"], rare[:few])
            if help_weight:
                loss = loss + help_weight * F.mse_loss(net(inputs[:count])["many"], many[:count])
            loss.backward()
            optimizer.step()
        with gpunn.no_grad():
            return F.mse_loss(net(inputs[count:])["rare"], rare[count:]).item()

    alone, helped = error(0.0), error(1.0)
    assert helped < 0.05
    assert alone > 5 * helped


def test_errors() -> None:
    with pytest.raises(ValueError, match="MultiTask: expected at least one head, got none"):
        models.MultiTask(nn.Linear(1, 1), {})
    for wrong in ([nn.Linear(1, 1)], {"class": 3}):
        with pytest.raises(TypeError, match="MultiTask: expected heads as a dict of names and modules, got"):
            models.MultiTask(nn.Linear(1, 1), wrong)  # type: ignore[arg-type]
