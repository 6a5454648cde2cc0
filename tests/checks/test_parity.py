"""Parity passes where a device is right, and names the operation where one primitive of it is altered."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import backends
import gpunn
from backends import Backend
from backends.cpu import NumpyBackend
from gpunn import functional as F
from gpunn import nn, optim
from gpunn.checks import ParityError, Report, assert_parity, parity
from gpunn.models import build
from gpunn.random import default_generator


def images(count: int, channels: int, size: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, channels, size, size))


LABELS = np.array([3, 0, 1, 2])


class Net(nn.Module):
    """An operation of each kind, and maps that stay large enough for every window."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(8, 6, 3),
            nn.Tanh(),
        )
        self.head = nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Dropout(0.3), nn.Linear(24, 4))

    def forward(self, x: gpunn.Tensor) -> gpunn.Tensor:
        return self.head(self.features(x))


def compared(alter: type[Backend] | None = None, **options: Any) -> Report:
    """The network's step on the device "cpu", altered or not."""
    gpunn.manual_seed(1)
    device = backends.get("cpu") if alter is None else altered(alter)
    return parity(Net(), (images(4, 3, 14), LABELS), devices=[device], **options)


def altered(mixin: type) -> Backend:
    backend = type("Altered", (mixin, NumpyBackend), {"__init__": lambda self: Backend.__init__(self, np, "altered")})()
    assert isinstance(backend, Backend)
    return backend


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "size"), [("mlp", 32), ("lenet5", 32), ("alexnet_cifar", 16), ("vgg11_bn", 32)])
def test_the_cpu_agrees_with_the_reference(name: str, size: int, dtype: str) -> None:
    report = parity(build(name, 10, 3, size), (images(2, 3, size), LABELS[:2]), devices=["cpu"], dtype=dtype)
    assert report, report.conclusion()
    assert report.dtype == dtype
    phases = [operation.phase for operation in report.operations]
    assert phases == sorted(phases, key=["forward", "backward", "update"].index)
    assert phases.count("update") == 2
    assert report.outcomes["cpu"].loss == pytest.approx(report.loss, rel=1e-5)


@pytest.mark.parametrize("optimizer", [
    lambda p: optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.1, weight_decay=0.01), lambda p: optim.Adagrad(p),
    lambda p: optim.RMSprop(p, momentum=0.9, centered=True), lambda p: optim.Adam(p, amsgrad=True), lambda p: optim.AdamW(p),
])  # fmt: skip
def test_every_optimizer(optimizer: Any) -> None:
    report = compared(optimizer=optimizer, clip_norm=0.01)
    assert report, report.conclusion()
    updates = [operation.name for operation in report.operations if operation.phase == "update"]
    assert updates[0] == "total_norm"
    assert len(updates) == 4, "the norm, the clipping, and the update twice"


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision(dtype: str) -> None:
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    report = parity(
        build("lenet5", 10, 3, 32), (images(2, 3, 32), LABELS[:2]), devices=["cpu", "reference"], dtype=dtype
    )
    assert report, report.conclusion()


def test_mixed_precision_keeps_each_dtype() -> None:
    class Mixed(Net):
        def forward(self, x: gpunn.Tensor) -> gpunn.Tensor:
            with gpunn.autocast("float16"):
                return super().forward(x)

    report = parity(Mixed(), (images(4, 3, 14), LABELS), devices=["cpu"])
    assert report, report.conclusion()
    assert "cast" in {operation.name for operation in report.operations}
    (conv,) = [o for o in report.operations if o.label == "features.0 conv2d" and o.phase == "forward"]
    assert conv.quantities[0].budget > 2**-10


# One primitive of the CPU, altered.


class LeavesOutTheLastChannel:
    def conv2d(self, x, weight, bias, **options):  # type: ignore[no-untyped-def]
        cut = weight.copy()
        cut[:, -1] = 0
        return super().conv2d(x, cut, bias, **options)  # type: ignore[misc]


class ShiftsTheGradientOfTheFilters:
    def conv2d_backward(self, saved, dout, needs=(True, True, True)):  # type: ignore[no-untyped-def]
        dx, dw, db = super().conv2d_backward(saved, dout, needs)  # type: ignore[misc]
        return dx, np.roll(dw, 1, axis=2), db


class OtherEpsilon:
    def batch_norm(self, x, weight, bias, eps=1e-5):  # type: ignore[no-untyped-def]
        return super().batch_norm(x, weight, bias, eps=1e-6)  # type: ignore[misc]


class UnbiasedVariance:
    def batch_norm(self, x, weight, bias, eps=1e-5):  # type: ignore[no-untyped-def]
        (y, mean, variance), saved = super().batch_norm(x, weight, bias, eps)  # type: ignore[misc]
        count = x.size // x.shape[1]
        return (y, mean, variance * (count / (count - 1))), saved


