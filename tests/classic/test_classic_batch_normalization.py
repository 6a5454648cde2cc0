"""Batch normalization step by step: by hand, against the fused operation, the tape and finite differences, in both modes."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

import gpunn
from gpunn import functional as F
from gpunn import nn
from gpunn.checks import gradcheck
from gpunn.classic import batch_normalization as steps_of

SHAPES = [(2, 1), (6, 4), (5, 3, 4), (3, 2, 4, 5)]


def draw(shape: tuple[int, ...], device: str, seed: int, requires_grad: bool = False) -> gpunn.Tensor:
    values = np.random.default_rng(seed).normal(size=shape)
    return gpunn.tensor(values, device=device, requires_grad=requires_grad)


def batch(shape: tuple[int, ...], device: str) -> tuple[gpunn.Tensor, gpunn.Tensor, gpunn.Tensor]:
    channels = shape[1:2]
    return tuple(draw(s, device, i, True) for i, s in enumerate((shape, channels, channels)))  # type: ignore[return-value]


def test_by_hand(device: str) -> None:
    """x = 1, 3, 5, 7 with epsilon 4: mean 4, variance 5, deviation 3; weight 6, bias 1."""
    x = gpunn.tensor([[1.0], [3.0], [5.0], [7.0]], device=device)
    weight, bias = gpunn.tensor([6.0], device=device), gpunn.tensor([1.0], device=device)
    s = steps_of.forward(x, weight, bias, epsilon=4.0)
    assert (s.mean.item(), s.variance.item(), s.deviation.item()) == (4, 5, 3)
    assert s.centered.tolist() == [[-3], [-1], [1], [3]]
    assert s.squared.tolist() == [[9], [1], [1], [9]]
    np.testing.assert_allclose(s.normalized.numpy(), [[-1], [-1 / 3], [1 / 3], [1]], rtol=1e-6)
    np.testing.assert_allclose(s.out.numpy(), [[-5], [-1], [3], [7]], rtol=1e-6)

    g = steps_of.backward(s, gpunn.tensor([[3.0], [0.0], [0.0], [0.0]], device=device))
    # d_bias = 3, d_weight = 3 * -1; d_normalized = 18 in the first row; d_inverse = 18 * -3; d_deviation = 54 / 9;
    # d_variance = 6 / 6; d_squared = 1 / 4; d_centered = (6, 0, 0, 0) + centered / 2; d_mean = -6; d_x = d_centered - 6 / 4.
    found = [t.item() for t in (g.d_bias, g.d_weight, g.d_inverse, g.d_deviation, g.d_variance, g.d_mean)]
    np.testing.assert_allclose(found, [3, -3, -54, 6, 1, -6], rtol=1e-6)
    np.testing.assert_allclose(g.d_squared.numpy(), [[0.25]] * 4, rtol=1e-6)
    np.testing.assert_allclose(g.d_centered.numpy(), [[4.5], [-0.5], [0.5], [1.5]], rtol=1e-5)
    np.testing.assert_allclose(g.d_x.numpy(), [[3], [-2], [-1], [0]], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("epsilon", [1e-5, 0.3])
def test_equal_to_the_fused_operation(shape: tuple[int, ...], epsilon: float, device: str) -> None:
    x, weight, bias = batch(shape, device)
    d_out = draw(shape, device, 9)
    s = steps_of.forward(x.detach(), weight.detach(), bias.detach(), epsilon)
    g = steps_of.backward(s, d_out)
    out = F.batch_norm(x, None, None, weight, bias, training=True, eps=epsilon)
    out.backward(d_out)
    np.testing.assert_allclose(s.out.numpy(), out.numpy(), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(g.d_x.numpy(), x.grad.numpy(), rtol=1e-8, atol=1e-11)
    np.testing.assert_allclose(g.d_weight.numpy().ravel(), weight.grad.numpy(), rtol=1e-10)
    np.testing.assert_allclose(g.d_bias.numpy().ravel(), bias.grad.numpy(), rtol=1e-10)
    np.testing.assert_allclose(steps_of.backward_at_once(s, d_out).numpy(), g.d_x.numpy(), rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_intermediate_gradient_is_that_of_the_tape(shape: tuple[int, ...], device: str) -> None:
    """Made a leaf in turn, each intermediate gets from the tape, which carries out the steps behind it, its own gradient."""
    x, weight, bias = (t.detach() for t in batch(shape, device))
    d_out = draw(shape, device, 9)
    s = steps_of.forward(x, weight, bias, 0.1)
    g = steps_of.backward(s, d_out)

    def behind(name: str) -> gpunn.Tensor:
        """The steps again, with intermediate ``name`` a leaf; returns its gradient."""
        leaf = getattr(s, name).detach().clone().requires_grad_()
        v = {field.name: getattr(s, field.name) for field in dataclasses.fields(s)} | {name: leaf}
        graph = {
            "centered": lambda: v["x"] - v["mean"],
            "squared": lambda: v["centered"] ** 2,
            "variance": lambda: v["squared"].mean(s.axes, keepdim=True),
            "deviation": lambda: (v["variance"] + 0.1).sqrt(),
            "inverse": lambda: 1 / v["deviation"],
            "normalized": lambda: v["centered"] * v["inverse"],
            "scaled": lambda: v["weight"] * v["normalized"],
            "out": lambda: v["scaled"] + v["bias"],
        }
        passed = name not in graph  # mean, weight and bias stand before all of them
        for step, compute in graph.items():
            if passed:
                v[step] = compute()
            passed = passed or step == name
        v["out"].backward(d_out)
        return leaf.grad

    for field in dataclasses.fields(g):
        name = field.name.removeprefix("d_")
        if name != "x":
            found = getattr(g, field.name).numpy()
            np.testing.assert_allclose(found, behind(name).numpy(), rtol=1e-9, atol=1e-10, err_msg=field.name)


@pytest.mark.parametrize("shape", SHAPES[1:])
def test_against_finite_differences(shape: tuple[int, ...], device: str) -> None:
    x, weight, bias = batch(shape, device)
    assert gradcheck(lambda x, weight, bias: steps_of.forward(x, weight, bias, 0.1).out, (x, weight, bias))


def test_what_normalization_promises(device: str) -> None:
    """Mean 0 and variance 1 a channel, whatever the scale and shift of x; and a gradient that knows of both."""
    x = draw((50, 3), device, 0) * 7 + 100
    one, zero = gpunn.ones(3, dtype="float64", device=device), gpunn.zeros(3, dtype="float64", device=device)
    s = steps_of.forward(x, one, zero, 0.0)
    np.testing.assert_allclose(s.out.numpy().mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(s.out.numpy().var(axis=0), 1, rtol=1e-12)
    np.testing.assert_allclose(
        steps_of.forward(3 * x + 5, one, zero, 0.0).out.numpy(), s.out.numpy(), rtol=1e-8, atol=1e-10
    )
    d_x = steps_of.backward(s, draw((50, 3), device, 1)).d_x.numpy()
    # Moving or stretching x changes nothing, so the gradient is orthogonal to both directions.
    np.testing.assert_allclose(d_x.sum(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose((d_x * s.normalized.numpy()).sum(axis=0), 0, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_train_and_test_mode_of_the_layer(shape: tuple[int, ...], device: str) -> None:
    """nn's layer over three batches in training, then one in evaluation, against `follow` and `evaluate`."""
    channels = shape[1]
    layer = (nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d)(
        channels, momentum=0.3, device=device, dtype="float64"
    )
    weight, bias = draw((channels,), device, 1), draw((channels,), device, 2)
    layer.load_state_dict({**layer.state_dict(), "weight": weight, "bias": bias})
    mean = gpunn.zeros(channels, dtype="float64", device=device)
    variance = gpunn.ones(channels, dtype="float64", device=device)
    for seed in (3, 4, 5):
        x = draw(shape, device, seed)
        s = steps_of.forward(x, weight, bias)
        mean, variance = steps_of.follow(mean, variance, s, momentum=0.3)
        np.testing.assert_allclose(layer(x).detach().numpy(), s.out.numpy(), rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(layer.running_mean.numpy(), mean.numpy(), rtol=1e-12)
    np.testing.assert_allclose(layer.running_var.numpy(), variance.numpy(), rtol=1e-12)

    layer.eval()
    x = draw(shape, device, 6)
    expected = steps_of.evaluate(x, weight, bias, mean, variance).numpy()
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, rtol=1e-10, atol=1e-12)
    # In test mode an example does not depend on its batch, and may be alone.
    np.testing.assert_allclose(layer(x[:1]).detach().numpy(), expected[:1], rtol=1e-10, atol=1e-12)


