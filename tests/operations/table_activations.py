"""Rows: activations, softmax, dropout."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from operations import oracles
from operations.specification import Edge, Misuse, Operation, Sample, numbers
from operations.table_gates import EDGES, INF, NAN, unary

from gpunn import functional as F
from gpunn.random import Generator

EDGE_ROWS = np.array([[1.0, NAN, 2.0], [INF, 1.0, 2.0], [-INF, 1.0, 2.0], [-INF, -INF, -INF], [1e4, -1e4, 0.0]])
THIRDS = [0.0, 1 / (1 + math.e), math.e / (1 + math.e)]


def each(function: Any) -> Any:
    """A function of one number, NaN for NaN, for each element."""

    def oracle(x: np.ndarray, *more: np.ndarray, **options: Any) -> np.ndarray:
        return np.vectorize(lambda v, *m: NAN if v != v else function(v, *m, **options), otypes=[float])(x, *more)

    return oracle


def elu(v: float, alpha: float = 1.0) -> float:
    return v if v > 0 else alpha * math.expm1(v)


def softplus(v: float, beta: float = 1.0, threshold: float = 20.0) -> float:
    return v if beta * v > threshold else math.log1p(math.exp(beta * v)) / beta


def softmax(x: np.ndarray, dim: int) -> np.ndarray:
    exponentials = np.exp(x)
    return exponentials / exponentials.sum(axis=dim, keepdims=True)


def softmax_jacobian(x: np.ndarray, dim: int) -> np.ndarray:
    s = np.moveaxis(softmax(x, dim), dim, -1)
    return s[..., :, None] * np.eye(s.shape[-1]) - s[..., :, None] * s[..., None, :]


def softmax_samples() -> list[Sample]:
    shapes = [
        ((3, 5), 1),
        ((3, 5), 0),
        ((2, 3, 2, 2), 1),
        ((4,), 0),
        ((0, 3), 1),
        ((3, 0), 0),
        ((1, 1), -1),
        ((2, 40), -1),
    ]
    return [Sample(numbers(*shape, low=-4, high=4), dim=dim, terms=shape[dim]) for shape, dim in shapes]


MISUSE_OF_AXIS = [Misuse("axis 4 is out of bounds for array of dimension 2", numbers(2, 3), dim=4, error=IndexError)]


def prelu_shape(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    slopes = np.broadcast_to(
        weight.reshape([-1 if i == 1 else 1 for i in range(x.ndim)]) if weight.size > 1 else weight[0], x.shape
    )
    return each(lambda v, slope: v if v > 0 else slope * v)(x, slopes)


ROWS = [
    # The contract of every device: ReLU of NaN is NaN, of -inf 0.
    unary("relu", F.relu, each(lambda v: v if v > 0 else 0.0),
          edges=[Edge(EDGES), Edge([NAN, -INF, INF, -0.0], expected=[NAN, 0.0, INF, 0.0])]),
    Operation("bias_relu", F.bias_relu,
              lambda x, bias: each(lambda v: max(v, 0.0))(x + bias.reshape([-1 if i == 1 else 1 for i in range(x.ndim)])),
              [Sample(numbers(*shape), numbers(shape[1])) for shape in [(3, 4), (2, 3, 2, 2), (2, 5, 3), (0, 3), (1, 1)]],
              edges=[Edge(EDGE_ROWS, [1.0, -1.0, 0.0])],
              misuses=[Misuse(r"bias_relu: expected .* bias of shape \(C,\), got \(2, 3\) and \(2,\)", numbers(2, 3), numbers(2)),
                       Misuse(r"bias_relu: expected input of shape \(N, C\)", numbers(3), numbers(3))]),
    unary("elu", F.elu, each(elu)),
    unary("elu of alpha 0.3", lambda x: F.elu(x, alpha=0.3), each(lambda v: elu(v, 0.3))),
    unary("leaky relu", F.leaky_relu, each(lambda v: v if v > 0 else 0.01 * v), edges=[Edge(EDGES, signed=True)]),
    unary("leaky relu of 0.2", lambda x: F.leaky_relu(x, 0.2), each(lambda v: v if v > 0 else 0.2 * v)),
    Operation("prelu", F.prelu, prelu_shape,
              [Sample(numbers(3, 4), numbers(1)), Sample(numbers(3, 4), numbers(4)), Sample(numbers(2, 3, 2, 2), numbers(3)),
               Sample(numbers(5), numbers(1)), Sample(numbers(0, 3), numbers(3)), Sample(numbers(1, 1, 1, 1), numbers(1))],
              edges=[Edge(EDGES, [0.25])],
              misuses=[Misuse(r"prelu: expected a weight of 1 or 4 elements for input \(3, 4\), got \(3,\)",
                              numbers(3, 4), numbers(3)),
                       Misuse(r"prelu: expected a weight of 1 or 1 elements for input \(3,\), got \(3,\)",
                              numbers(3), numbers(3))]),
    unary("sigmoid", F.sigmoid, each(lambda v: 1 / (1 + math.exp(-v)) if v > -700 else math.exp(max(v, -1e4))),
          scale=1,
          edges=[Edge(EDGES), Edge([-1e4, 1e4], expected=[0.0, 1.0])]),
    unary("tanh", F.tanh, each(lambda v: 1 - 2 / (math.exp(min(2 * v, 700)) + 1)), scale=1),
    unary("softplus", F.softplus, each(softplus), edges=[Edge(EDGES), Edge([-1e4, 1e4], expected=[0.0, 1e4])]),
    unary("softplus of beta 3, threshold 2", lambda x: F.softplus(x, 3.0, 2.0), each(lambda v: softplus(v, 3.0, 2.0))),
    Operation("softmax", F.softmax, softmax, softmax_samples(), misuses=MISUSE_OF_AXIS,
              # An exponential turns the absolute error of its argument, here up to 8, into a relative one.
              rounding=8, gradient_rounding=8,
              edges=[Edge(EDGE_ROWS, dim=1, expected=[[NAN] * 3, [NAN] * 3, THIRDS, [NAN] * 3, [1.0, 0.0, 0.0]])]),
    # s_i (1 - s_i) is a difference of numbers up to 1.
    Operation("softmax_jacobian", F.softmax_jacobian, softmax_jacobian, softmax_samples(), misuses=MISUSE_OF_AXIS,
              rounding=8, gradient_rounding=8, scale=1,
              edges=[Edge([0.0, math.log(3)], dim=0, expected=[[0.1875, -0.1875], [-0.1875, 0.1875]]),
                     Edge([[1e4, 0.0, NAN], [1e4, 0.0, -1e4]], dim=-1, expected=[np.full((3, 3), NAN), np.zeros((3, 3))])]),
    Operation("log softmax", F.log_softmax, lambda x, dim: np.log(softmax(x, dim)), softmax_samples(), misuses=MISUSE_OF_AXIS,
              gradient_rounding=8,
              edges=[Edge(EDGE_ROWS, dim=1, expected=[[NAN] * 3, [NAN] * 3, [-INF, *np.log(THIRDS[1:])], [NAN] * 3,
                                                      [0.0, -2e4, -1e4]])]),
    Operation("dropout", lambda x, p, seed, stream: F.dropout(x, p, True, _generator(seed, stream)), oracles.dropout,
              [Sample(numbers(5, 6), p=0.5, seed=3, stream=0), Sample(numbers(2, 3, 4, 5), p=0.2, seed=2**40 + 1, stream=7),
               Sample(numbers(0, 3), p=0.5, seed=1, stream=1), Sample(numbers(), p=0.5, seed=1, stream=1),
               Sample(numbers(3, 3), p=1.0 - 2**-24, seed=1, stream=1)],
              misuses=[Misuse("dropout: expected a probability 0 <= p <= 1, got 1.5", numbers(3), p=1.5, seed=0, stream=0),
                       Misuse("dropout: expected a probability 0 <= p <= 1, got -0.1", numbers(3), p=-0.1, seed=0, stream=0)]),
    Operation("dropout of everything", lambda x: F.dropout(x, 1.0), np.zeros_like, [Sample(numbers(3, 4))]),
    Operation("dropout of nothing", lambda x: F.dropout(x, 0.0) + F.dropout(x, 0.5, training=False), lambda x: 2 * x,
              [Sample(numbers(3, 4))]),
]  # fmt: skip


def _generator(seed: int, stream: int) -> Generator:
    generator = Generator(seed)
    generator.stream = stream
    return generator
