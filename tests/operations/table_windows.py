"""Rows: convolution, pooling, batch normalization."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from operations import oracles
from operations.specification import Edge, Misuse, Operation, Sample, levels, numbers

from gpunn import functional as F

INF, NAN = math.inf, math.nan


def convolution(x: tuple[int, ...], weight: tuple[int, ...], bias: bool = True, **options: Any) -> Sample:
    terms = math.prod(weight[1:]) + bias
    return Sample(numbers(*x), numbers(*weight), numbers(weight[0]) if bias else None, terms=terms, **options)


CONVOLUTIONS = [
    convolution((2, 3, 5, 6), (4, 3, 3, 3)),
    convolution((2, 3, 5, 6), (4, 3, 3, 3), bias=False, padding=1),
    convolution((2, 6, 5, 5), (3, 6, 3, 2), stride=2, padding=(1, 0)),
    convolution((2, 2, 7, 7), (3, 2, 3, 3), dilation=2, padding=2),
    convolution((1, 5, 6, 7), (2, 5, 2, 3), stride=(2, 3), dilation=(3, 1), padding=(1, 2)),
    convolution((2, 4, 4, 4), (6, 2, 3, 3), groups=2, padding=1),
    convolution((2, 10, 3, 3), (10, 1, 2, 2), groups=10),  # more groups than the CPU takes one by one
    convolution((2, 6, 4, 4), (3, 2, 1, 1), groups=3, stride=2, bias=False),
    convolution((2, 3, 4, 5), (2, 3, 3, 2), padding="same"),
    convolution((2, 3, 4, 5), (2, 3, 2, 4), padding="same", dilation=(2, 1)),
    convolution((2, 3, 4, 5), (2, 3, 3, 3), padding="valid"),
    convolution((1, 1, 1, 1), (1, 1, 1, 1)),
    convolution((1, 6, 1, 1), (2, 6, 3, 3), padding=1),
    convolution((3, 5, 5), (2, 3, 3, 3)),  # one image
    convolution((0, 3, 4, 4), (2, 3, 3, 3), padding=1),
    convolution((0, 4, 4, 4), (2, 2, 3, 3), groups=2),
    convolution((2, 5, 9, 1), (2, 5, 4, 1), stride=3),
    convolution((1, 2, 5, 5), (2, 2, 5, 5), padding=4, stride=4),
]  # fmt: skip
IMAGE, KERNEL = numbers(1, 2, 4, 4), numbers(3, 2, 3, 3)

CONVOLUTION_MISUSES = [
    Misuse(r"conv2d: expected input of shape \(N, 2, H, W\), got \(1, 3, 4, 4\)", numbers(1, 3, 4, 4), KERNEL, None),
    Misuse(r"conv2d: expected input of shape \(N, 2, H, W\), got \(2, 4\)", numbers(2, 4), KERNEL, None),
    Misuse(r"conv2d: expected weight of shape \(O, C / groups, KH, KW\), got \(3, 2\)", IMAGE, numbers(3, 2), None),
    Misuse(r"conv2d: expected bias of shape \(3,\), got \(2,\)", IMAGE, KERNEL, numbers(2)),
    Misuse("conv2d: expected groups to divide the 3 output channels, got 2", IMAGE, numbers(3, 1, 3, 3), None, groups=2),
    Misuse("conv2d: expected groups .*got 0", IMAGE, KERNEL, None, groups=0),
    Misuse(r"conv2d: kernel \(3, 3\) with dilation \(2, 2\) is larger than the image \(4, 4\) with padding \(0, 0\)",
           IMAGE, KERNEL, None, dilation=2),
    Misuse("conv2d: stride: expected a number >= 1 .* got 0", IMAGE, KERNEL, None, stride=0),
    Misuse("conv2d: padding: expected a number >= 0 .* got -1", IMAGE, KERNEL, None, padding=-1),
    Misuse(r"conv2d: dilation: expected .* got \(1, 2, 3\)", IMAGE, KERNEL, None, dilation=(1, 2, 3)),
    Misuse("conv2d: expected padding to be numbers, 'valid' or 'same', got 'full'", IMAGE, KERNEL, None, padding="full"),
    Misuse(r"conv2d: padding 'same' is for stride 1, got stride \(2, 2\)", IMAGE, KERNEL, None, padding="same", stride=2),
    Misuse("conv2d: expected input and weight of one dtype", IMAGE > 0, KERNEL, None, error=TypeError),
]  # fmt: skip

BROKEN = numbers(2, 2, 5, 5)
BROKEN[0, 0, 1, 1], BROKEN[0, 1, 4, 3], BROKEN[1, 1, 2:4, 2:4] = NAN, INF, -INF
BROKEN[1, 0] = -INF

POOLINGS: list[dict[str, Any]] = [
    {"kernel_size": k, "stride": s, "padding": p, "ceil_mode": c}
    for (k, s, p), c in itertools.product([(2, None, 0), (3, 2, 1), ((3, 2), (1, 3), (1, 0)), (2, 3, 1)], [False, True])
]
POOLED_SHAPES = [(2, 3, 7, 6), (1, 1, 5, 5), (0, 2, 5, 4), (2, 5, 6)]


def pooling_misuses(name: str) -> list[Misuse]:
    return [
        Misuse(rf"{name}: expected input of shape \(N, C, H, W\), got \(3, 4\)", numbers(3, 4), kernel_size=2),
        Misuse(
            rf"{name}: kernel \(5, 5\) is larger than the image \(4, 4\) with padding \(0, 0\)", IMAGE, kernel_size=5
        ),
        Misuse(
            rf"{name}: expected padding of at most half the kernel \(2, 2\), got \(2, 2\)",
            IMAGE,
            kernel_size=2,
            padding=2,
        ),
        Misuse(f"{name}: kernel_size: expected a number >= 1 .* got 0", IMAGE, kernel_size=0),
        Misuse(f"{name}: stride: expected a number >= 1 .* got 0", IMAGE, kernel_size=2, stride=0),
    ]


def normalized(training: bool, function: Any = F.batch_norm, **options: Any) -> Any:
    """batch_norm with running statistics of its own; their new values are results too."""

    def call(x: Any, mean: Any, variance: Any, weight: Any, bias: Any) -> Any:
        mean, variance = mean.detach().clone(), variance.detach().clone()
        return function(x, mean, variance, weight, bias, training, **options), mean, variance

    return call


def expected_norm(training: bool, **options: Any) -> Any:
    return lambda x, mean, variance, weight, bias: oracles.batch_norm(
        x, mean, variance, weight, bias, training, **options
    )


def expected_norm_relu(training: bool) -> Any:
    def oracle(*inputs: Any) -> Any:
        y, mean, variance = oracles.batch_norm(*inputs, training)
        return np.maximum(y, 0), mean, variance

    return oracle


def norm_edges(training: bool) -> list[Edge]:
    """A NaN spoils its channel's statistics, and so the channel; in evaluation only itself."""
    x = numbers(3, 4, 5)
    x[1, 2, 3] = NAN
    if not training:
        x[0, 1, 0], x[0, 1, 1], x[2, 3, 4] = INF, -INF, -INF
    return [Edge(x, numbers(4), numbers(4, low=0.5), numbers(4), numbers(4))]