def test_running_statistics_by_hand(device: str) -> None:
    """Values 0 and 4: mean 2, variance 4 of the batch, 8 of the population. A tenth of the way from (0, 1): 0.2 and 1.7."""
    ones, zeros = gpunn.ones(1, dtype="float64", device=device), gpunn.zeros(1, dtype="float64", device=device)
    s = steps_of.forward(gpunn.tensor([[0.0], [4.0]], dtype="float64", device=device), ones, zeros)
    mean, variance = steps_of.follow(zeros, ones, s)
    assert (mean.item(), variance.item()) == (pytest.approx(0.2), pytest.approx(1.7))
    one = gpunn.tensor([[1.0]], dtype="float64", device=device)
    found = steps_of.evaluate(one, ones, zeros, mean, variance, epsilon=0.0).item()
    assert found == pytest.approx(0.8 / math.sqrt(1.7))


def test_before_and_after_the_nonlinearity(device: str) -> None:
    """Before a ReLU it makes the ReLU's inputs mean 0 and variance 1; after it, what the next layer gets."""
    gpunn.manual_seed(0)
    x = draw((200, 6), device, 0)
    linear = nn.Linear(6, 5, device=device, dtype="float64")
    norm = nn.BatchNorm1d(5, eps=0.0, device=device, dtype="float64")
    before = nn.Sequential(linear, norm, nn.ReLU())(x).detach().numpy()
    after = nn.Sequential(linear, nn.ReLU(), norm)(x).detach().numpy()
    assert (before >= 0).all()
    normalized = norm(linear(x)).detach().numpy()
    np.testing.assert_allclose(before, np.maximum(normalized, 0), atol=1e-12)
    for out in (normalized, after):
        np.testing.assert_allclose(out.mean(axis=0), 0, atol=1e-10)
        np.testing.assert_allclose(out.var(axis=0), 1, rtol=1e-8)
    assert (before.mean(axis=0) > 0.2).all()
    # Before the nonlinearity the bias of the layer in front is lost in the mean: it gets no gradient.
    nn.Sequential(linear, norm, nn.ReLU())(x).backward(draw((200, 5), device, 1))
    np.testing.assert_allclose(linear.bias.grad.numpy(), 0, atol=1e-10)


