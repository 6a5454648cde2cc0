"""What the course says about activations: each with its derivative, the softmax's Jacobian, and what goes wrong with them."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

import gpunn
from gpunn import functional as F
from gpunn import nn, optim
from gpunn.checks import gradcheck

X = np.array([-30.0, -3.0, -1.0, -0.25, 0.0, 0.25, 1.0, 3.0, 30.0])


def sigma(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


# Function, its formula, the formula of its derivative. At a corner the derivative is that from the left.
ACTIVATIONS: dict[str, tuple[Callable, Callable, Callable]] = {
    "sigmoid": (F.sigmoid, sigma, lambda x: sigma(x) * (1 - sigma(x))),
    "tanh": (F.tanh, lambda x: 2 * sigma(2 * x) - 1, lambda x: 1 / np.cosh(x) ** 2),
    "relu": (F.relu, lambda x: np.maximum(0, x), lambda x: (x > 0) * 1.0),
    "softplus": (F.softplus, lambda x: np.logaddexp(0, x), sigma),
    "leaky relu": (lambda x: F.leaky_relu(x, 0.1), lambda x: np.maximum(0.1 * x, x), lambda x: np.where(x > 0, 1, 0.1)),
    "elu": (F.elu, lambda x: np.where(x > 0, x, np.exp(x) - 1), lambda x: np.where(x > 0, 1, np.exp(x))),
}


def with_derivative(function: Callable, x: np.ndarray, device: str) -> tuple[np.ndarray, np.ndarray]:
    points = gpunn.tensor(x, device=device, requires_grad=True)
    out = function(points)
    out.sum().backward()
    return out.detach().numpy(), points.grad.numpy()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_each_activation_and_its_derivative(name: str, device: str) -> None:
    function, formula, derivative = ACTIVATIONS[name]
    values, slopes = with_derivative(function, X, device)
    np.testing.assert_allclose(values, formula(X), rtol=1e-8, atol=1e-15)  # softplus drops e^-30 beside 30
    np.testing.assert_allclose(slopes, derivative(X), rtol=1e-8, atol=1e-12)


def test_by_hand(device: str) -> None:
    """At ln 2: sigmoid 2/3 and 2/9, tanh 3/5 and 16/25, softplus ln 3 and 2/3; ELU at -ln 2: -1/2 and 1/2."""
    point = np.array([math.log(2)])
    for function, value, slope in ((F.sigmoid, 2 / 3, 2 / 9), (F.tanh, 0.6, 0.64), (F.softplus, math.log(3), 2 / 3)):
        np.testing.assert_allclose(with_derivative(function, point, device), [[value], [slope]], rtol=1e-12)
    np.testing.assert_allclose(with_derivative(F.elu, -point, device), [[-0.5], [0.5]], rtol=1e-12)
    np.testing.assert_allclose(
        with_derivative(lambda x: F.leaky_relu(x, 0.01), np.array([-2.0]), device), [[-0.02], [0.01]]
    )


def test_prelu_learns_its_slope(device: str) -> None:
    """f = a x for x < 0: df/da is the sum of the negative x, and df/dx is a there."""
    x = gpunn.tensor([-3.0, -1.0, 2.0], device=device, requires_grad=True)
    slope = gpunn.tensor([0.25], device=device, requires_grad=True)
    out = F.prelu(x, slope)
    out.sum().backward()
    assert out.tolist() == [-0.75, -0.25, 2.0]
    assert slope.grad.tolist() == [-4.0]
    assert x.grad.tolist() == [0.25, 0.25, 1.0]


def test_maxout_takes_the_larger_line(device: str) -> None:
    """max(2 x + 1, -x + 4): they cross at x = 1. As max(0, x) it is ReLU, as max(x, -x) the absolute value."""
    for x, value, slope in ((0.0, 4.0, -1.0), (3.0, 7.0, 2.0)):
        point = gpunn.tensor([[x]], device=device, requires_grad=True)
        layer = nn.Maxout(1, 1, pieces=2, device=device)
        layer.load_state_dict({"weight": np.array([[2.0], [-1.0]]), "bias": np.array([1.0, 4.0])})
        layer(point).sum().backward()
        assert (layer(point).item(), point.grad.item()) == (value, slope)
    points = gpunn.tensor(X.reshape(-1, 1), device=device)
    for pieces, expected in (((0.0, 1.0), np.maximum(0, X)), ((1.0, -1.0), np.abs(X))):
        lines = points * gpunn.tensor(pieces, dtype="float64", device=device)
        np.testing.assert_array_equal(F.maxout(lines, 2).numpy().ravel(), expected)


def test_jacobian_of_softmax_by_hand(device: str) -> None:
    """x = (0, ln 2, ln 5): s = (1, 2, 5) / 8, and 64 J has 8 s_i (8 - 8 s_i) on the diagonal, -8 s_i 8 s_j beside it."""
    x = gpunn.tensor([0.0, math.log(2), math.log(5)], dtype="float64", device=device)
    expected = np.array([[7, -2, -5], [-2, 12, -10], [-5, -10, 15]]) / 64
    np.testing.assert_allclose(F.softmax_jacobian(x).numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize(("shape", "dim"), [((4,), 0), ((3, 5), 1), ((3, 5), 0), ((2, 3, 4), -2)])
def test_jacobian_of_softmax(shape: tuple[int, ...], dim: int, device: str) -> None:
    values = np.random.default_rng(0).normal(size=shape)
    jacobian = F.softmax_jacobian(gpunn.tensor(values, device=device), dim).numpy()
    n = shape[dim]
    assert jacobian.shape == (*np.delete(shape, dim), n, n)
    np.testing.assert_allclose(jacobian, np.swapaxes(jacobian, -1, -2), rtol=1e-13)
    np.testing.assert_allclose(jacobian.sum(axis=-1), 0, atol=1e-15)
    assert np.linalg.eigvalsh(jacobian).min() > -1e-15

    # A row is what backward finds where the gradient of s is 1 in one place: J d.
    d = np.random.default_rng(1).normal(size=shape)
    x = gpunn.tensor(values, device=device, requires_grad=True)
    F.softmax(x, dim).backward(d)
    product = (jacobian @ np.moveaxis(d, dim, -1)[..., None])[..., 0]
    np.testing.assert_allclose(product, np.moveaxis(x.grad.numpy(), dim, -1), rtol=1e-10, atol=1e-15)
    # And a column the change of s with one x.
    for j in range(n):
        step = 1e-6 * (np.arange(n) == j).reshape([-1 if i == dim % len(shape) else 1 for i in range(len(shape))])
        above, below = (F.softmax(gpunn.tensor(values + sign * step, device=device), dim).numpy() for sign in (1, -1))
        numeric = np.moveaxis((above - below) / 2e-6, dim, -1)
        np.testing.assert_allclose(jacobian[..., j], numeric, rtol=1e-7, atol=1e-9)


def test_jacobian_of_softmax_can_be_differentiated(device: str) -> None:
    x = gpunn.tensor([[0.3, -1.0, 0.5]], dtype="float64", device=device, requires_grad=True)
    assert gradcheck(F.softmax_jacobian, x)


def test_the_jacobian_of_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match=r"softmax_jacobian: expected at least one dimension, got shape \(\)"):
        F.softmax_jacobian(gpunn.tensor(1.0))


def test_saturation(device: str) -> None:
    """sigma' is at most 1/4, and e^-|x| far away: a chain of L sigmoids shrinks the gradient by 4^L at least. ReLU's does not."""
    grid = np.linspace(-20, 20, 401)
    _, slopes = with_derivative(F.sigmoid, grid, device)
    assert slopes.max() == pytest.approx(0.25) and slopes[200] == slopes.max()
    np.testing.assert_allclose(slopes[[0, -1]], math.exp(-20), rtol=1e-6)

    def chain(function: Callable) -> Callable:
        def composed(x: gpunn.Tensor) -> gpunn.Tensor:
            for _ in range(6):
                x = function(x)
            return x

        return composed

    assert with_derivative(chain(F.sigmoid), grid, device)[1].max() <= 0.25**6
    assert with_derivative(chain(F.relu), grid, device)[1].max() == 1.0


def test_inputs_of_one_sign_make_all_weights_move_together(device: str) -> None:
    """f = w'x + b: df/dw = x df/df. Where all x > 0 (behind a sigmoid), all gradients of a unit's weights have one sign."""
    x = F.sigmoid(gpunn.randn(1, 10, device=device))
    weight = gpunn.randn(4, 10, device=device, requires_grad=True)
    ((x @ weight.T) * gpunn.tensor([[1.0, -1.0, 2.0, -0.5]], device=device)).sum().backward()
    assert (np.sign(weight.grad.numpy()) == np.array([[1], [-1], [1], [-1]])).all()
    centered = F.tanh(gpunn.randn(1, 10, device=device))
    weight.grad = None
    (centered @ weight.T).sum().backward()
    assert {-1.0, 1.0} == set(np.sign(weight.grad.numpy()).ravel().tolist())


@pytest.mark.parametrize(("activation", "dies"), [(nn.ReLU(), True), (nn.LeakyReLU(0.1), False), (nn.ELU(), False)])
def test_dying_units(activation: nn.Module, dies: bool, device: str) -> None:
    """A ReLU unit that is negative for every example gets no gradient and never comes back; a leaky one does."""
    x, target = gpunn.rand(32, 3, device=device), gpunn.ones(32, 1, device=device)
    layer = nn.Linear(3, 1, device=device)
    layer.load_state_dict({"weight": np.full((1, 3), -1.0), "bias": np.array([-0.5])})
    before = layer.weight.detach().numpy().copy()
    optimizer = optim.SGD(layer.parameters(), lr=0.5)
    for _ in range(100):
        optimizer.zero_grad()
        F.mse_loss(activation(layer(x)), target).backward()
        optimizer.step()
    moved = np.abs(layer.weight.detach().numpy() - before).max()
    fires = float((layer(x).detach().numpy() > 0).mean())
    assert (moved == 0.0, fires == 0.0) == (dies, dies)
