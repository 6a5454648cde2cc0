"""Adam and AdamW without the correction for their start from zero."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gpunn import optim
from gpunn.tensor import tensor

GRADIENTS = [[2.0, -0.5, 0.0], [1.0, 3.0, -1e-3], [-4.0, 0.25, 7.0]]


def run(optimizer_class, device="cpu", **options):
    param = tensor([1.0, -2.0, 0.5], dtype="float64", device=device, requires_grad=True)
    optimizer = optimizer_class([param], **options)
    for gradient in GRADIENTS:
        param.grad = tensor(gradient, dtype="float64", device=device)
        optimizer.step()
    return param.numpy()


def by_the_rule(decoupled=False, weight_decay=0.0, lr=0.1, betas=(0.9, 0.999), eps=1e-8, amsgrad=False):
    """m = beta1 m + (1 - beta1) g, v = beta2 v + (1 - beta2) g^2, p = p - lr m / (sqrt(v) + eps), element by element."""
    result = []
    for place, p in enumerate([1.0, -2.0, 0.5]):
        m = v = largest = 0.0
        for gradient in GRADIENTS:
            g = gradient[place]
            if decoupled:
                p *= 1 - lr * weight_decay
            else:
                g += weight_decay * p
            m = betas[0] * m + (1 - betas[0]) * g
            v = betas[1] * v + (1 - betas[1]) * g**2
            largest = max(largest, v) if amsgrad else v
            p -= lr * m / (math.sqrt(largest) + eps)
        result.append(p)
    return result


def test_the_first_step_by_hand():
    """g = 2: m = 0.2 and v = 0.004, so p falls by 0.1 * 0.2 / sqrt(0.004) = 0.316, with the correction by 0.1."""
    for bias_correction, fall in [(False, 0.1 * 0.2 / math.sqrt(0.004)), (True, 0.1)]:
        param = tensor([1.0], dtype="float64", requires_grad=True)
        optimizer = optim.Adam([param], lr=0.1, eps=0.0, bias_correction=bias_correction)
        param.grad = tensor([2.0], dtype="float64")
        optimizer.step()
        assert param.item() == pytest.approx(1 - fall, rel=1e-12)


@pytest.mark.parametrize("options", [{}, {"betas": (0.0, 0.5)}, {"weight_decay": 0.1, "amsgrad": True}], ids=str)
@pytest.mark.parametrize(("name", "decoupled"), [("Adam", False), ("AdamW", True)])
def test_against_a_loop(device, name, decoupled, options):
    found = run(getattr(optim, name), device, lr=0.1, bias_correction=False, **options)
    options = {"weight_decay": 1e-2 if decoupled else 0.0, **options}
    np.testing.assert_allclose(found, by_the_rule(decoupled, **options), rtol=1e-12)


def test_with_the_correction_nothing_changed(device):
    np.testing.assert_array_equal(run(optim.Adam, device, bias_correction=True), run(optim.Adam, device))
    assert (run(optim.Adam, device, bias_correction=False) != run(optim.Adam, device)).all()


def test_a_group_may_go_without_and_a_state_remembers_it():
    first, second = (tensor([1.0], requires_grad=True) for _ in range(2))
    optimizer = optim.Adam([{"params": [first]}, {"params": [second], "bias_correction": False}], lr=0.1)
    resumed = optim.Adam([{"params": [first]}, {"params": [second]}], lr=0.1)
    resumed.load_state_dict(optimizer.state_dict())
    for param in (first, second):
        param.grad = tensor([1.0])
    resumed.step()
    assert first.item() == pytest.approx(0.9)
    assert second.item() == pytest.approx(1 - 0.1 * 0.1 / math.sqrt(1e-3))


def test_states_and_defaults_stay_pytorchs():
    torch = pytest.importorskip("torch")
    theirs = torch.optim.Adam([torch.zeros(1)])
    optim.Adam([tensor([0.0])]).load_state_dict(theirs.state_dict())
    assert "bias_correction" not in optim.Adam([tensor([0.0])]).defaults
    with pytest.raises(ValueError, match="lacks bias_correction"):
        optim.Adam([tensor([0.0])], bias_correction=False).load_state_dict(theirs.state_dict())