def test_against_pytorch(device: str) -> None:
    torch = pytest.importorskip("torch")
    x, weight, bias = batch((4, 3, 5, 2), device)
    d_out = draw((4, 3, 5, 2), device, 9)
    theirs = [torch.tensor(t.detach().numpy(), requires_grad=True) for t in (x, weight, bias)]
    out = torch.nn.functional.batch_norm(theirs[0], None, None, *theirs[1:], training=True)
    out.backward(torch.tensor(d_out.numpy()))
    s = steps_of.forward(x, weight, bias)
    g = steps_of.backward(s, d_out)
    np.testing.assert_allclose(s.out.detach().numpy(), out.detach().numpy(), rtol=1e-9, atol=1e-11)
    for ours, grad in zip((g.d_x, g.d_weight.reshape(-1), g.d_bias.reshape(-1)), theirs, strict=True):
        np.testing.assert_allclose(ours.numpy(), grad.grad.numpy(), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(
    ("shape", "channels", "message"),
    [
        ((3,), 3, r"expected x of shape \(N, C\) or \(N, C, ...\), got \(3,\)"),
        ((4, 3), 2, r"expected weight of shape \(3,\) for x \(4, 3\), got \(2,\)"),
        ((1, 3), 3, r"expected at least 2 values a channel in training, got shape \(1, 3\)"),
        ((0, 3), 3, r"expected at least 2 values a channel in training, got shape \(0, 3\)"),
    ],
)
def test_wrong_use_is_one_line(shape: tuple[int, ...], channels: int, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        steps_of.forward(gpunn.zeros(*shape), gpunn.ones(channels), gpunn.zeros(channels))
    assert "\n" not in str(caught.value)
