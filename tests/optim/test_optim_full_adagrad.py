"""Adagrad with the full matrix: by hand, against SciPy's matrix functions, and beside the diagonal form."""

from __future__ import annotations

import numpy as np
import pytest

from gpunn import optim
from gpunn.errors import NonFiniteError
from gpunn.tensor import tensor


def gradients(steps, size, seed=1):
    return np.random.default_rng(seed).standard_normal((steps, size))


def run(optimizer_class, start, steps, device="cpu", dtype="float64", **options):
    param = tensor(np.asarray(start), dtype=dtype, device=device, requires_grad=True)
    optimizer = optimizer_class([param], **options)
    for gradient in steps:
        param.grad = tensor(np.reshape(gradient, param.shape), dtype=dtype, device=device)
        optimizer.step()
    return param.numpy()


def test_the_first_step_by_hand(device):
    """S = g g' with g = (3, 4): S^(1/2) = g g' / 5, and its pseudo-inverse takes g to g / 5 = (0.6, 0.8)."""
    found = run(optim.FullAdagrad, [1.0, 1.0], [[3.0, 4.0]], device, lr=0.5, eps=0.0)
    np.testing.assert_allclose(found, [1 - 0.3, 1 - 0.4], rtol=1e-12)


def test_of_one_element_it_is_adagrad(device):
    steps = gradients(20, 1)
    full = run(optim.FullAdagrad, [1.0], steps, device, lr=0.1, weight_decay=0.1)
    diagonal = run(optim.Adagrad, [1.0], steps, device, lr=0.1, weight_decay=0.1)
    np.testing.assert_allclose(full, diagonal, rtol=1e-12)


def test_with_gradients_along_the_axes_it_is_adagrad(device):
    """S is then diagonal."""
    steps = [scale * np.eye(4)[step % 3] for step, scale in enumerate([3.0, -1.0, 0.01, 2.0, 5.0, 0.02, 1.0])]
    full = run(optim.FullAdagrad, np.ones(4), steps, device, lr=0.1)
    np.testing.assert_allclose(full, run(optim.Adagrad, np.ones(4), steps, device, lr=0.1), rtol=1e-12)
    assert full[3] == 1.0  # no gradient ever reached it


@pytest.mark.parametrize("maximize", [False, True])
def test_against_scipy(device, maximize):
    linalg = pytest.importorskip("scipy.linalg")
    steps, expected, total = gradients(12, 6), np.linspace(-1, 1, 6), np.zeros((6, 6))
    found = run(optim.FullAdagrad, expected, steps, device, lr=0.3, weight_decay=0.2, eps=1e-3, maximize=maximize)
    for gradient in steps:
        g = (-gradient if maximize else gradient) + 0.2 * expected
        total += np.outer(g, g)
        vectors, values, _ = linalg.svd(total)
        seen = values > 1e-12 * values[0]  # of the first five steps, S is singular
        root = vectors[:, seen] * (np.sqrt(values[seen]) + 1e-3) @ vectors[:, seen].T
        expected = expected - 0.3 * linalg.pinvh(root) @ g
    np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_a_rotation_of_the_coordinates_changes_nothing():
    angle = 0.7
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    start, steps = np.array([1.0, -2.0]), gradients(15, 2)
    for optimizer_class, same in [(optim.FullAdagrad, True), (optim.Adagrad, False)]:
        plain = run(optimizer_class, start, steps, lr=0.1)
        rotated = run(optimizer_class, rotation @ start, steps @ rotation.T, lr=0.1)
        assert np.allclose(rotated, rotation @ plain, rtol=0, atol=1e-9) is same


def test_float32_and_shapes(device):
    steps = gradients(10, 6)
    start = np.arange(6.0).reshape(2, 3)
    found = run(optim.FullAdagrad, start, steps, device, dtype="float32", lr=0.1)
    assert (found.dtype, found.shape) == ("float32", (2, 3))
    np.testing.assert_allclose(found, run(optim.FullAdagrad, start, steps, lr=0.1), rtol=1e-5, atol=1e-6)


def test_a_resumed_run_is_bitwise_the_same():
    steps = gradients(8, 3)
    whole = run(optim.FullAdagrad, np.ones(3), steps)
    param = tensor(np.ones(3), requires_grad=True)
    optimizer = optim.FullAdagrad([param])
    for gradient in steps[:4]:
        param.grad = tensor(gradient)
        optimizer.step()
    state = optimizer.state_dict()
    assert state["state"][0]["sum_of_outer_products"].shape == (3, 3)
    resumed = optim.FullAdagrad([param])
    resumed.load_state_dict(state)
    for gradient in steps[4:]:
        param.grad = tensor(gradient)
        resumed.step()
    np.testing.assert_array_equal(param.numpy(), whole)
    state["state"][0]["sum_of_outer_products"] = np.zeros(3)
    with pytest.raises(ValueError, match=r"expected sum_of_outer_products of shape \(3, 3\), got \(3,\)"):
        resumed.load_state_dict(state)


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"at most 4096 elements, got one of shape \(65, 64\); use Adagrad"):
        optim.FullAdagrad([tensor(np.zeros((65, 64)))])
    with pytest.raises(ValueError, match="expected a number eps >= 0, got eps=-1"):
        optim.FullAdagrad([tensor([1.0])], eps=-1)
    with pytest.raises(NonFiniteError, match=r"the gradient of a parameter of shape \(2,\) is not finite"):
        run(optim.FullAdagrad, [1.0, 1.0], [[np.nan, 1.0]])


def test_empty_parameters_and_zero_gradients_stay():
    assert run(optim.FullAdagrad, np.zeros((0, 2)), [np.zeros((0, 2))]).shape == (0, 2)
    np.testing.assert_array_equal(run(optim.FullAdagrad, [1.0, 2.0], [[0.0, 0.0]]), [1.0, 2.0])
