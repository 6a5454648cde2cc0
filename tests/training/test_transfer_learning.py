"""Transfer learning: what is frozen stays as it is, a new head learns, and fine-tuning changes all of it."""

from __future__ import annotations

import numpy as np

import gpunn
from gpunn import nn, optim
from gpunn.training import Trainer


def network(classes: int) -> nn.Sequential:
    body = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU())
    return nn.Sequential(body, nn.Linear(8, classes))


def batches(classes: int, count: int = 4) -> list[tuple[np.ndarray, np.ndarray]]:
    numbers = np.random.default_rng(classes)
    inputs = numbers.normal(size=(count, 20, 6)).astype(np.float32)
    return [(x, np.argmax(x[:, :classes], axis=1)) for x in inputs]


def fit(net: nn.Module, classes: int, epochs: int = 3, lr: float = 0.01) -> None:
    trainable = [parameter for parameter in net.parameters() if parameter.requires_grad]
    trainer = Trainer(net, nn.CrossEntropyLoss(), optim.Adam(trainable, lr=lr), progress="none")
    trainer.fit(batches(classes), epochs=epochs)


def weights(module: nn.Module) -> list[np.ndarray]:
    return [parameter.numpy().copy() for parameter in module.parameters()]


def changed(module: nn.Module, before: list[np.ndarray]) -> list[bool]:
    return [not np.array_equal(now, then) for now, then in zip(weights(module), before, strict=True)]


def test_freeze_and_fine_tune(device: str) -> None:
    net = network(3).to(device)
    fit(net, 3)
    body, body_before = net[0], weights(net[0])
    body.requires_grad_(False)
    net[1] = nn.Linear(8, 5).to(device)
    head_before = weights(net[1])
    fit(net, 5)
    assert not any(changed(body, body_before))
    assert all(changed(net[1], head_before))

    body.requires_grad_(True)
    head_before = weights(net[1])
    fit(net, 5, lr=1e-3)
    assert all(changed(body, body_before))
    assert all(changed(net[1], head_before))


def test_frozen_layers_pass_gradients_on(device: str) -> None:
    """To what lies before them: a frozen layer is a constant function, not a wall."""
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)).to(device)
    net[2].requires_grad_(False)
    net(gpunn.randn(3, 4, device=device)).sum().backward()
    assert net[0].weight.grad is not None
    assert net[2].weight.grad is None


def test_batch_statistics_are_no_parameters(device: str) -> None:
    """To freeze them too, put the layers into evaluation mode."""
    net = network(3).to(device)
    body = net[0].requires_grad_(False)
    norm = body[1]
    before = norm.running_mean.numpy().copy()
    x = gpunn.randn(10, 6, device=device)
    body.eval()(x)
    np.testing.assert_array_equal(norm.running_mean.numpy(), before)
    body.train()(x)
    assert not np.array_equal(norm.running_mean.numpy(), before)