class DropsATermOfTheGradient:
    def batch_norm_backward(self, saved, dout):  # type: ignore[no-untyped-def]
        dx, dw, db = super().batch_norm_backward(saved, dout)  # type: ignore[misc]
        return dx + dout.mean(axis=(0, 2, 3), keepdims=True), dw, db


class PassesGradientsBelowZero:
    def relu_backward(self, out, dout):  # type: ignore[no-untyped-def]
        return (dout,)


class LeakyRelu:
    def relu(self, x):  # type: ignore[no-untyped-def]
        out = np.where(x > 0, x, x * np.float32(1e-6)).astype(x.dtype)
        return out, np.maximum(x, 0)


class TakesTheLastOfAWindow:
    def max_pool2d(self, x, kernel, stride, padding=(0, 0), dilation=(1, 1), ceil_mode=False):  # type: ignore[no-untyped-def]
        out, saved = super().max_pool2d(x[:, :, ::-1, ::-1], kernel, stride, padding, dilation, ceil_mode)  # type: ignore[misc]
        return out[:, :, ::-1, ::-1], saved


class CountsTheWindowWrongly:
    def avg_pool2d_backward(self, saved, dout):  # type: ignore[no-untyped-def]
        (dx,) = super().avg_pool2d_backward(saved, dout)  # type: ignore[misc]
        return (dx * dx.dtype.type(1.0001),)


class OtherRandomBits:
    def dropout(self, x, p, seed, stream):  # type: ignore[no-untyped-def]
        return super().dropout(x, p, seed, stream + 1)  # type: ignore[misc]


class RoundedAsInTF32:
    def linear(self, x, weight, bias):  # type: ignore[no-untyped-def]
        coarse = (weight.view(np.int32) & ~0x1FFF).view(np.float32)
        out, (_, _, has_bias) = super().linear(x, coarse, bias)  # type: ignore[misc]
        return out, (x, weight, has_bias)


class WeightsOfRowsForgotten:
    def cross_entropy_backward(self, gradient, dout):  # type: ignore[no-untyped-def]
        return gradient * dout * len(gradient), None, None


class ForgetsTheMomentum:
    def sgd_(self, params, grads, momentum_buffers, **options):  # type: ignore[no-untyped-def]
        super().sgd_(params, grads, momentum_buffers, **{**options, "first_step": True})  # type: ignore[misc]


class WritesToItsInput:
    def tanh(self, x):  # type: ignore[no-untyped-def]
        out = np.tanh(x, out=x)
        return out.copy(), out


class Raises:
    def tanh_backward(self, out, dout):  # type: ignore[no-untyped-def]
        raise NotImplementedError("no such kernel")


class ForgetsTheBias:
    def linear_backward(self, saved, dout, needs=(True, True, True)):  # type: ignore[no-untyped-def]
        return (*super().linear_backward(saved, dout, needs)[:2], None)  # type: ignore[misc]


class Widens:
    def tanh(self, x):  # type: ignore[no-untyped-def]
        out, saved = super().tanh(x)  # type: ignore[misc]
        return out.astype(np.float64), saved


class LosesARow:
    def tanh(self, x):  # type: ignore[no-untyped-def]
        out, saved = super().tanh(x)  # type: ignore[misc]
        return out[:-1], saved


class KnowsOneMemoryOrder:
    """Wrong where the channels stand last in memory, as convolution leaves them on the CPU and on CUDA."""

    def batch_norm(self, x, weight, bias, eps=1e-5):  # type: ignore[no-untyped-def]
        flat = (
            x
            if x.flags.c_contiguous
            else np.lib.stride_tricks.as_strided(x, x.shape, np.empty(x.shape, x.dtype).strides)
        )
        return super().batch_norm(flat, weight, bias, eps)  # type: ignore[misc]