def norm_samples(training: bool) -> list[Sample]:
    samples = []
    for shape, affine in itertools.product(
        [(4, 3), (2, 3, 5), (3, 2, 4, 3), (1, 4, 2, 2), (2, 5, 2, 2, 2)], [True, False]
    ):
        c = shape[1]
        parameters = (numbers(c), numbers(c)) if affine else (None, None)
        terms = math.prod(shape) // c if training else 1
        samples.append(Sample(numbers(*shape), numbers(c), numbers(c, low=0.5), *parameters, terms=terms))
    if not training:
        samples += [Sample(numbers(1, 3), numbers(3), numbers(3, low=0.5), None, None),
                    Sample(numbers(0, 3, 2), numbers(3), numbers(3, low=0.5), numbers(3), numbers(3))]  # fmt: skip
    return samples


def norm_misuses(name: str = "batch_norm") -> list[Misuse]:
    ones = np.ones(3)
    return [
        Misuse(rf"{name}: expected input of shape \(N, C\) or \(N, C, ...\), got \(3,\)", ones, ones, ones, ones, ones),
        Misuse(rf"{name}: expected weight of shape \(3,\) for input \(2, 3\), got \(2,\)",
               numbers(2, 3), ones, ones, np.ones(2), ones),
        Misuse(rf"{name}: expected running_mean of shape \(4,\) for input \(2, 4\), got \(3,\)",
               numbers(2, 4), ones, ones, None, None),
    ]  # fmt: skip


