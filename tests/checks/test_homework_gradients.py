"""The course's network of two layers, differentiated with pencil and paper; and its rule for comparing two gradients.

The other exercises, |W'W x - x|^2, log|K| and tr(K^-1 Y Y'), are in tests/core/test_homework.py.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

import gpunn
from gpunn import functional as F
from gpunn.checks import gradcheck
from gpunn.checks.gradcheck import Derivative

ACTIVATIONS = {
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0) * 1.0),
    "elu": (lambda z: np.where(z > 0, z, np.expm1(z)), lambda z: np.where(z > 0, 1.0, np.exp(z))),
}


@pytest.mark.parametrize(("first", "second"), [("relu", "elu"), ("elu", "relu"), ("relu", "relu"), ("elu", "elu")])
def test_network_of_two_layers(device: str, first: str, second: str) -> None:
    """L = |g(W2 f(W1 x + b1) + b2) - t|^2 over a batch of rows x.

    With a = W1 x + b1, h = f(a), z = W2 h + b2, y = g(z): dL/dz = 2 (y - t) g'(z) = d, dL/dW2 = sum d h', dL/db2 = sum d,
    dL/da = (W2' d) f'(a) = e, dL/dW1 = sum e x', dL/db1 = sum e, dL/dx = W1' e.
    """
    generator = np.random.default_rng(0)
    arrays = [generator.normal(size=shape) for shape in ((6, 4), (5, 4), (5,), (3, 5), (3,))]
    target = generator.normal(size=(6, 3))
    x, w1, b1, w2, b2 = arrays
    (f, slope_of_f), (g, slope_of_g) = ACTIVATIONS[first], ACTIVATIONS[second]

    def loss(x, w1, b1, w2, b2):
        hidden = getattr(F, first)(F.linear(x, w1, b1))
        return ((getattr(F, second)(F.linear(hidden, w2, b2)) - target) ** 2).sum()

    leaves = [gpunn.tensor(array, device=device, requires_grad=True) for array in arrays]
    loss(*leaves).backward()
    a = x @ w1.T + b1
    h = f(a)
    z = h @ w2.T + b2
    d = 2 * (g(z) - target) * slope_of_g(z)
    e = (d @ w2) * slope_of_f(a)
    for leaf, expected in zip(leaves, (e @ w1, e.T @ x, e.sum(axis=0), d.T @ h, d.sum(axis=0)), strict=True):
        np.testing.assert_allclose(leaf.grad.numpy(), expected, rtol=1e-10, atol=1e-12)
    assert gradcheck(loss, leaves)


def test_one_unit_by_hand() -> None:
    """x = 2, w1 = -1: a = -2; ELU gives h = e^-2 - 1; w2 = 3, t = 0: L = (3 h)^2, dL/dw1 = 2 (3 h) 3 e^-2 x."""
    x, w1, w2 = (gpunn.tensor([[v]], dtype="float64", requires_grad=True) for v in (2.0, -1.0, 3.0))
    (F.linear(F.elu(F.linear(x, w1)), w2) ** 2).sum().backward()
    h = math.exp(-2) - 1
    assert w1.grad.item() == pytest.approx(2 * 3 * h * 3 * math.exp(-2) * 2, rel=1e-12)
    assert w2.grad.item() == pytest.approx(2 * 3 * h * h, rel=1e-12)


@pytest.mark.parametrize(
    ("analytic", "numeric", "error"),
    [(1.0, 1.0, 0.0), (0.0, 0.0, 0.0), (2.0, 1.0, 0.5), (1.0, 2.0, 0.5), (1.0, -1.0, 2.0), (0.0, 1e-9, 1.0)],
)
def test_relative_error_is_the_courses(analytic: float, numeric: float, error: float) -> None:
    """|a - n| / max(|a|, |n|): the same whichever comes first, and 0 where both are."""
    assert Derivative("here", analytic, numeric, True).relative_error == error
    assert Derivative("here", analytic, float("nan"), True).relative_error == math.inf
