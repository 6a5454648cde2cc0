"""SVRG: by hand, its unbiasedness, and its convergence with a constant rate where that of SGD stays at its noise."""

from __future__ import annotations

import numpy as np
import pytest

from gpunn import optim
from gpunn.tensor import tensor

EXAMPLES, FEATURES = 60, 4


def regression(device="cpu"):
    """Inputs, targets with noise, the weights of least squares, and the mean loss of some rows as a function of weights."""
    numbers = np.random.default_rng(1)
    inputs = numbers.standard_normal((EXAMPLES, FEATURES))
    targets = inputs @ numbers.standard_normal(FEATURES) + numbers.standard_normal(EXAMPLES)
    best = np.linalg.solve(inputs.T @ inputs, inputs.T @ targets)
    x, y = tensor(inputs, device=device), tensor(targets, device=device)

    def loss_of(weights, rows):
        loss = ((x[rows] @ weights - y[rows]) ** 2).mean() / 2
        loss.backward()
        return loss

    return inputs, targets, best, loss_of


def leaf(values, device="cpu", dtype="float64"):
    return tensor(values, dtype=dtype, device=device, requires_grad=True)


def epoch_of(optimizer, weights, loss_of, order):
    if isinstance(optimizer, optim.SVRG):
        optimizer.snapshot(lambda: loss_of(weights, slice(None)))
    for start in range(0, EXAMPLES, 5):
        rows = order[start : start + 5]

        def closure(rows=rows):
            optimizer.zero_grad()
            return loss_of(weights, rows)

        optimizer.step(closure)


def test_by_hand(device):
    """f_i = i (p - 1)^2 / 2 for i = 1 and 3, mean gradient 2 (p - 1); snapshot at 3, lr = 0.25.

    Step with i = 3 at p = 3: g = 6 - 6 + 4 = 4, p = 2. Step with i = 1 at p = 2: g = 1 - 2 + 4 = 3, p = 1.25.
    """
    p = leaf([3.0], device)
    optimizer = optim.SVRG([p], lr=0.25)

    def closure(factor):
        def evaluate():
            loss = (factor * (p - 1) ** 2 / 2).sum()
            loss.backward()
            return loss

        return evaluate

    assert optimizer.snapshot(closure(2.0)).item() == 4.0
    assert optimizer.step(closure(3.0)).item() == 6.0
    assert (p.item(), p.grad.item()) == (2.0, 4.0)
    assert optimizer.step(closure(1.0)).item() == 0.5
    assert (p.item(), p.grad.item()) == (1.25, 3.0)


def test_weight_decay_by_hand():
    p = leaf([2.0])
    optimizer = optim.SVRG([p], lr=0.5, weight_decay=0.25)
    optimizer.snapshot(lambda: (p * 1.0).sum().backward())
    optimizer.step(lambda: (p * 3.0).sum().backward())
    assert p.item() == 2 - 0.5 * (1 + 0.25 * 2)


def test_the_mean_over_all_minibatches_is_the_gradient(device):
    inputs, targets, _, loss_of = regression(device)
    weights = leaf(np.zeros(FEATURES), device)
    optimizer = optim.SVRG([weights], lr=0.0)
    optimizer.snapshot(lambda: loss_of(weights, slice(None)))
    elsewhere = np.array([0.5, -1.0, 2.0, 0.1])
    weights.data[...] = elsewhere
    steps = []
    for start in range(0, EXAMPLES, 5):
        optimizer.step(lambda start=start: loss_of(weights, slice(start, start + 5)))
        steps.append(weights.grad.numpy().copy())
    gradient = inputs.T @ (inputs @ elsewhere - targets) / EXAMPLES
    np.testing.assert_allclose(np.mean(steps, axis=0), gradient, rtol=1e-10)
    assert np.std(steps, axis=0).min() > 0.01  # none of them is the gradient itself


