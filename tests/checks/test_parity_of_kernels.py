"""Parity on the emulated GPU: it passes, and where one kernel is altered it names the operation of that kernel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from cuda import planting
from cuda.planting import Bug

import gpunn
from backends import emulator
from backends.cuda import program
from gpunn import nn, optim
from gpunn.checks import Report, parity
from gpunn.models import build

pytestmark = pytest.mark.skipif(emulator.missing() is not None, reason=str(emulator.missing()))
LABELS = np.array([3, 0, 1, 2])


@pytest.fixture
def _own_kernels() -> Iterator[None]:
    """What is planted in the kernels is gone afterwards."""
    folder = program.FOLDER
    yield
    program.FOLDER = folder
    program.source.cache_clear()


def images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(4, *shape))


def network() -> nn.Module:
    """One of each: the kernels that a VGG needs, and dropout."""
    gpunn.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 6, 3, bias=False),
        nn.ELU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(24, 4),
    )


def compared(checked: bool = False, **options: Any) -> Report:
    return parity(network(), (images(3, 12, 12), LABELS), devices=[emulator.backend(checked=checked)], **options)


def test_the_kernels_as_they_are() -> None:
    report = compared(checked=True)
    assert report, str(report)


def test_vgg11_bn() -> None:
    gpunn.manual_seed(0)
    net = build("vgg11_bn", 10, 3, 32)
    report = parity(net, (images(3, 32, 32), LABELS), devices=[emulator.backend(checked=False)])
    assert report, str(report)


# An alteration of one kernel (its file, what it reads, what it reads then), and the phase and the operation to be named.
ALTERED = [
    (
        "im2col.cu",
        "u * w.kernel_width + v) * channels + channel;",
        "v * w.kernel_height + u) * channels + channel;",
        "forward",
        "conv2d",
    ),
    (
        "bias.cu",
        "with_bias(out, bias, out, count, channels, inner",
        "with_bias(out, bias, out, count - 1, channels, inner",
        "forward",
        "conv2d",
    ),
    (
        "batchnorm.cuh",
        "return fma(centered, factor, bias);",
        "return fma(centered, factor, bias + accumulator(0.001));",
        "forward",
        "batch_norm",
    ),
    (
        "activation_functions.cuh",
        "A elu(A x, A alpha) { return x <= A(0)",
        "A elu(A x, A alpha) { return x <= A(-0.5)",
        "forward",
        "elu",
    ),
    (
        "max_pooling.cu",
        "if (first || (!(value <= best[k])",
        "if (first || (!(value >= best[k])",
        "forward",
        "max_pool2d",
    ),
    ("philox.cuh", "round < 10", "round < 9", "forward", "dropout"),
    (
        "batchnorm_backward.cu",
        "dbias[channel] = own.dy[0];",
        "dbias[channel] = own.dy_centered[0];",
        "backward",
        "batch_norm",
    ),
    ("batchnorm_backward.cu", "own.dy_centered[0] * scale[channel];", "own.dy_centered[0];", "backward", "batch_norm"),
    ("activation_functions.cuh", "dout * (alpha * exp(x))", "dout * exp(x + A(0.01))", "backward", "elu"),
    (
        "average_pooling.cu",
        "sum[k] += (accumulator)gradient.at[k] / among;",
        "sum[k] = (accumulator)gradient.at[k];",
        "backward",
        "avg_pool2d",
    ),
    (
        "cross_entropy.cu",
        "(value[item + k] * factor - target",
        "(value[item + k] - target",
        "backward",
        "cross_entropy",
    ),
    (
        "optimizer.cu",
        "momentum * buffer + share * gradient;",
        "momentum * buffer + gradient * gradient;",
        "update",
        "sgd_",
    ),
]


@pytest.mark.usefixtures("_own_kernels")
@pytest.mark.parametrize(("file", "old", "new", "phase", "operation"), ALTERED, ids=[row[1][:40] for row in ALTERED])
def test_an_altered_kernel_is_named(file: str, old: str, new: str, phase: str, operation: str) -> None:
    planting.plant(Bug("altered", file, old, new, test=""))
    report = compared()
    assert not report
    first = report.first_operation("cuda-emulated")
    assert first is not None, str(report)
    assert (first.phase, first.name.removesuffix("_relu")) == (phase, operation), report.conclusion()


@pytest.mark.usefixtures("_own_kernels")
def test_another_optimizer() -> None:
    planting.plant(Bug("altered", "optimizer.cu", "sqrt(square) * correction", "sqrt(square)", test=""))
    report = compared(optimizer=lambda parameters: optim.Adam(parameters, lr=1e-3))
    first = report.first_operation("cuda-emulated")
    assert first is not None
    assert (first.phase, first.name) == ("update", "adam_")
