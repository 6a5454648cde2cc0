"""Batch normalization in half precision, with parameters and statistics in float32 or in half precision too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import backends
from gpunn import functional as F
from gpunn import nn
from gpunn.dtypes import as_dtype
from gpunn.tensor import Tensor

EPSILON = {"float16": 2.0**-10, "bfloat16": 2.0**-7}
SHAPE = (40, 3, 5, 4)


@pytest.fixture(params=EPSILON)
def half(request: pytest.FixtureRequest) -> str:
    if request.param == "bfloat16":
        pytest.importorskip("ml_dtypes")
    return str(request.param)


def operands(device: str, half: str, of_channels: str) -> tuple[Tensor, ...]:
    """x, running mean and variance, weight, bias. The numbers of x are so large that their squares leave float16."""
    backend, rng = backends.get(device), np.random.default_rng(3)
    x = rng.normal(400.0, 100.0, SHAPE).astype(as_dtype(half))
    mean, variance, weight, bias = rng.uniform(0.5, 1.5, (4, 3)) * np.array([[400.0], [1e4], [1.0], [1.0]])
    arrays = [x, *(v.astype(as_dtype(of_channels)) for v in (mean, variance, weight, bias))]
    return tuple(Tensor(backend.asarray(v), backend, requires_grad=i in (0, 3, 4)) for i, v in enumerate(arrays))


def run(tensors: tuple[Tensor, ...], function: Any, training: bool) -> tuple[Tensor, ...]:
    x, mean, variance, weight, bias = tensors
    y = function(x, mean, variance, weight, bias, training)
    weights = np.round(32 * np.cos(np.arange(y.numel()))) / 32  # the same numbers in every precision
    y.backward(weights.reshape(y.shape).astype("float32"))
    gradients = tuple(t.grad for t in (x, weight, bias) if t.grad is not None)
    return (y, *gradients, mean, variance)


def wide(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The very same numbers in float64 on the reference device."""
    backend = backends.get("reference")
    return tuple(Tensor(t.numpy().astype(np.float64), backend, requires_grad=t.requires_grad) for t in tensors)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("function", [F.batch_norm, F.batch_norm_relu])
def test_float32_parameters(device: str, half: str, function: Any, training: bool) -> None:
    """y and dx are rounded once to half precision, all that is of channels stays float32."""
    given = operands(device, half, "float32")
    oracle = run(wide(given), function, training)
    found = run(given, function, training)
    names = ("y", "dx", "gradient of weight", "gradient of bias", "running mean", "running variance")
    for name, mine, exact in zip(names, found, oracle, strict=True):
        rounded = name in ("y", "dx")
        assert mine.dtype.name == (half if rounded else "float32"), name
        rtol = 4 * EPSILON[half] if rounded else 32 * 2.0**-23  # sums of 800 terms: the root of it
        wanted = exact.numpy()
        atol = rtol * np.abs(wanted).max()
        np.testing.assert_allclose(mine.numpy().astype(np.float64), wanted, rtol=rtol, atol=atol, err_msg=name)


@pytest.mark.parametrize("training", [True, False])
def test_half_parameters(device: str, half: str, training: bool) -> None:
    """A network of half precision keeps it in all it has; the sums are still float32's."""
    given = operands(device, half, half)
    oracle = run(wide(given), F.batch_norm_relu, training)
    found = run(given, F.batch_norm_relu, training)
    for mine, exact in zip(found, oracle, strict=True):
        assert mine.dtype.name == half
        wanted, eps = exact.numpy(), EPSILON[half]
        np.testing.assert_allclose(
            mine.numpy().astype(np.float64), wanted, rtol=16 * eps, atol=16 * eps * np.abs(wanted).max()
        )


def test_a_layer_in_half(device: str, half: str) -> None:
    layer = nn.BatchNorm2d(3).to(device, dtype=half)
    x = operands(device, half, half)[0]
    layer(x).sum().backward()
    assert {t.dtype.name for t in (*layer.parameters(), layer.running_mean, layer.running_var)} == {half}
    assert layer.weight.grad.dtype.name == half
    assert abs(float(layer.running_mean.numpy().astype(np.float64).mean()) - 40) < 2
    layer.eval()
    assert layer(x).dtype.name == half


def test_statistics_are_not_rounded_to_half(device: str, half: str) -> None:
    backend = backends.get(device)
    x = backend.asarray(np.array([[1.0], [1.0 + EPSILON[half]]], as_dtype(half)))
    (_, mean, variance), _ = backend.batch_norm(x, None, None)
    assert mean.dtype.name == variance.dtype.name == "float32"
    assert backend.to_numpy(mean).tolist() == [1.0 + EPSILON[half] / 2]
    assert backend.to_numpy(variance).tolist() == [EPSILON[half] ** 2 / 4]