@pytest.mark.parametrize(("alter", "difference"), [
    (LeavesOutTheLastChannel, "features.0 conv2d, forward, out: error"),
    (ShiftsTheGradientOfTheFilters, "features.4 conv2d, backward, gradient of weight: error"),
    (UnbiasedVariance, "features.1 batch_norm, forward, variance: error"),
    (DropsATermOfTheGradient, "features.1 batch_norm, backward, gradient of x: error"),
    (PassesGradientsBelowZero, "features.2 relu, backward, gradient of x: error"),
    (LeakyRelu, "features.2 relu, forward, out: error"),
    (TakesTheLastOfAWindow, "features.3 max_pool2d, forward, out: error"),
    (CountsTheWindowWrongly, "head.0 avg_pool2d, backward, gradient of x: error"),
    (OtherRandomBits, "head.2 dropout, forward, mask: error inf"),
    (RoundedAsInTF32, "head.3 linear, forward, out: error"),
    (WeightsOfRowsForgotten, "loss cross_entropy, backward, gradient of logits: error"),
    (ForgetsTheMomentum, "sgd_, update, "),
    (WritesToItsInput, "features.5 tanh, forward: wrote to its input"),
    (Raises, "features.5 tanh, backward: raised NotImplementedError: no such kernel"),
    (ForgetsTheBias, "head.3 linear, backward: no gradient of bias"),
    (Widens, "features.5 tanh, forward: dtype float64 instead of float32"),
    (LosesARow, "features.5 tanh, forward: out: shape (3, 6, 4, 4) instead of (4, 6, 4, 4)"),
    (KnowsOneMemoryOrder, "features.1 batch_norm, forward, "),
])  # fmt: skip
def test_an_altered_primitive_is_named(alter: type, difference: str) -> None:
    report = compared(alter, dtype="float32")
    found = report.first_difference("altered")
    assert found is not None
    assert found.startswith(difference)
    wrong = {(o.label, o.phase) for o in report.operations if not o.passes("altered")}
    label, phase = difference.split(", ")[0], difference.split(", ")[1].split(":")[0]
    others = {pair for pair in wrong if pair[0].split()[-1] != label.split()[-1]}
    assert (label, phase) in wrong
    assert not others, "what comes behind the altered operation is not blamed for it"


def test_float64_shows_what_float32_cannot() -> None:
    """1e-6 instead of 1e-5 beside a variance near 1 is less than single precision can tell."""
    found = compared(OtherEpsilon, dtype="float64").first_difference("altered")
    assert found is not None
    assert found.startswith("features.1 batch_norm, forward, out: error")


def test_the_second_update_tells_that_the_momentum_was_forgotten() -> None:
    updates = [o for o in compared(ForgetsTheMomentum).operations if o.phase == "update"]
    assert [o.passes("altered") for o in updates] == [True, False]


def test_relu_that_swallows_nan() -> None:
    class SwallowsNan:
        def relu(self, x):  # type: ignore[no-untyped-def]
            out = np.fmax(x, 0)
            return out, out

    values = np.array([[1.0, np.nan, -2.0]])
    assert_parity(nn.ReLU(), values, devices=["cpu"])
    with pytest.raises(ParityError, match=r"altered differs first in relu, forward, out: error inf, budget 0"):
        assert_parity(nn.ReLU(), values, devices=[altered(SwallowsNan)])


def test_what_only_the_whole_step_shows() -> None:
    """Right when it is called the first time with a shape, and wrong behind it: no single call can tell."""

    class Tires:
        calls = 0

        def tanh(self, x):  # type: ignore[no-untyped-def]
            out, saved = super().tanh(x)  # type: ignore[misc]
            Tires.calls += 1
            return (out if Tires.calls == 1 else out * 2), saved

    report = compared(Tires)
    assert report.first_operation("altered") is None
    found = report.first_difference("altered")
    assert found is not None
    assert found.startswith("the step as a whole: loss")
    assert not report


# Modules and batches of one's own.


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)

    def forward(self, x: gpunn.Tensor, scale: gpunn.Tensor) -> gpunn.Tensor:
        start = gpunn.zeros(len(x), 2, dtype=x.dtype, device=x.device)
        return start + self.linear(x) * scale


ROWS = np.arange(12.0).reshape(4, 3) / 6
SCALES = np.array([[1.0], [2.0], [0.5], [-1.0]])


@pytest.mark.parametrize("batch", [
    (ROWS, SCALES, np.zeros((4, 2))), {"x": ROWS, "scale": SCALES, "target": np.zeros((4, 2))},
    {"scale": gpunn.tensor(SCALES), "x": gpunn.tensor(ROWS), "labels": [0, 1, 1, 0]}, {"x": ROWS, "scale": SCALES},
])  # fmt: skip
def test_batches(batch: Any) -> None:
    report = assert_parity(Scaled(), batch, devices=["cpu", "reference"])
    labels = {operation.label for operation in report.operations}
    assert {"linear linear", "mul", "add", "sgd_"} <= labels


def test_the_loss_is_given_or_the_output() -> None:
    report = assert_parity(Scaled(), (ROWS, SCALES, np.ones((4, 2))), loss=F.l1_loss, devices=["cpu"])
    assert any(operation.label == "loss abs" for operation in report.operations)

    class WithLoss(Scaled):
        def forward(self, x: gpunn.Tensor, scale: gpunn.Tensor) -> gpunn.Tensor:
            return super().forward(x, scale).logsumexp((0, 1))

    report = assert_parity(WithLoss(), {"x": ROWS, "scale": SCALES}, devices=["cpu"])
    assert report.operations[-3].phase == "backward"
    assert not any(operation.path == "loss" for operation in report.operations)
    weighted = nn.CrossEntropyLoss(weight=[1.0, 3.0], label_smoothing=0.1)
    assert_parity(Scaled(), (ROWS, SCALES, [0, 1, 1, 0]), loss=weighted, devices=["cpu"], dtype="float64")


