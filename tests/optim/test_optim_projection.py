"""Projections onto convex sets, and optimizers that stay in one: by hand, by the inequality that defines them, by SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gpunn import optim
from gpunn.tensor import tensor

# One line a case: the set, x, and the nearest point by hand.
BY_HAND = [
    (optim.Box(0), [-1.0, 0.5, 3.0], [0.0, 0.5, 3.0]),
    (optim.Box(-1, 2), [-3.0, 0.5, 3.0], [-1.0, 0.5, 2.0]),
    (optim.Ball(), [3.0, 4.0], [0.6, 0.8]),
    (optim.Ball(10), [3.0, 4.0], [3.0, 4.0]),
    (optim.Simplex(), [0.5, 0.3, -1.0], [0.6, 0.4, 0.0]),  # t = -0.1
    (optim.Simplex(), [5.0, 1.0, 1.0], [1.0, 0.0, 0.0]),  # t = 4
    (optim.Simplex(2), [0.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.5, 0.5]),  # t = -1/2
    (optim.L1Ball(), [0.3, -0.6], [0.3, -0.6]),
    (optim.L1Ball(1), [2.0, -1.5, 0.1], [0.75, -0.25, 0.0]),  # t = 1.25
    (optim.L1Ball(3), [-7.0, 0.0], [-3.0, 0.0]),
    (optim.HalfSpace([1.0, 1.0], 2), [3.0, 1.0], [2.0, 0.0]),  # 2 too much, half to each
    (optim.HalfSpace([0.0, 2.0], 2), [5.0, 0.5], [5.0, 0.5]),
    (optim.HalfSpace([3.0, 4.0]), [3.0, 4.0], [0.0, 0.0]),
]
NAMES = [f"{type(convex).__name__}-{number}" for number, (convex, *_) in enumerate(BY_HAND)]

# Each set, and how far a point is outside of it.
SETS = [
    (optim.Box(-0.5, 0.25), lambda y: max((y - 0.25).max(), (-0.5 - y).max())),
    (optim.Ball(1.5), lambda y: np.linalg.norm(y) - 1.5),
    (optim.Simplex(), lambda y: max(abs(y.sum() - 1), -y.min())),
    (optim.Simplex(7), lambda y: max(abs(y.sum() - 7), -y.min())),
    (optim.L1Ball(2), lambda y: np.abs(y).sum() - 2),
    (optim.HalfSpace([1, -2, 3, 0, 1], -0.5), lambda y: y @ [1, -2, 3, 0, 1] + 0.5),
]


def projected(convex, x, device="cpu", dtype="float64"):
    found = convex.project(tensor(np.asarray(x), dtype=dtype, device=device))
    assert found.dtype == dtype
    assert not found.requires_grad
    return found.numpy()


@pytest.mark.parametrize(("convex", "x", "expected"), BY_HAND, ids=NAMES)
def test_by_hand(device, convex, x, expected):
    given = np.array(x)
    np.testing.assert_allclose(projected(convex, given, device), expected, rtol=0, atol=1e-15)
    np.testing.assert_allclose(projected(convex, given, device, "float32"), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("convex", "outside"), SETS, ids=[type(convex).__name__ for convex, _ in SETS])
def test_the_nearest_point_is_the_one_that_the_inequality_describes(device, convex, outside):
    """P is in the set, P(P) = P, and <x - P, y - P> <= 0 for every y of the set (Boyd and Vandenberghe, section 8.1)."""
    numbers = np.random.default_rng(1)
    members = [projected(convex, numbers.standard_normal(5) * 3, device) for _ in range(30)]
    for scale in (0.1, 1.0, 100.0):
        x = numbers.standard_normal(5) * scale
        nearest = projected(convex, x, device)
        assert outside(nearest) < 1e-12 * scale + 1e-12
        np.testing.assert_allclose(projected(convex, nearest, device), nearest, rtol=1e-12, atol=1e-12)
        for y in members:
            assert (x - nearest) @ (y - nearest) < 1e-10 * scale


@pytest.mark.parametrize("total", [0.5, 1.0, 10.0])
def test_simplex_and_l1_ball_against_scipy(total):
    optimize = pytest.importorskip("scipy.optimize")
    x = np.random.default_rng(2).standard_normal(6)
    constraint = {"type": "eq", "fun": lambda y: y.sum() - total}
    expected = optimize.minimize(
        lambda y: ((y - x) ** 2).sum(),
        np.full(6, total / 6),
        method="SLSQP",
        bounds=[(0, None)] * 6,
        constraints=[constraint],
        options={"ftol": 1e-14},
    ).x
    np.testing.assert_allclose(projected(optim.Simplex(total), x), expected, atol=1e-6)
    signs = np.array([1, -1, 1, -1, -1, 1])
    outside = np.abs(x) + total  # of the ball
    np.testing.assert_allclose(
        projected(optim.L1Ball(total), signs * outside), signs * projected(optim.Simplex(total), outside), atol=1e-14
    )


def test_one_vector_of_all_elements_or_one_along_a_dimension(device):
    x = np.random.default_rng(3).standard_normal((3, 4, 2)) * 5
    whole = projected(optim.Simplex(), x, device)
    assert whole.shape == x.shape
    assert whole.sum() == pytest.approx(1)
    for dim in (0, 1, 2, -1):
        along = projected(optim.Simplex(dim=dim), x, device)
        np.testing.assert_allclose(along.sum(axis=dim), 1, rtol=1e-12)
        first = np.moveaxis(x, dim, -1)[0, 0]
        np.testing.assert_allclose(np.moveaxis(along, dim, -1)[0, 0], projected(optim.Simplex(), first), atol=1e-14)
    half_space = optim.HalfSpace([1.0, 0.0, 0.0, 1.0], 0, dim=1)
    assert (projected(half_space, x, device)[:, [0, 3]].sum(axis=1) < 1e-12).all()


def test_what_lies_inside_keeps_every_bit():
    x = np.array([0.1, 0.2, -0.3])
    for convex in (optim.Box(-1, 1), optim.Ball(1), optim.L1Ball(1), optim.HalfSpace([1.0, 1.0, 1.0], 1)):
        np.testing.assert_array_equal(projected(convex, x), x)


def test_large_and_empty():
    """A total that is lost beside the elements in rounding is there in the end all the same."""
    assert projected(optim.Simplex(), [1e18, 1e18, 0.0]).tolist() == [0.5, 0.5, 0.0]
    assert projected(optim.Simplex(), np.zeros((0, 3))).shape == (0, 3)


def fit(weights, optimizer, inputs, targets, steps):
    x, y = tensor(inputs, device=weights.device), tensor(targets, device=weights.device)
    for _ in range(steps):
        optimizer.zero_grad()
        ((x @ weights - y) ** 2).mean().backward()
        optimizer.step()
    return weights.numpy()


def test_projected_gradient_by_hand(device):
    """f = (p - (3, 0.5))^2 on the box [-1, 1]: the minimum is (1, 0.5)."""
    p = tensor([-5.0, 0.0], dtype="float64", device=device, requires_grad=True)
    optimizer = optim.Projected(optim.SGD([p], lr=0.25), optim.Box(-1, 1))
    assert p.tolist() == [-1.0, 0.0]  # into the set at once
    for expected in ([1.0, 0.25], [1.0, 0.375]):
        optimizer.zero_grad()
        ((p - tensor([3.0, 0.5], dtype="float64", device=device)) ** 2).sum().backward()
        optimizer.step()
        assert p.tolist() == expected


def test_least_squares_without_negative_weights_against_scipy():
    optimize = pytest.importorskip("scipy.optimize")
    numbers = np.random.default_rng(4)
    inputs = numbers.standard_normal((30, 5))
    targets = inputs @ [1.0, -2.0, 0.5, -0.1, 3.0] + numbers.standard_normal(30)
    weights = tensor(np.ones(5), requires_grad=True)
    optimizer = optim.Projected(optim.SGD([weights], lr=0.2), optim.Box(0))
    found = fit(weights, optimizer, inputs, targets, 300)
    np.testing.assert_allclose(found, optimize.nnls(inputs, targets)[0], atol=1e-8)
    assert (found == 0).sum() >= 2


def test_the_lasso_ball_sets_weights_to_zero(device):
    """At the minimum the gradients of all weights that are not zero have one magnitude, and no other has a larger one."""
    numbers = np.random.default_rng(5)
    inputs = numbers.standard_normal((30, 5))
    targets = inputs @ [2.0, 0.0, -1.0, 0.05, 0.0] + 0.1 * numbers.standard_normal(30)
    weights = tensor(np.zeros(5), device=device, requires_grad=True)
    optimizer = optim.Projected(optim.SGD([weights], lr=0.1), optim.L1Ball(2))
    found = fit(weights, optimizer, inputs, targets, 500)
    assert np.abs(found).sum() == pytest.approx(2)
    gradient = np.abs(2 * inputs.T @ (inputs @ found - targets) / 30)
    used = found != 0
    assert used.tolist() == [True, False, True, False, False]
    np.testing.assert_allclose(gradient[used], gradient[used][0], rtol=1e-6)
    assert gradient[~used].max() < gradient[used][0]


def test_a_wrapper_is_an_optimizer():
    weights, free = (tensor([2.0, 2.0], dtype="float64", requires_grad=True) for _ in range(2))
    inner = optim.SGD([weights, free], lr=0.1, momentum=0.5)
    optimizer = optim.Projected(inner, optim.Ball(1), parameters=[weights])
    assert np.linalg.norm(weights.numpy()) == pytest.approx(1)
    assert free.tolist() == [2.0, 2.0]
    schedule = optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    returned = optimizer.step(lambda: (weights - free).sum().backward() or 7)
    schedule.step()
    assert returned == 7
    assert inner.param_groups[0]["lr"] == 0.05
    state = optimizer.state_dict()
    optimizer.load_state_dict(state)
    assert optimizer.state is inner.state
    assert inner.state_dict()["state"].keys() == state["state"].keys() == {0, 1}
    more = tensor([5.0], requires_grad=True)
    optimizer.add_param_group({"params": [more], "lr": 1.0})
    optimizer.zero_grad()
    more.sum().backward()
    optimizer.step()
    assert more.item() == 4.0
    assert "momentum=0.5" in repr(optimizer)


def test_a_graph_from_before_the_projection_cannot_go_back():
    p = tensor([3.0], requires_grad=True)
    loss = (p * p).sum()
    optim.Projected(optim.SGD([p], lr=0.1), optim.Box(0, 1))
    with pytest.raises(RuntimeError, match="was written to"):
        loss.backward()


def test_what_is_refused():
    p = tensor([1.0, 2.0], requires_grad=True)
    for make, error, message in [
        (lambda: optim.Box(1, 0), ValueError, "expected low <= high, got low=1 and high=0"),
        (lambda: optim.Box(math.nan), ValueError, "expected low <= high"),
        (lambda: optim.Ball(0), ValueError, "Ball: expected radius > 0, got 0"),
        (lambda: optim.Ball("1"), ValueError, "Ball: expected radius > 0, got '1'"),
        (lambda: optim.Ball().project([3.0]), TypeError, "Ball: expected a Tensor to project, got list"),
        (lambda: optim.HalfSpace([[1.0, 0.0]]), ValueError, "a normal of finite numbers"),
        (lambda: optim.Simplex(math.inf), ValueError, "Simplex: expected total > 0, got inf"),
        (lambda: optim.L1Ball(-1), ValueError, "L1Ball: expected radius > 0, got -1"),
        (lambda: optim.HalfSpace([0.0, 0.0]), ValueError, "not all zero"),
        (lambda: optim.HalfSpace([1.0]).project(p), ValueError, "expected vectors of 1 elements.* got 2"),
        (lambda: optim.Ball(dim=1).project(p), ValueError, r"dim=1 is not a dimension of a tensor of shape \(2,\)"),
        (lambda: optim.Projected([p], optim.Box(0)), TypeError, "expected an Optimizer and a ConvexSet"),
        (lambda: optim.Projected(optim.SGD([p]), 3), TypeError, "got a SGD and a int"),
        (
            lambda: optim.Projected(optim.SGD([p]), optim.Box(0), [tensor([1.0])]),
            ValueError,
            "not among the optimizer's",
        ),
    ]:
        with pytest.raises(error, match=message) as caught:
            make()
        assert "\n" not in str(caught.value)
