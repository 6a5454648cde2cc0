"""Newton's method and the Hessian: by hand, against closed forms, PyTorch and SciPy."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from gpunn import functional as F
from gpunn import nn, optim
from gpunn.errors import NonFiniteError
from gpunn.tensor import tensor


def leaf(values, device="cpu", dtype="float64"):
    return tensor(values, dtype=dtype, device=device, requires_grad=True)


def closure_of(function):
    def closure():
        loss = function()
        loss.backward()
        return loss

    return closure


def logistic(device="cpu"):
    """A regression with 40 examples, its Hessian X' diag(p (1 - p)) X / n as a function of the weights, and the loss."""
    numbers = np.random.default_rng(1)
    inputs = numbers.standard_normal((40, 3))
    labels = (inputs @ [1.0, -2.0, 0.5] + numbers.standard_normal(40) > 0).astype(float)
    x, y = tensor(inputs, device=device), tensor(labels, device=device)

    def loss_of(weights):
        return F.binary_cross_entropy_with_logits(x @ weights, y)

    def hessian_at(weights):
        p = 1 / (1 + np.exp(-inputs @ weights))
        return inputs.T @ ((p * (1 - p))[:, None] * inputs) / 40

    return inputs, labels, loss_of, hessian_at


def test_hessian_by_hand(device):
    """f = x^2 y + y^3: d2f = [[2 y, 2 x], [2 x, 6 y]], here with x in one parameter and y in another, of shape ()."""
    x, y = leaf([3.0], device), leaf(2.0, device)
    found = optim.hessian(closure_of(lambda: (x**2 * y + y**3).sum()), [x, y])
    assert (found.shape, found.dtype, found.device) == ((2, 2), "float64", x.device)
    np.testing.assert_allclose(found.numpy(), [[4.0, 6.0], [6.0, 12.0]], rtol=1e-9)


def test_hessian_of_logistic_regression(device):
    _, _, loss_of, hessian_at = logistic(device)
    start = [0.3, -0.1, 0.2]
    weights = leaf(start, device)
    found = optim.hessian(closure_of(lambda: loss_of(weights)), [weights])
    np.testing.assert_allclose(found.numpy(), hessian_at(np.array(start)), rtol=1e-8)
    np.testing.assert_array_equal(found.numpy(), found.numpy().T)


def test_hessian_of_a_network_against_pytorch():
    torch = pytest.importorskip("torch")
    numbers = np.random.default_rng(2)
    inputs, labels = numbers.standard_normal((7, 3)), numbers.integers(0, 2, 7)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    x, y = tensor(inputs), tensor(labels)
    found = optim.hessian(closure_of(lambda: F.cross_entropy(net(x), y)), net.parameters()).numpy()

    shapes = [p.shape for p in net.parameters()]
    sizes = [p.numel() for p in net.parameters()]
    start = torch.tensor(np.concatenate([p.numpy().reshape(-1) for p in net.parameters()]))

    def loss(vector):
        w1, b1, w2, b2 = (part.reshape(shape) for part, shape in zip(vector.split(sizes), shapes, strict=True))
        scores = torch.tanh(torch.tensor(inputs) @ w1.T + b1) @ w2.T + b2
        return torch.nn.functional.cross_entropy(scores, torch.tensor(labels))

    expected = torch.autograd.functional.hessian(loss, start).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-9)


def test_hessian_leaves_all_as_it_was():
    x, y, unused = leaf([0.1, 0.2]), leaf([0.3]), leaf([5.0])
    x.grad = tensor([7.0, 8.0], dtype="float64")
    found = optim.hessian(closure_of(lambda: (x.exp().sum() * y).sum()), [x, y, unused])
    assert (x.tolist(), y.tolist()) == ([0.1, 0.2], [0.3])
    assert x.grad.tolist() == [7.0, 8.0]
    assert y.grad is None
    assert not found.numpy()[3].any()

    def fails():
        raise KeyError("no data")

    with pytest.raises(KeyError):
        optim.hessian(fails, [x])
    assert x.tolist() == [0.1, 0.2]


def test_a_quadratic_takes_one_step_whatever_its_condition(device):
    """f = (x1 / 1000)^2 + x2^2 + x1 x2 / 1000 - x2 has its minimum where the gradient is zero: x = (-1000 / 3, 2 / 3)."""
    x = leaf([40.0, -3.0], device)

    def loss():
        scaled = x[0] / 1000
        return scaled**2 + x[1] ** 2 + scaled * x[1] - x[1]

    first = optim.Newton([x]).step(closure_of(loss))
    assert first.item() == pytest.approx(0.0016 + 9 - 0.12 + 3)
    np.testing.assert_allclose(x.numpy(), [-1000 / 3, 2 / 3], rtol=1e-6)


