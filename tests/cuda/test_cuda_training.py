"""Whole networks on the emulated CUDA device: three steps of training against the reference in float64, and equal masks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import backends
import gpunn
from gpunn import functional as F
from gpunn import models, nn, optim
from gpunn.tensor import Tensor

STEPS = 3


def small_alexnet() -> Any:
    """The one for 32x32 pixels, its hidden layers of 256 instead of 4,096: the same operations on 2.6 million parameters."""
    net = models.alexnet_cifar()
    dropout, wide, relu, *_ = net.classifier
    first = nn.Linear(wide.weight.shape[1], 256)
    net.classifier = nn.Sequential(
        dropout, first, relu, nn.Dropout(0.5), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)
    )
    return net


NETWORKS: dict[str, tuple[Callable[[], Any], tuple[int, ...]]] = {
    "mlp": (lambda: models.mlp(), (1, 28, 28)),
    "lenet5": (lambda: models.lenet5(), (1, 28, 28)),
    "alexnet": (small_alexnet, (3, 32, 32)),
    "vgg11_bn": (lambda: models.vgg11_bn(num_classes=10, image_size=32), (3, 32, 32)),
}


def train(build: Callable[[], Any], shape: tuple[int, ...], device: str, dtype: str) -> tuple[list[float], Any, Any]:
    """The losses of three steps, and the parameters before and after them, as one vector each in float64."""
    gpunn.manual_seed(0)
    net = build().to(device, dtype=dtype)
    backend = backends.get(device)
    images = np.random.default_rng(0).normal(size=(4, *shape))
    labels = np.arange(4) % 10
    optimizer = optim.SGD(net.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4)
    before = vector(net)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        x = Tensor(backend.asarray(images.astype("float32").astype(dtype)), backend)
        loss = F.cross_entropy(net(x), Tensor(backend.asarray(labels), backend), label_smoothing=0.1)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, before, vector(net)


def vector(net: Any) -> np.ndarray:
    return np.concatenate([p.numpy().astype(np.float64).reshape(-1) for p in net.parameters()])


@pytest.mark.parametrize("name", NETWORKS)
def test_three_steps(emulated: Any, name: str) -> None:
    """No further from float64 than the plain float32 code is: the same sums, rounded in another order.

    A rectifier whose input is almost 0 may fall either way, on any device; a factor of 4 covers it.
    """
    build, shape = NETWORKS[name]
    exact_losses, start, exact = train(build, shape, "reference", "float64")
    plain_losses, _, plain = train(build, shape, "reference", "float32")
    losses, _, found = train(build, shape, "cuda-emulated", "float32")
    moved = np.linalg.norm(exact - start)
    error, allowed = np.linalg.norm(found - exact) / moved, np.linalg.norm(plain - exact) / moved
    assert error <= 4 * allowed + 1e-6, f"{error:.2e} of the way, the plain code {allowed:.2e}"
    assert error < 1e-3
    budget = 4 * np.max(np.abs(np.subtract(plain_losses, exact_losses))) + 8 * np.finfo("float32").eps * exact_losses[0]
    np.testing.assert_allclose(losses, exact_losses, rtol=0, atol=budget)


@pytest.mark.parametrize("device", ["cpu", "cuda-emulated"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_the_same_masks_everywhere(emulated: Any, device: str, channels_last: bool) -> None:
    """Dropout of ones, bit for bit that of the reference, whatever the order of memory."""

    def masks(name: str) -> list[np.ndarray]:
        gpunn.manual_seed(11)
        backend = backends.get(name)
        ones = np.ones((3, 5, 4, 6), np.float32)
        found = []
        for p in (0.5, 0.1, 0.9):
            x = np.moveaxis(np.ascontiguousarray(np.moveaxis(ones, 1, -1)), -1, 1) if channels_last else ones
            layer = nn.Dropout(p)
            found.append(layer(Tensor(backend.asarray(x), backend)).numpy().copy())
        return found

    for mask, wanted in zip(masks(device), masks("reference"), strict=True):
        np.testing.assert_array_equal(mask, wanted)
