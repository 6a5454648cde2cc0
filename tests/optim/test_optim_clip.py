"""Gradient clipping, against PyTorch and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

import backends
from gpunn import optim
from gpunn.errors import NonFiniteError
from gpunn.tensor import tensor


def with_gradients(*grads, dtype="float64"):
    params = []
    for grad in grads:
        param = tensor(np.zeros(np.shape(grad)), dtype=dtype, requires_grad=True)
        param.grad = tensor(np.asarray(grad, dtype), dtype=dtype)
        params.append(param)
    return params


def test_the_norm_by_hand():
    params = with_gradients([3.0, 0.0], 4.0)
    norm = optim.clip_grad_norm_([*params, tensor([9.0])], max_norm=1.0)
    assert norm.shape == ()
    assert norm.item() == 5.0
    np.testing.assert_allclose(params[0].grad.numpy(), [0.6, 0.0], rtol=1e-6)
    np.testing.assert_allclose(params[1].grad.numpy(), 0.8, rtol=1e-6)


def test_a_small_gradient_keeps_every_bit():
    params = with_gradients([0.3, 0.1], dtype="float32")
    before = params[0].grad.numpy().copy()
    assert optim.clip_grad_norm_(params[0], 1.0).dtype == "float32"
    np.testing.assert_array_equal(params[0].grad.numpy(), before)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("norm_type", [1, 2.0, 3.5, math.inf])
@pytest.mark.parametrize("max_norm", [0.0, 0.5, 1e3])
def test_against_pytorch(dtype, norm_type, max_norm):
    torch = pytest.importorskip("torch")
    numbers = np.random.default_rng(1)
    grads = [np.asarray(numbers.standard_normal(shape), dtype) for shape in ((3, 4), (), (7,))]
    params = with_gradients(*grads, dtype=dtype)
    others = [torch.zeros(grad.shape, requires_grad=True) for grad in grads]
    for other, grad in zip(others, grads, strict=True):
        other.data = torch.zeros(grad.shape, dtype=torch.tensor(grad).dtype)
        other.grad = torch.tensor(grad)
    norm = optim.clip_grad_norm_(params, max_norm, norm_type)
    expected = torch.nn.utils.clip_grad_norm_(others, max_norm, norm_type)
    rtol = 1e-12 if dtype == "float64" else 1e-6
    assert norm.dtype == dtype
    np.testing.assert_allclose(norm.item(), expected.item(), rtol=rtol)
    for param, other in zip(params, others, strict=True):
        np.testing.assert_allclose(param.grad.numpy(), other.grad.numpy(), rtol=rtol)


@pytest.mark.parametrize("norm_type", [1, 2, math.inf])
def test_empty_gradients_and_none_at_all(norm_type):
    assert optim.clip_grad_norm_(with_gradients(np.zeros((0, 3)), [2.0]), 1.0, norm_type).item() == 2.0
    assert optim.clip_grad_norm_([tensor([1.0])], 1.0, norm_type).item() == 0.0
    assert optim.clip_grad_norm_([], 1.0, norm_type).item() == 0.0


def test_large_float32_gradients_do_not_overflow():
    params = with_gradients([3e30, 4e30], dtype="float32")
    assert optim.clip_grad_norm_(params, 1.0).item() == pytest.approx(5e30, rel=1e-6)
    np.testing.assert_allclose(params[0].grad.numpy(), [0.6, 0.8], rtol=1e-6)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("norm_type", [2, math.inf])
def test_a_norm_that_is_not_finite(bad, norm_type):
    params = with_gradients([1.0, bad])
    with pytest.raises(NonFiniteError, match="the norm of the gradients is"):
        optim.clip_grad_norm_(params, 1.0, norm_type, error_if_nonfinite=True)
    np.testing.assert_array_equal(params[0].grad.numpy(), [1.0, bad])
    norm = optim.clip_grad_norm_(params, 1.0, norm_type)
    assert not math.isfinite(norm.item())
    assert np.isnan(params[0].grad.numpy()[1])
    assert params[0].grad.numpy()[0] == 0 or math.isnan(bad)


def test_parameters_on_two_backends():
    here, there = tensor([0.0], dtype="float64"), tensor([0.0], dtype="float64", device="reference")
    here.grad = tensor([3.0], dtype="float64")
    there.grad = tensor([4.0], dtype="float64", device="reference")
    assert optim.clip_grad_norm_([here, there], 1.0).item() == pytest.approx(5.0)
    assert (here.grad.item(), there.grad.item()) == (pytest.approx(0.6), pytest.approx(0.8))


def test_the_values():
    params = with_gradients([-3.0, 0.25, math.nan, math.inf, -0.0], 2.0, np.zeros((0, 2)))
    optim.clip_grad_value_([*params, tensor([1.0])], 0.5)
    np.testing.assert_array_equal(params[0].grad.numpy(), [-0.5, 0.25, math.nan, 0.5, -0.0])
    assert params[1].grad.item() == 0.5


def test_gradients_of_the_tape_can_be_clipped():
    for loss in (lambda x: x.sum(), lambda x: x.mean(), lambda x: (x * x).sum(), lambda x: x[0].sum()):
        for shape in ((2, 3), (1,)):
            param = tensor(np.full(shape, 2.0), dtype="float64", requires_grad=True)
            loss(param).backward()
            expected = np.linalg.norm(param.grad.numpy())
            assert optim.clip_grad_norm_(param, 0.1).item() == pytest.approx(expected)
            assert np.linalg.norm(param.grad.numpy()) == pytest.approx(0.1, rel=1e-4)
            optim.clip_grad_value_(param, 1e-3)
            assert np.abs(param.grad.numpy()).max() <= 1e-3


def test_scalar_gradients_of_the_tape_can_be_clipped():
    param = tensor(2.0, dtype="float64", requires_grad=True)
    (param * param).backward()
    assert optim.clip_grad_norm_(param, 1.0).item() == 4.0
    assert param.grad.item() == pytest.approx(1.0, rel=1e-5)
    optim.clip_grad_value_(param, 0.5)
    assert param.grad.item() == 0.5


def test_what_is_refused():
    for arguments, message in [
        ((-1.0,), "max_norm >= 0"),
        ((math.nan,), "max_norm >= 0"),
        ((1.0, 0), "norm_type > 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            optim.clip_grad_norm_(with_gradients([1.0]), *arguments)
    with pytest.raises(ValueError, match="clip_value >= 0"):
        optim.clip_grad_value_(with_gradients([1.0]), -1.0)


@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_the_primitives(device):
    be = backends.get(device)
    arrays = [be.asarray(np.arange(6, dtype="float32").reshape(2, 3).T), be.asarray(np.array(2.0, "float64"))]
    total = be.sum_of_squares(arrays)
    assert total.shape == ()
    assert total.dtype == "float64"
    assert float(total) == 55 + 4
    assert float(be.total_norm(arrays, 1)) == 17
    assert float(be.total_norm(arrays, math.inf)) == 5
    assert be.sum_of_squares([]).shape == be.total_norm([], 3).shape == be.total_norm([], math.inf).shape == ()
    be.scale_(arrays, be.asarray(0.5))
    assert float(be.sum_of_squares(arrays)) == 59 / 4
    be.clamp_(arrays, 0.5, 1.5)
    assert float(be.total_norm(arrays, math.inf)) == 1.5
    assert arrays[0].dtype == "float32"