def test_damping_by_hand(device):
    """f = x^2 at 4: H = 2, g = 8. With damping 2 the step is 8 / 4, with lr=0.5 it is half of that."""
    for options, expected in [({"damping": 2.0}, 2.0), ({"damping": 2.0, "lr": 0.5}, 3.0), ({}, 0.0)]:
        x = leaf([4.0], device)
        optim.Newton([x], **options).step(closure_of(lambda x=x: (x**2).sum()))
        assert x.item() == pytest.approx(expected, abs=1e-8)


def test_a_saddle_draws_plain_newton_in_and_absolute_away(device):
    """f = x^2 - y^2 at (1, 0.5): the step of plain Newton ends in the saddle; with |H| it is (-1, +0.5)."""
    for absolute, expected in [(False, [0.0, 0.0]), (True, [0.0, 1.0])]:
        x = leaf([1.0, 0.5], device)
        optim.Newton([x], absolute=absolute).step(closure_of(lambda x=x: x[0] ** 2 - x[1] ** 2))
        np.testing.assert_allclose(x.numpy(), expected, atol=1e-8)


def test_logistic_regression_converges_quadratically(device):
    """To the minimum that the normal equations of Newton's step, iterated in NumPy, agree on; the error is squared."""
    inputs, labels, loss_of, hessian_at = logistic(device)
    best = np.zeros(3)
    for _ in range(20):
        p = 1 / (1 + np.exp(-inputs @ best))
        best -= np.linalg.solve(hessian_at(best), inputs.T @ (p - labels) / 40)
    weights = leaf([0.0, 0.0, 0.0], device)
    optimizer = optim.Newton([weights])
    errors = []
    for _ in range(8):
        optimizer.step(closure_of(lambda: loss_of(weights)))
        errors.append(float(np.abs(weights.numpy() - best).max()))
    assert errors[-1] < 1e-9
    for error, following in pairwise(errors):
        assert following <= 1.0 * error**2 + 1e-9


def test_logistic_regression_against_scipy():
    optimize = pytest.importorskip("scipy.optimize")
    inputs, labels, loss_of, _ = logistic()

    def loss(w):
        return np.mean(np.logaddexp(0, inputs @ w) - labels * (inputs @ w))

    expected = optimize.minimize(loss, np.zeros(3), method="BFGS", options={"gtol": 1e-9}).x
    weights = leaf([0.0, 0.0, 0.0])
    optimizer = optim.Newton([weights])
    for _ in range(8):
        optimizer.step(closure_of(lambda: loss_of(weights)))
    np.testing.assert_allclose(weights.numpy(), expected, rtol=1e-6)


def test_float32_finds_the_minimum_roughly(device):
    x = leaf([4.0, -1.0], device, "float32")
    optimizer = optim.Newton([x])
    for _ in range(3):
        optimizer.step(closure_of(lambda: ((x - 1.0) ** 2).sum() + x[0] * x[1]))
    assert x.dtype == "float32"
    np.testing.assert_allclose(x.numpy(), [2 / 3, 2 / 3], rtol=1e-3)


def test_what_is_refused():
    x, y = leaf([1.0]), leaf([1.0])
    with pytest.raises(TypeError, match="Newton: step needs a closure"):
        optim.Newton([x]).step()
    with pytest.raises(ValueError, match="expected one group of parameters"):
        optim.Newton([{"params": [x]}, {"params": [y]}])
    with pytest.raises(ValueError, match="expected a number damping >= 0, got damping=-1"):
        optim.Newton([x], damping=-1)
    with pytest.raises(ValueError, match="expected difference > 0 or None, got 0"):
        optim.Newton([x], difference=0)
    with pytest.raises(ValueError, match="expected 1 to 4096 elements in all, got 4097"):
        optim.Newton([leaf(np.zeros(4097))])
    with pytest.raises(ValueError, match="on one device, got 'cpu' and 'reference'"):
        optim.hessian(lambda: None, [x, leaf([1.0], "reference")])
    with pytest.raises(ValueError, match="got no parameters"):
        optim.hessian(lambda: None, [])
    with pytest.raises(TypeError, match="hessian: expected Tensors, got str"):
        optim.hessian(lambda: None, ["x"])
    with pytest.raises(
        TypeError, match="hessian: expected a closure that computes the loss and calls backward, got None"
    ):
        optim.hessian(None, [x])
    with pytest.raises(ArithmeticError, match="the Hessian is singular"):
        optim.Newton([x, y]).step(closure_of(lambda: ((x + y) ** 2).sum()))
    with pytest.raises(NonFiniteError, match="derivative is not finite"):
        optim.Newton([leaf_zero := leaf([0.0])]).step(closure_of(lambda: leaf_zero.sqrt().sum()))
