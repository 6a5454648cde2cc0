"""Gradients of the course's exercises, against what one finds with pencil and paper; and the README's first lines."""

from __future__ import annotations

import numpy as np

import gpunn
from gpunn import functional as F
from gpunn import nn, optim
from gpunn.checks import gradcheck


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape)


def test_reconstruction_error_of_an_autoencoder(device: str) -> None:
    """L = ||W'W x - x||^2: with e = W'Wx - x, dL/dW = 2 (W x e' + W e x') and dL/dx = 2 (W'W e - e)."""
    w, x = draw(2, 5), draw(5)
    weight = gpunn.tensor(w, device=device, requires_grad=True)
    vector = gpunn.tensor(x, device=device, requires_grad=True)

    def loss(weight: gpunn.Tensor, vector: gpunn.Tensor) -> gpunn.Tensor:
        error = weight.T @ (weight @ vector) - vector
        return (error**2).sum()

    loss(weight, vector).backward()
    e = w.T @ w @ x - x
    np.testing.assert_allclose(weight.grad.numpy(), 2 * (np.outer(w @ x, e) + np.outer(w @ e, x)), rtol=1e-12)
    np.testing.assert_allclose(vector.grad.numpy(), 2 * (w.T @ w @ e - e), rtol=1e-12)
    assert gradcheck(loss, (weight, vector))


def test_likelihood_of_a_gaussian_process(device: str) -> None:
    """K = a X X' + I / b. d log|K| / dX = 2 a K^-1 X; d tr(K^-1 Y Y') / dX = -2 a K^-1 Y Y' K^-1 X."""
    a, b = 0.7, 2.5
    x, y = draw(6, 3), draw(6, 2)
    points = gpunn.tensor(x, device=device, requires_grad=True)
    targets = gpunn.tensor(y, device=device)
    identity = gpunn.eye(6, dtype="float64", device=device)

    def kernel(points: gpunn.Tensor) -> gpunn.Tensor:
        return a * (points @ points.T) + identity / b

    k = a * x @ x.T + np.eye(6) / b
    inverse = np.linalg.inv(k)

    logdet = kernel(points).logdet()
    logdet.backward()
    np.testing.assert_allclose(logdet.item(), np.log(np.linalg.det(k)), rtol=1e-12)
    np.testing.assert_allclose(points.grad.numpy(), 2 * a * inverse @ x, rtol=1e-10)

    points.grad = None
    fit = (kernel(points).inverse() @ targets @ targets.T).trace()
    fit.backward()
    np.testing.assert_allclose(fit.item(), np.trace(inverse @ y @ y.T), rtol=1e-12)
    np.testing.assert_allclose(points.grad.numpy(), -2 * a * inverse @ y @ y.T @ inverse @ x, rtol=1e-10)

    assert gradcheck(lambda p: kernel(p).logdet(), points)
    assert gradcheck(lambda p: (kernel(p).inverse() @ targets @ targets.T).trace(), points)


def test_softmax_regression(device: str) -> None:
    """dL/dW = (p - t)' x / N for scores x W'."""
    x, w, labels = draw(7, 4), draw(3, 4), np.array([0, 2, 1, 1, 0, 2, 2])
    weight = gpunn.tensor(w, device=device, requires_grad=True)
    F.cross_entropy(F.linear(gpunn.tensor(x, device=device), weight), labels).backward()
    scores = np.exp(x @ w.T)
    p = scores / scores.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(weight.grad.numpy(), (p - np.eye(3)[labels]).T @ x / 7, rtol=1e-10)


def test_affine_layer_and_maximum(device: str) -> None:
    """f = max(x1, x2 * x3) + x1: at the branch taken, a derivative of 1 each."""
    x = gpunn.tensor([2.0, 3.0, -1.0], device=device, requires_grad=True)
    (F.maximum(x[0], x[1] * x[2]) + x[0]).backward()
    assert x.grad.tolist() == [2, 0, 0]


def test_a_first_network(device: str) -> None:
    """The lines with which the documentation begins, on small images."""
    gpunn.manual_seed(0)
    images = np.random.default_rng(0).normal(size=(8, 3, 8, 8)).astype(np.float32)
    labels = np.arange(8) % 10
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(16 * 4 * 4, 10),
    ).to(device)  # fmt: skip
    opt = optim.SGD(net.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    losses = []
    for _ in range(10):
        loss = F.cross_entropy(net(gpunn.tensor(images, device=device)), labels, label_smoothing=0.1)
        opt.zero_grad()
        loss.backward()
        opt.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