ROWS = [
    Operation("conv2d", F.conv2d, oracles.conv2d, CONVOLUTIONS, misuses=CONVOLUTION_MISUSES),
    Operation("conv2d_relu", F.conv2d_relu, lambda *operands, **options: np.maximum(oracles.conv2d(*operands, **options), 0),
              [sample for sample in CONVOLUTIONS if len(sample.inputs) == 3 and sample.inputs[2] is not None
               and sample.inputs[0].ndim == 4]),
    Operation("max_pool2d", F.max_pool2d, oracles.max_pool2d,
              [Sample(numbers(*shape), **options) for shape in POOLED_SHAPES for options in POOLINGS]
              + [Sample(numbers(2, 2, 9, 8), kernel_size=2, stride=2, dilation=(3, 2), padding=1),
                 Sample(numbers(1, 2, 17, 17), kernel_size=16),  # more places than the CPU counts in a byte
                 Sample(numbers(1, 1, 1, 1), kernel_size=1)],
              edges=[Edge(BROKEN, kernel_size=k, stride=s, padding=p) for k, s, p in [(2, 2, 0), (3, 2, 1), (2, 1, 1)]],
              misuses=[*pooling_misuses("max_pool2d"),
                       Misuse("max_pool2d: dilation: expected", IMAGE, kernel_size=2, dilation=0)]),
    Operation("max_pool2d with indices", F.max_pool2d, oracles.max_pool2d,
              [Sample(numbers(*shape), return_indices=True, **options) for shape in POOLED_SHAPES[1:] for options in POOLINGS],
              edges=[Edge(levels(2, 2, 6, 6), kernel_size=k, stride=s, padding=p, return_indices=True)
                     for k, s, p in [(2, 2, 0), (3, 2, 1), (2, 1, 1)]]),
    Operation("avg_pool2d", F.avg_pool2d, oracles.avg_pool2d,
              [Sample(numbers(*shape), terms=9, count_include_pad=counted, **options)
               for shape, counted in zip(POOLED_SHAPES[:1] + POOLED_SHAPES, (True, *[False, True] * 2), strict=True)
               for options in POOLINGS]
              + [Sample(numbers(2, 2, 5, 5), terms=9, kernel_size=3, divisor_override=7, padding=1)],
              edges=[Edge(np.where(np.isinf(BROKEN), 1.0, BROKEN), kernel_size=2)],
              misuses=[*pooling_misuses("avg_pool2d"),
                       Misuse("avg_pool2d: expected divisor_override .* got 0", IMAGE, kernel_size=2, divisor_override=0)]),
    Operation("adaptive_avg_pool2d", F.adaptive_avg_pool2d, oracles.adaptive_avg_pool2d,
              [Sample(numbers(*shape), output_size=size, terms=math.prod(shape[-2:]))
               for shape in [(2, 3, 7, 6), (1, 1, 1, 1), (3, 5, 5), (0, 2, 4, 4)] for size in (1, (2, 3), (None, 1), (8, 4))],
              misuses=[Misuse(r"adaptive_avg_pool2d: expected input of shape \(N, C, H, W\)", numbers(3, 4), output_size=1),
                       Misuse("adaptive_avg_pool2d: output_size: expected a number >= 1", IMAGE, output_size=0),
                       Misuse("adaptive_avg_pool2d: .*output_size", IMAGE, output_size=(1, 2, 3))]),
    # A division by a standard deviation computed from differences: one more sum, a root and a quotient behind each element.
    Operation("batch_norm in training", normalized(True), expected_norm(True), norm_samples(True), constants=(1, 2),
              rounding=4, gradient_rounding=8,
              misuses=[*norm_misuses(),
                       Misuse(r"expected more than 1 value per channel when training, got input of shape \(1, 3\)",
                              numbers(1, 3), np.ones(3), np.ones(3), None, None)]),
    Operation("batch_norm of momentum 0.5, eps 0.1", normalized(True, momentum=0.5, eps=0.1),
              expected_norm(True, momentum=0.5, eps=0.1), norm_samples(True), constants=(1, 2), rounding=4, gradient_rounding=8),
    Operation("batch_norm in evaluation", normalized(False), expected_norm(False), norm_samples(False), constants=(1, 2),
              rounding=2, misuses=norm_misuses()),
    Operation("batch_norm_relu in training", normalized(True, F.batch_norm_relu), expected_norm_relu(True), norm_samples(True),
              constants=(1, 2), rounding=4, gradient_rounding=8, edges=norm_edges(True), misuses=norm_misuses("batch_norm_relu")),
    Operation("batch_norm_relu in evaluation", normalized(False, F.batch_norm_relu), expected_norm_relu(False),
              norm_samples(False), constants=(1, 2), rounding=2, edges=norm_edges(False),
              misuses=norm_misuses("batch_norm_relu")),
    Operation("batch_norm without running statistics", lambda x, w: F.batch_norm(x, None, None, w, None, True),
              lambda x, w: oracles.batch_norm(x, np.zeros(3), np.ones(3), w, None, True)[0],
              [Sample(numbers(4, 3, 2), numbers(3), terms=8)], rounding=4, gradient_rounding=8),
    Operation("batch_norm in evaluation without running statistics", lambda x: F.batch_norm(x, None, None), np.positive, [],
              misuses=[Misuse("batch_norm: evaluation needs running_mean and running_var, got None; use training=True",
                              numbers(2, 3))]),
]  # fmt: skip
