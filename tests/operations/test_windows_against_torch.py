"""Convolution, pooling and batch normalization against PyTorch, with their gradients."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from operations.torch_comparison import numbers, same_as_torch

from gpunn import functional as F

torch = pytest.importorskip("torch")
TF = torch.nn.functional

INF, NAN = math.inf, math.nan

# Convolution: (input, weight, options). First every combination of small options, then shapes that stand alone.
CONVOLUTIONS: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    (
        (2, 4, 7, 6),
        (4, 4 // groups, *kernel),
        {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups},
    )
    for kernel, stride, padding, dilation, groups in itertools.product(
        [(3, 3), (2, 3)], [1, (2, 3)], [0, (2, 1)], [1, (1, 2)], [1, 2, 4]
    )
]
CONVOLUTIONS += [
    ((2, channels, 6, 5), (3, channels, 3, 2), {"padding": padding, "dilation": dilation})
    for channels, padding, dilation in itertools.product([1, 6], ["same", "valid"], [1, 2])
]
CONVOLUTIONS += [
    ((1, 1, 1, 1), (1, 1, 1, 1), {}),
    ((1, 3, 1, 1), (2, 3, 3, 3), {"padding": 1}),
    ((3, 5, 9, 1), (2, 5, 4, 1), {"stride": 3}),
    ((0, 3, 4, 4), (2, 3, 3, 3), {"padding": 1}),
    ((0, 4, 4, 4), (2, 2, 3, 3), {"groups": 2}),
    ((2, 3, 5, 5), (4, 3, 5, 5), {}),
    ((2, 3, 5, 5), (4, 3, 5, 5), {"padding": 4, "stride": 4}),
    ((2, 8, 4, 4), (6, 8, 1, 1), {"stride": 2}),
    ((1, 18, 4, 4), (18, 1, 3, 3), {"groups": 18, "padding": 1}),
    ((1, 18, 4, 4), (9, 2, 3, 3), {"groups": 9}),
    ((3, 6, 6), (4, 3, 3, 3), {"padding": (0, 1)}),
    ((2, 2, 11, 3), (2, 2, 2, 2), {"dilation": (5, 1), "stride": (2, 1)}),
]


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_conv2d(device: str, case: Any, bias: bool) -> None:
    shape, weight, options = case
    arrays = [numbers(*shape), numbers(*weight, seed=1), *([numbers(weight[0], seed=2)] if bias else [])]
    same_as_torch(device, lambda *a: F.conv2d(*a, **options), lambda *a: _quiet(TF.conv2d, *a, **options), *arrays)


MAX_POOLINGS = [
    {"kernel_size": kernel, "stride": stride, "padding": padding, "dilation": dilation, "ceil_mode": ceil_mode}
    for kernel, stride, padding, dilation, ceil_mode in itertools.product(
        [2, (3, 2)], [None, 1, (2, 3)], [0, 1], [1, 2], [False, True]
    )
]


@pytest.mark.parametrize("options", MAX_POOLINGS, ids=str)
def test_max_pool2d(device: str, options: dict[str, Any]) -> None:
    for shape in [(2, 3, 7, 6), (1, 5, 5)]:
        same_as_torch(
            device, lambda x: F.max_pool2d(x, **options), lambda x: TF.max_pool2d(x, **options), numbers(*shape)
        )
    # Three values only: every window has ties, and the first place wins.
    ties = np.random.default_rng(3).integers(0, 3, (2, 3, 8, 7)).astype(np.float64)
    options = {**options, "return_indices": True}
    same_as_torch(device, lambda x: F.max_pool2d(x, **options), lambda x: TF.max_pool2d(x, **options), ties)


def test_max_pool2d_of_nan_and_infinities(device: str) -> None:
    x = numbers(2, 2, 6, 6)
    x[0, 0, 1, 1] = NAN
    x[0, 1, 4, 3] = INF
    x[1, 0] = -INF
    x[1, 1, 2:4, 2:4] = -INF
    for kernel, stride in [(2, 2), (3, 2), (3, 1)]:
        for padding in (0, 1):
            same_as_torch(
                device, lambda x, k=kernel, s=stride, p=padding: F.max_pool2d(x, k, s, p),
                lambda x, k=kernel, s=stride, p=padding: TF.max_pool2d(x, k, s, p), x,
            )  # fmt: skip


AVERAGE_POOLINGS = [
    {"kernel_size": kernel, "stride": stride, "padding": padding, "ceil_mode": ceil_mode, "count_include_pad": counted}
    for kernel, stride, padding, ceil_mode, counted in itertools.product(
        [2, (3, 2)], [None, 1, (2, 3)], [0, 1], [False, True], [True, False]
    )
] + [{"kernel_size": 3, "stride": 2, "padding": 1, "divisor_override": divisor} for divisor in (1, 5)]


@pytest.mark.parametrize("options", AVERAGE_POOLINGS, ids=str)
def test_avg_pool2d(device: str, options: dict[str, Any]) -> None:
    for shape in [(2, 3, 7, 6), (1, 5, 5), (2, 1, 4, 9)]:
        same_as_torch(
            device, lambda x: F.avg_pool2d(x, **options), lambda x: TF.avg_pool2d(x, **options), numbers(*shape)
        )


@pytest.mark.parametrize("size", [1, 2, (3, 1), (7, 7), (None, 2), (5, 9)], ids=str)
@pytest.mark.parametrize("shape", [(2, 3, 7, 6), (1, 1, 1, 1), (3, 6, 6), (0, 2, 4, 4), (2, 2, 4, 8)], ids=str)
def test_adaptive_avg_pool2d(device: str, shape: tuple[int, ...], size: Any) -> None:
    same_as_torch(
        device, lambda x: F.adaptive_avg_pool2d(x, size), lambda x: TF.adaptive_avg_pool2d(x, size), numbers(*shape)
    )


@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d"])
def test_pooling_of_an_empty_batch(device: str, name: str) -> None:
    same_as_torch(device, lambda x: getattr(F, name)(x, 2), lambda x: getattr(TF, name)(x, 2), numbers(0, 2, 4, 4))


@pytest.mark.parametrize(
    "shape", [(4, 3), (2, 3, 5), (2, 3, 4, 5), (3, 1, 2, 2), (2, 3, 2, 3, 2), (9, 600, 1, 1)], ids=str
)
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm(device: str, shape: tuple[int, ...], affine: bool, training: bool) -> None:
    channels = shape[1]
    running = [np.linspace(-1, 1, channels), np.linspace(0.5, 2, channels)]
    parameters = [numbers(channels, seed=1), numbers(channels, seed=2)] if affine else [None, None]

    def call(function: Any) -> Any:
        def normalized(x: Any, weight: Any, bias: Any) -> Any:
            buffers = [_like(x, values) for values in running]
            y = function(x, *buffers, weight, bias, training, 0.3, 1e-3)
            return (y, *buffers)

        return normalized

    same_as_torch(device, call(F.batch_norm), call(TF.batch_norm), numbers(*shape) + 3, *parameters)
    # Without running statistics
    if training:
        same_as_torch(
            device, lambda x, w, b: F.batch_norm(x, None, None, w, b, True),
            lambda x, w, b: TF.batch_norm(x, None, None, w, b, True), numbers(*shape), *parameters,
        )  # fmt: skip


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_at_the_edges(device: str, training: bool) -> None:
    x = numbers(3, 4, 2)
    x[0, 0, 0], x[1, 1, 1], x[:, 2] = NAN, INF, 1.0  # the last: a channel without variance

    def call(function: Any) -> Any:
        return lambda x: function(x, _like(x, np.zeros(4)), _like(x, np.ones(4)), None, None, training)

    same_as_torch(device, call(F.batch_norm), call(TF.batch_norm), x, gradients=False)


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_of_an_empty_batch(device: str, training: bool) -> None:
    running = [np.zeros(3), np.ones(3)]

    def call(function: Any) -> Any:
        return lambda x, w, b: function(x, *(_like(x, values) for values in running), w, b, training)

    same_as_torch(
        device, call(F.batch_norm), call(TF.batch_norm), numbers(0, 3, 2), numbers(3), numbers(3), gradients=False
    )


def _like(x: Any, values: np.ndarray) -> Any:
    """``values`` as a tensor of the kind, device and dtype of ``x``, without gradients."""
    if isinstance(x, torch.Tensor):
        return torch.tensor(values, dtype=x.dtype)
    return type(x)(x.backend.asarray(values.astype(x.dtype)), x.backend)


def _quiet(function: Any, *arguments: Any, **options: Any) -> Any:
    """PyTorch warns about even kernels with padding "same"."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*arguments, **options)
