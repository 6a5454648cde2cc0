"""The rules of the course, two steps of each by hand, and their way down x1^2 / a^2 + x2^2."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gpunn import optim, tensor

# Of one weight that begins at 1: the rule, its options, the gradients of two steps, and the weight after each.
# Momentum: v = 2, then 0.5 * 2 + 4 = 5. Nesterov steps by 2 + 0.5 * 2 = 3, then by 4 + 0.5 * 5 = 6.5.
# Adagrad: sums of squares 9 and 25. RMSprop: means of squares 4 / 4 = 1 and 3 / 4 + 1 / 4 = 1; with momentum steps of 2 and 2.
# Adam: m = 1 and -1/2, corrected 2 and -2/3; v = 1 and 7/4, corrected 4 and 4.
BY_HAND: list[tuple[str, dict[str, Any], tuple[float, float], tuple[float, float]]] = [
    ("SGD", {}, (2, 4), (0.8, 0.4)),
    ("SGD", {"momentum": 0.5}, (2, 4), (0.8, 0.3)),
    ("SGD", {"momentum": 0.5, "nesterov": True}, (2, 4), (0.7, 0.05)),
    ("Adagrad", {"eps": 0}, (3, 4), (0.9, 0.82)),
    ("RMSprop", {"alpha": 0.75, "eps": 0}, (2, 1), (0.8, 0.7)),
    ("RMSprop", {"alpha": 0.75, "eps": 0, "momentum": 0.5}, (2, 1), (0.8, 0.6)),
    ("Adam", {"betas": (0.5, 0.75), "eps": 0}, (2, -2), (0.9, 0.9 + 0.1 / 3)),
    ("AdamW", {"betas": (0.5, 0.75), "eps": 0, "weight_decay": 0.0}, (2, -2), (0.9, 0.9 + 0.1 / 3)),
]
NAMES = [" ".join([name, *(option for option in options if option not in ("eps", "alpha", "betas"))])
         for name, options, *_ in BY_HAND]  # fmt: skip


@pytest.mark.parametrize(("name", "options", "gradients", "weights"), BY_HAND, ids=NAMES)
def test_two_steps_by_hand(
    name: str, options: dict[str, Any], gradients: tuple[float, float], weights: tuple[float, float], device: str
) -> None:
    p = tensor([1.0], dtype="float64", device=device, requires_grad=True)
    optimizer = getattr(optim, name)([p], lr=0.1, **options)
    for gradient, expected in zip(gradients, weights, strict=True):
        p.grad = tensor([float(gradient)], dtype="float64", device=device)
        optimizer.step()
        np.testing.assert_allclose(p.numpy(), [expected], rtol=1e-14)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("SGD", {"lr": 0.9}),
        ("SGD", {"lr": 0.1, "momentum": 0.9}),
        ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
        ("Adagrad", {"lr": 1.0}),
        ("RMSprop", {"lr": 0.01}),
        ("RMSprop", {"lr": 0.01, "momentum": 0.5}),
        ("Adam", {"lr": 0.05}),
        ("FullAdagrad", {"lr": 1.0}),
    ],
    ids=str,
)
def test_every_rule_comes_down_the_narrow_valley(name: str, options: dict[str, Any], device: str) -> None:
    """From (5, 1), with a = 5: the value 2 falls below 1e-3."""
    x = tensor([5.0, 1.0], dtype="float64", device=device, requires_grad=True)
    scale = tensor([1 / 25, 1.0], dtype="float64", device=device)
    optimizer = getattr(optim, name)([x], **options)
    for _ in range(800):
        optimizer.zero_grad()
        value = (scale * x * x).sum()
        value.backward()
        optimizer.step()
    assert value.item() < 1e-3


def test_clipping_by_hand(device: str) -> None:
    """The norm of (3, 4) is 5: it is scaled to 1; by value each element is cut off at 2."""
    p = tensor([0.0, 0.0], dtype="float64", device=device, requires_grad=True)
    p.grad = tensor([3.0, -4.0], dtype="float64", device=device)
    norm = optim.clip_grad_norm_([p], 1.0)
    np.testing.assert_allclose([norm.item(), *p.grad.numpy()], [5, 0.6, -0.8], rtol=1e-6)
    p.grad = tensor([1.0, -4.0], dtype="float64", device=device)
    optim.clip_grad_value_([p], 2.0)
    assert p.grad.tolist() == [1, -2]