def test_it_reaches_least_squares_where_sgd_stays_at_its_noise(device):
    _, _, best, loss_of = regression(device)
    errors = {}
    for optimizer_class in (optim.SVRG, optim.SGD):
        weights = leaf(np.zeros(FEATURES), device)
        optimizer = optimizer_class([weights], lr=0.1)
        numbers = np.random.default_rng(2)
        for _ in range(25):
            epoch_of(optimizer, weights, loss_of, numbers.permutation(EXAMPLES))
        errors[optimizer_class] = np.abs(weights.numpy() - best).max()
    assert errors[optim.SVRG] < 1e-7
    assert errors[optim.SGD] > 1e-3


def test_the_error_shrinks_by_a_factor_in_each_epoch():
    _, _, best, loss_of = regression()
    weights = leaf(np.zeros(FEATURES))
    optimizer = optim.SVRG([weights], lr=0.1)
    errors = [np.linalg.norm(best)]
    numbers = np.random.default_rng(3)
    for _ in range(12):
        epoch_of(optimizer, weights, loss_of, numbers.permutation(EXAMPLES))
        errors.append(np.linalg.norm(weights.numpy() - best))
    ratios = np.array(errors[1:]) / np.array(errors[:-1])
    assert ratios.max() < 0.7


def test_a_resumed_run_is_bitwise_the_same():
    _, _, _, loss_of = regression()

    def steps(optimizer, weights, first, last):
        for start in range(first, last, 5):
            optimizer.step(lambda start=start: loss_of(weights, slice(start, start + 5)))

    whole = leaf(np.zeros(FEATURES))
    optimizer = optim.SVRG([whole], lr=0.1)
    optimizer.snapshot(lambda: loss_of(whole, slice(None)))
    steps(optimizer, whole, 0, 30)
    half = leaf(whole.numpy().copy())
    resumed = optim.SVRG([half])
    resumed.load_state_dict(optimizer.state_dict())
    steps(optimizer, whole, 30, 60)
    steps(resumed, half, 30, 60)
    np.testing.assert_array_equal(half.numpy(), whole.numpy())


def test_parameters_that_the_loss_does_not_reach_stay(device):
    used, unused = leaf([1.0], device, "float32"), leaf([1.0], device, "float32")
    optimizer = optim.SVRG([used, unused], lr=0.5)
    optimizer.snapshot(lambda: (used * used).sum().backward())
    optimizer.step(lambda: (used * used).sum().backward())
    assert (used.item(), unused.item()) == (0.0, 1.0)
    # Whoever is constant for the examples as a whole is not moved by a minibatch.
    optimizer.step(lambda: (used + unused).sum().backward())
    assert unused.item() == 1.0


def test_the_parameter_comes_back_where_the_closure_fails():
    p = leaf([1.0])
    optimizer = optim.SVRG([p], lr=0.5)
    optimizer.snapshot(lambda: (p * p).sum().backward())
    optimizer.step(lambda: (p * p).sum().backward())
    before = p.data

    def fails():
        raise KeyError("no data")

    with pytest.raises(KeyError):
        optimizer.step(fails)
    assert p.data is before


def test_what_is_refused():
    p, q = leaf([1.0]), leaf([1.0])
    optimizer = optim.SVRG([p, q])
    with pytest.raises(ValueError, match=r"step before the first snapshot; call snapshot\(closure\)"):
        optimizer.step(lambda: None)
    with pytest.raises(TypeError, match="SVRG: step needs a closure"):
        optimizer.step()
    with pytest.raises(TypeError, match="SVRG: snapshot needs a closure"):
        optimizer.snapshot(None)
    with pytest.raises(ValueError, match="expected a number lr >= 0, got lr=-1"):
        optim.SVRG([p], lr=-1)
    optimizer.snapshot(lambda: (p * q).sum().backward())
    with pytest.raises(ValueError, match="has a gradient for all examples, but not for this minibatch"):
        optimizer.step(lambda: (p * p).sum().backward())
