"""Gradients where a function has a corner, a tie or a pole: the choices that are documented, which are PyTorch's."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gpunn
from gpunn import Tensor
from gpunn import functional as F

INF = math.inf

# Of one tensor: the function, where, and the gradient of the sum of its results there.
OF_ONE: dict[str, tuple[Callable[[Any], Any], Any, Any]] = {
    "relu at 0 is flat": (F.relu, [-1.0, -0.0, 0.0, 1.0], [0, 0, 0, 1]),
    "leaky relu at 0 has the small slope": (lambda x: F.leaky_relu(x, 0.2), [-1.0, 0.0, 1.0], [0.2, 0.2, 1]),
    "elu at 0 has the slope alpha": (lambda x: F.elu(x, 0.5), [0.0, 1.0], [0.5, 1]),
    "prelu at 0 has the weight's slope": (
        lambda x: F.prelu(x, gpunn.tensor([0.25]).to(x.device, x.dtype)), [0.0, 1.0], [0.25, 1]),
    "softplus at its threshold": (lambda x: F.softplus(x, threshold=0.0), [0.0, 1e-9], [0.5, 1]),
    "abs at 0 is flat": (Tensor.abs, [-2.0, 0.0, 2.0], [-1, 0, 1]),
    "clamp passes at its bounds": (lambda x: x.clamp(-1, 1), [-2.0, -1.0, 0.0, 1.0, 2.0], [0, 1, 1, 1, 0]),
    "clamp of crossed bounds": (lambda x: x.clamp(1, -1), [-2.0, 0.0, 2.0], [0, 0, 0]),
    "sqrt at 0": (Tensor.sqrt, [0.0, 4.0], [INF, 0.25]),
    "log at 0": (Tensor.log, [0.0, 2.0], [INF, 0.5]),
    "reciprocal at 0": (Tensor.reciprocal, [0.0, 2.0], [-INF, -0.25]),
    "square at 0": (lambda x: x**2, [0.0, 3.0], [0, 6]),
    "first power at 0": (lambda x: x**1, [0.0, 3.0], [1, 1]),
    "power of 0 at 0": (lambda x: x**0, [0.0, 3.0], [0, 0]),
    "maximum with a number at a tie": (lambda x: F.maximum(x, 1.0), [0.0, 1.0, 2.0], [0, 0.5, 1]),
    "minimum with a number at a tie": (lambda x: F.minimum(x, 1.0), [0.0, 1.0, 2.0], [1, 0.5, 0]),
    "max of all shares": (Tensor.max, [3.0, 1.0, 3.0, 3.0], [1 / 3, 0, 1 / 3, 1 / 3]),
    "min of all shares": (Tensor.min, [3.0, 1.0, 1.0], [0, 0.5, 0.5]),
    "amax shares in each row": (lambda x: x.amax(1), [[1.0, 1.0], [1.0, 2.0]], [[0.5, 0.5], [0, 1]]),
    "NaN is the largest": (lambda x: x.amax(0), [1.0, math.nan, 2.0], [0, 1, 0]),
    "max along takes the first": (lambda x: x.max(0).values, [3.0, 1.0, 3.0], [1, 0, 0]),
    "min along takes the first": (lambda x: x.min(0).values, [3.0, 1.0, 1.0], [0, 1, 0]),
    "maxout takes the first": (lambda x: F.maxout(x, 2), [[2.0, 2.0]], [[1, 0]]),
    "max-pooling takes the first": (lambda x: F.max_pool2d(x, 2), [[[[5.0, 5.0], [5.0, 5.0]]]], [[[[1, 0], [0, 0]]]]),
    "max-pooling with indices takes the first": (
        lambda x: F.max_pool2d(x, 2, return_indices=True)[0], [[[[1.0, 5.0], [5.0, 5.0]]]], [[[[0, 1], [0, 0]]]]),
    "norm at 0 is flat": (Tensor.norm, [0.0, 0.0], [0, 0]),
    "norm of order 3 at 0 is flat": (lambda x: x.norm(3), [0.0, 0.0], [0, 0]),
    "norm of order 1 at 0 is flat": (lambda x: x.norm(1), [0.0, -2.0], [0, -1]),
    "largest magnitude shares": (lambda x: x.norm(INF), [2.0, -2.0, 1.0], [0.5, -0.5, 0]),
    "std of equal numbers is flat": (lambda x: x.std(), [2.0, 2.0, 2.0], [0, 0, 0]),
    "where takes no part of the other side": (lambda x: gpunn.where(x > 0, x.log(), x), [0.5, -1.0], [2, 1]),
    "hinge at its corner": (lambda x: F.hinge_loss(x, np.ones(3), reduction="sum"), [0.0, 1.0, 2.0], [-1, 0, 0]),
    "l1 where nothing is missed": (lambda x: F.l1_loss(x, np.ones(2), reduction="sum"), [1.0, 3.0], [0, 1]),
    "modified Huber where its parts meet": (
        lambda x: F.modified_huber_loss(x, np.ones(3), reduction="sum"), [-1.0, 0.0, 1.0], [-4, -2, 0]),
    "multiclass hinge exactly at the margin": (
        lambda x: F.multi_margin_loss(x, np.array([0]), reduction="sum"), [[1.0, 0.0, 2.0]], [[-1 / 3, 0, 1 / 3]]),
    "every label ignored": (lambda x: F.cross_entropy(x, np.array([-100])), [[1.0, 2.0]], [[0, 0]]),
    "every label ignored, log-probabilities": (lambda x: F.nll_loss(x, np.array([-100])), [[1.0, 2.0]], [[0, 0]]),
    "an ignored row of infinite scores": (
        lambda x: F.cross_entropy(x, np.array([-100, 0]), reduction="sum"), [[-INF, 0.0], [0.0, 0.0]], [[0, 0], [-0.5, 0.5]]),
    "a class of probability 0": (lambda x: F.cross_entropy(x, np.array([0])), [[0.0, -INF, 0.0]], [[-0.5, 0, 0.5]]),
    "probabilities of 0 and 1 that are right": (
        lambda x: F.binary_cross_entropy(x, np.array([0.0, 1.0])), [0.0, 1.0], [0, 0]),
    "probabilities of 0 and 1 that are wrong": (
        lambda x: F.binary_cross_entropy(x, np.array([1.0, 0.0]), reduction="sum"), [0.0, 1.0], [-1e12, 1e12]),
    "logits far out": (
        lambda x: F.binary_cross_entropy_with_logits(x, np.array([1.0, 0.0, 0.0, 1.0]), reduction="sum"),
        [1e4, -1e4, 1e4, -1e4], [0, 0, 1, -1]),
    "logsumexp of large numbers": (lambda x: x.logsumexp(0), [100.0, 100.0], [0.5, 0.5]),
    "a channel without variance": (
        lambda x: F.batch_norm(x, None, None, training=True) * gpunn.tensor([[1.0], [2.0], [4.0]]).to(x.device, x.dtype),
        [[2.0], [2.0], [2.0]], np.array([[-4.0], [-1.0], [5.0]]) / 3 / math.sqrt(1e-5)),
}  # fmt: skip

# Of two tensors at a tie or a pole: the gradient of the sum for each of them.
OF_TWO: dict[str, tuple[Callable[[Any, Any], Any], Any, Any, Any, Any]] = {
    "maximum: half each at a tie": (F.maximum, [1.0, 2.0, 3.0], [3.0, 2.0, 1.0], [0, 0.5, 1], [1, 0.5, 0]),
    "minimum: half each at a tie": (F.minimum, [1.0, 2.0, 3.0], [3.0, 2.0, 1.0], [1, 0.5, 0], [0, 0.5, 1]),
    "a power of 0 is constant": (lambda a, b: a**b, [0.0, 0.0, 0.0], [0.0, 1.0, 2.0], [0, 1, 0], [0, 0, 0]),
    "a quotient by 0": (lambda a, b: a / b, [1.0], [0.0], [INF], [-INF]),
    "prelu at 0": (lambda x, w: F.prelu(x, w), [0.0, -2.0, 3.0], [0.5], [0.5, 0.5, 1], [-2]),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", OF_ONE)
def test_of_one(device: str, dtype: str, name: str) -> None:
    function, values, expected = OF_ONE[name]
    x = gpunn.tensor(values, dtype=dtype, device=device, requires_grad=True)
    function(x).sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), expected, rtol=1e-5 if dtype == "float32" else 1e-10, atol=1e-7)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", OF_TWO)
def test_of_two(device: str, dtype: str, name: str) -> None:
    function, first, second, *expected = OF_TWO[name]
    tensors = [gpunn.tensor(v, dtype=dtype, device=device, requires_grad=True) for v in (first, second)]
    function(*tensors).sum().backward()
    for tensor, gradient in zip(tensors, expected, strict=True):
        assert tensor.grad is not None
        np.testing.assert_allclose(tensor.grad.numpy(), gradient, rtol=1e-6)


@pytest.mark.parametrize("kind", ["int64", "int32", "uint8"])
@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss", "multi_margin_loss"])
def test_labels_of_any_integer_type(device: str, name: str, kind: str) -> None:
    scores = gpunn.tensor([[0.1, 0.7, -0.3], [1.0, 2.0, 0.5]], device=device)
    labels = np.array([2, 0])
    expected = getattr(F, name)(scores, labels).item()
    assert getattr(F, name)(scores, labels.astype(kind)).item() == expected
    assert getattr(F, name)(scores, gpunn.tensor(labels.astype(kind), device=device)).item() == expected
