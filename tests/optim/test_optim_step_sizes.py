"""Step sizes: constant, 1/t and 1/sqrt(t), for gradient and for subgradient descent, against what theory says of them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gpunn import optim
from gpunn.optim.lr_scheduler import InverseTimeLR
from gpunn.tensor import tensor


def leaf(values, device="cpu"):
    return tensor(values, dtype="float64", device=device, requires_grad=True)


@pytest.mark.parametrize(
    ("options", "factors"),
    [
        ({}, [1, 1 / 2, 1 / 3, 1 / 4]),
        ({"power": 0.5}, [1, 1 / math.sqrt(2), 1 / math.sqrt(3), 1 / 2]),
        ({"decay": 0.1}, [1, 1 / 1.1, 1 / 1.2, 1 / 1.3]),
        ({"decay": 0.0}, [1, 1, 1, 1]),
    ],
    ids=str,
)
def test_inverse_time_by_hand(options, factors):
    optimizer = optim.SGD([{"params": [leaf([1.0])]}, {"params": [leaf([1.0])], "lr": 0.2}], lr=3.0)
    schedule = InverseTimeLR(optimizer, **options)
    for factor in factors:
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([3 * factor, 0.2 * factor])
        schedule.step()


def test_inverse_time_against_pytorch():
    torch = pytest.importorskip("torch")
    ours = InverseTimeLR(optim.SGD([leaf([1.0])], lr=0.3), decay=0.02, power=0.75)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.3)
    theirs = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: (1 + 0.02 * epoch) ** -0.75)
    for _ in range(50):
        assert ours.get_last_lr() == pytest.approx(theirs.get_last_lr(), rel=1e-12)
        ours.step()
        optimizer.step()
        theirs.step()


def test_inverse_time_goes_on_where_it_was():
    schedule = InverseTimeLR(optim.SGD([leaf([1.0])], lr=1.0), decay=0.5, power=0.5)
    for _ in range(7):
        schedule.step()
    resumed = InverseTimeLR(optim.SGD([leaf([1.0])], lr=9.0))
    resumed.load_state_dict(schedule.state_dict())
    resumed.step()
    assert resumed.get_last_lr() == [(1 + 0.5 * 8) ** -0.5]


def test_inverse_time_refuses_what_would_grow():
    optimizer = optim.SGD([leaf([1.0])])
    with pytest.raises(ValueError, match="InverseTimeLR: expected decay >= 0, got -1"):
        InverseTimeLR(optimizer, decay=-1)
    with pytest.raises(ValueError, match="InverseTimeLR: expected power >= 0, got nan"):
        InverseTimeLR(optimizer, power=math.nan)
    with pytest.raises(ValueError, match="InverseTimeLR: expected power >= 0, got 'half'"):
        InverseTimeLR(optimizer, power="half")


def test_a_constant_step_multiplies_each_error_by_a_factor(device):
    """Gradient descent on sum c_i x_i^2 / 2: x_i(t) = (1 - lr c_i)^t x_i(0); above lr = 2 / c it diverges."""
    curvatures = np.array([0.1, 1.0, 1.9, 2.1])
    x = leaf(np.ones(4), device)
    optimizer = optim.SGD([x], lr=1.0)
    for _ in range(30):
        optimizer.zero_grad()
        (tensor(curvatures, device=device) * x**2 / 2).sum().backward()
        optimizer.step()
    np.testing.assert_allclose(x.numpy(), (1 - curvatures) ** 30, rtol=1e-9, atol=1e-15)
    assert abs(x.numpy()[3]) > 10


def test_momentum_is_the_recursion_of_second_order():
    """Heavy ball: x(t+1) = x(t) - lr c x(t) + m (x(t) - x(t-1)), solved by the powers of a matrix of two rows."""
    lr, momentum, curvature = 0.1, 0.8, 3.0
    x = leaf([1.0])
    optimizer = optim.SGD([x], lr=lr, momentum=momentum)
    for _ in range(25):
        optimizer.zero_grad()
        (curvature * x**2 / 2).sum().backward()
        optimizer.step()
    matrix = np.array([[1 - lr * curvature + momentum, -momentum], [1.0, 0.0]])
    assert x.item() == pytest.approx((np.linalg.matrix_power(matrix, 25) @ [1.0, 1.0])[0], rel=1e-9)


def test_with_one_over_t_stochastic_steps_give_the_running_mean(device):
    """f_i = (p - a_i)^2 / 2 and rates 1, 1/2, 1/3, ...: p(t) = (a_1 + ... + a_t) / t, from wherever it began."""
    targets = np.random.default_rng(1).standard_normal(40)
    p = leaf([100.0], device)
    optimizer = optim.SGD([p], lr=1.0)
    schedule = InverseTimeLR(optimizer)
    for t, target in enumerate(targets, start=1):
        optimizer.zero_grad()
        ((p - float(target)) ** 2 / 2).sum().backward()
        optimizer.step()
        schedule.step()
        assert p.item() == pytest.approx(targets[:t].mean(), abs=1e-12)


def test_minibatch_gradients_are_right_on_average(device):
    numbers = np.random.default_rng(2)
    inputs, targets = numbers.standard_normal((24, 3)), numbers.standard_normal(24)
    w = leaf(np.ones(3), device)

    def gradient(rows):
        w.grad = None
        ((tensor(inputs[rows], device=device) @ w - tensor(targets[rows], device=device)) ** 2).mean().backward()
        return w.grad.numpy()

    parts = [gradient(slice(start, start + 4)) for start in range(0, 24, 4)]
    np.testing.assert_allclose(np.mean(parts, axis=0), gradient(slice(None)), rtol=1e-12)


def subgradient_descent(steps, lr, power=None, device="cpu"):
    """On f = |x1| + 2 |x2 - 1|, whose minimum is 0 in (0, 1): the values of f, and the rates."""
    x = leaf([3.0, 4.0], device)
    optimizer = optim.SGD([x], lr=lr)
    schedule = InverseTimeLR(optimizer, power=power) if power else None
    values, rates = [], []
    for _ in range(steps):
        optimizer.zero_grad()
        value = x[0].abs() + 2 * (x[1] - 1).abs()
        value.backward()
        values.append(value.item())
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if schedule:
            schedule.step()
    return np.array(values), np.array(rates)


@pytest.mark.parametrize(("lr", "power"), [(0.07, None), (1.0, 0.5), (1.0, 1.0)])
def test_subgradient_descent_keeps_the_promise_of_theory(device, lr, power):
    """best f - f* <= (R^2 + G^2 sum rate^2) / (2 sum rate), R = |x(0) - x*|, G the largest subgradient's norm.

    N. Shor, "Minimization Methods for Non-Differentiable Functions", 1985.
    """
    values, rates = subgradient_descent(300, lr, power, device)
    bound = (3**2 + 3**2 + (1 + 2**2) * np.cumsum(rates**2)) / (2 * np.cumsum(rates))
    assert (np.minimum.accumulate(values) <= bound + 1e-12).all()


def test_a_constant_step_keeps_hopping_and_a_falling_one_does_not():
    """Around a kink a step is as long as ever: only a smaller rate comes nearer, that of 1/sqrt(t) to half in 4 times t."""
    constant, _ = subgradient_descent(2000, 0.07)
    falling, _ = subgradient_descent(2000, 1.0, 0.5)
    assert constant[400:500].max() == pytest.approx(constant[-100:].max(), rel=1e-6)
    assert falling[-100:].max() < 0.6 * falling[400:500].max()


def nesterov_where_it_looks_ahead(start, gradient, lr, momentum, steps):
    """v = m v - lr gradient(x + m v), x = x + v (I. Sutskever et al., 2013): the points x + m v."""
    x, v, points = np.array(start), np.zeros(len(start)), []
    for _ in range(steps):
        v = momentum * v - lr * gradient(x + momentum * v)
        x = x + v
        points.append(x + momentum * v)
    return points


def nesterov_of_two_sequences(start, gradient, lr, momentum, steps):
    """x(t+1) = y(t) - lr gradient(y(t)), y(t+1) = x(t+1) + m (x(t+1) - x(t)) (Y. Nesterov, 1983): the points y."""
    x, y, points = np.array(start), np.array(start), []
    for _ in range(steps):
        following = y - lr * gradient(y)
        y = following + momentum * (following - x)
        x = following
        points.append(y)
    return points


@pytest.mark.parametrize("form", [nesterov_where_it_looks_ahead, nesterov_of_two_sequences])
def test_the_forms_of_nesterovs_momentum_are_one(device, form):
    """The parameters of SGD(nesterov=True) are the points at which the other forms take the gradient."""
    curvatures, start = np.array([0.3, 1.0, 4.0]), [1.0, -2.0, 3.0]

    def gradient(x):
        return curvatures * x + np.cos(x)

    expected = form(start, gradient, 0.1, 0.9, 30)
    p = leaf(start, device)
    optimizer = optim.SGD([p], lr=0.1, momentum=0.9, nesterov=True)
    for point in expected:
        p.grad = tensor(gradient(p.numpy()), device=device)
        optimizer.step()
        np.testing.assert_allclose(p.numpy(), point, rtol=1e-9, atol=1e-12)
