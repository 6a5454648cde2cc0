"""`gpunn.checks.gradcheck` finds wrong gradients, and says which."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpunn
from gpunn import functional as F
from gpunn.checks import GradientError, gradcheck
from gpunn.random import Generator
from gpunn.tensor import record


def leaf(*shape: int) -> gpunn.Tensor:
    return gpunn.tensor(np.random.default_rng(sum(shape)).uniform(0.5, 2, shape), requires_grad=True)


def wrong_product(factor: float) -> Any:
    """a * b, whose gradient for b is too large by ``factor``."""

    def multiply(a: gpunn.Tensor, b: gpunn.Tensor) -> gpunn.Tensor:
        return record("wrong", a.data * b.data, (a, b), lambda dout: (dout * b.data, dout * a.data * factor))

    return multiply


def test_right_gradients(device: str) -> None:
    a, b = leaf(3, 4).detach().to(device).requires_grad_(), leaf(4).detach().to(device).requires_grad_()
    assert gradcheck(lambda a, b: (a * b).exp().sum(1), (a, b))
    assert gradcheck(lambda a: a.log(), a)
    assert a.grad is None, "the inputs are left alone"


def test_a_wrong_gradient_is_named() -> None:
    a, b = leaf(2, 3), leaf(2, 3)
    message = (
        r"gradcheck: input 1, element \[\d, \d\]: analytic \S+, numeric \S+, relative error 9\.99e-04; "
        r"expected at most 1e-05"
    )
    with pytest.raises(GradientError, match=message) as caught:
        gradcheck(wrong_product(1.001), (a, b))
    assert "\n" not in str(caught.value)
    assert gradcheck(wrong_product(1.001), (a, b), raise_exception=False) is False
    assert gradcheck(wrong_product(1.001), (a, b), rtol=1e-2)
    assert gradcheck(wrong_product(1.0), (a, b))


def test_large_inputs_are_checked_along_directions() -> None:
    a, b = leaf(20, 20), leaf(20, 20)
    with pytest.raises(GradientError, match=r"input 1, random direction . over all 400 elements"):
        gradcheck(wrong_product(1.001), (a, b))


def test_inputs_without_gradient_are_passed_on() -> None:
    scores = leaf(4, 3)
    assert gradcheck(lambda x, y, **_: F.cross_entropy(x, y), (scores, np.array([0, 1, 2, 0])))
    assert gradcheck(lambda x, p, n: (x * p) ** n, (scores, leaf(3).detach(), 2))


def test_a_missing_gradient_counts_as_zero() -> None:
    a = leaf(2)
    assert gradcheck(lambda x: x.detach() * 0 + 1, a), "a constant: zero is right"
    with pytest.raises(GradientError, match=r"analytic 0, numeric"):
        gradcheck(lambda x: x.detach() * 2, a)


def test_nan_is_not_agreement() -> None:
    with pytest.raises(GradientError, match="nan"):
        gradcheck(lambda x: (x - 10).log(), leaf(2))


def test_nothing_to_compare_in_an_empty_tensor() -> None:
    assert gradcheck(lambda x: x * 2, leaf(0, 3))


def test_random_functions_must_repeat() -> None:
    x = leaf(5, 5)
    with pytest.raises(ValueError, match="two results for the same inputs; seed"):
        gradcheck(lambda x: F.dropout(x, 0.5), x)
    assert gradcheck(lambda x: F.dropout(x, 0.5, generator=Generator(3)), x)


def test_wrong_use() -> None:
    with pytest.raises(ValueError, match="expected at least one input that requires gradients"):
        gradcheck(lambda x: x, leaf(2).detach())
    with pytest.raises(ValueError, match=r"expected input 0 in float64, got float32; use .double"):
        gradcheck(lambda x: x, gpunn.ones(2, requires_grad=True))
    with pytest.raises(TypeError, match="expected the function to return a Tensor, got float"):
        gradcheck(lambda x: x.sum().item(), leaf(2))


def test_it_works_within_no_grad() -> None:
    with gpunn.no_grad():
        assert gradcheck(lambda x: x * x, leaf(3))