def test_without_parameters_the_gradients_of_the_inputs_are_compared() -> None:
    report = assert_parity(nn.Softmax(1), ROWS, devices=["cpu"])
    assert [o.label for o in report.operations if o.phase == "backward"][-1] == "softmax"
    assert not any(o.phase == "update" for o in report.operations)


def test_everything_is_left_as_it_was() -> None:
    net = Net()
    before = {name: value.numpy().copy() for name, value in net.state_dict().items()}
    batch, state = images(4, 3, 14), default_generator.get_state()
    kept = batch.copy()
    assert parity(net, (batch, LABELS), devices=["cpu", "reference"])
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name])
        assert value.device == "cpu"
    assert all(value.grad is None for value in net.parameters())
    np.testing.assert_array_equal(batch, kept)
    assert default_generator.get_state() == state
    assert set(vars(backends.get("reference"))) == {"xp", "device"}, "the primitives are its own again"
    assert not net._forward_hooks


def test_primitives_come_back_when_the_network_fails() -> None:
    class Fails(Net):
        def forward(self, x: gpunn.Tensor) -> gpunn.Tensor:
            super().forward(x)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        parity(Fails(), (images(4, 3, 14), LABELS), devices=["cpu"])
    assert set(vars(backends.get("reference"))) == {"xp", "device"}


@pytest.mark.parametrize(("arguments", "message"), [
    ({"devices": []}, r"expected a list of devices, got \[\]"),
    ({"devices": "cpu"}, r"expected a list of devices, got 'cpu'; write devices=\[\"cpu\"\]"),
    ({"devices": ["cpu", "cpu"]}, "expected different devices, got cpu, cpu"),
    ({"devices": ["cpu"], "loss": lambda out, target: out}, r"expected a loss of one element, got shape \(4, 4\)"),
])  # fmt: skip
def test_wrong_use(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parity(Net(), (images(4, 3, 14), LABELS), **arguments)


def test_a_batch_of_one_array_in_a_tuple() -> None:
    with pytest.raises(ValueError, match="expected a batch of inputs and a target, got a tuple of 1"):
        parity(Net(), (images(4, 3, 14),), devices=["cpu"])


# The report.


def test_the_table_fits_a_line_and_says_what_differs() -> None:
    gpunn.manual_seed(1)
    batch = (images(4, 3, 14), LABELS)
    for devices in ([altered(DropsATermOfTheGradient)], ["cpu", altered(DropsATermOfTheGradient)]):
        lines = str(parity(Net(), batch, devices=devices)).splitlines()
        assert max(map(len, lines[:-1])) <= 100
        assert [line for line in lines if line in ("forward", "backward", "update")] == [
            "forward",
            "backward",
            "update",
        ]
        assert sum("DIFFERS" in line for line in lines) == 1
        assert lines[-1].startswith(
            "parity: altered differs first in features.1 batch_norm, backward, gradient of x: error "
        )


def test_the_message_of_the_assertion(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ParityError, match=r"parity: altered differs first in features.2 relu, backward") as caught:
        assert_parity(Net(), (images(4, 3, 14), LABELS), devices=[altered(PassesGradientsBelowZero)])
    assert isinstance(caught.value, AssertionError)
    assert caught.value.report.first_operation("altered") is not None
    assert capsys.readouterr().out == ""


def test_parameters_are_called_by_their_names() -> None:
    names = {quantity.name for operation in compared().operations for quantity in operation.quantities}
    assert {"params features.0.weight", "momentum_buffers head.3.bias", "gradient of weight", "mean"} <= names


def test_gradients_come_in_the_memory_order_that_the_device_gives_them() -> None:
    """As in training: behind a convolution with its channels last, so are the gradients."""
    orders = {}

    class Looks:
        def relu_backward(self, out, dout):  # type: ignore[no-untyped-def]
            orders["alone"] = dout.transpose(0, 2, 3, 1).flags.c_contiguous
            return super().relu_backward(out, dout)  # type: ignore[misc]

        def bias_relu_backward(self, out, dout):  # type: ignore[no-untyped-def]
            orders["in training"] = dout.transpose(0, 2, 3, 1).flags.c_contiguous
            return super().bias_relu_backward(out, dout)  # type: ignore[misc]

    gpunn.manual_seed(1)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.Flatten(), nn.Linear(96, 4))
    assert parity(net, (images(4, 3, 8), LABELS), devices=[altered(Looks)])
    assert orders == {"alone": True, "in training": True}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_device_agrees_with_the_reference(device: str, dtype: str) -> None:
    gpunn.manual_seed(1)
    report = parity(Net(), (images(4, 3, 14), LABELS), devices=[device], dtype=dtype)
    assert report, report.conclusion()
