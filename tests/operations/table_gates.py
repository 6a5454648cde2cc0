"""Rows: arithmetic, element by element, and what moves elements."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from operations import oracles
from operations.specification import Edge, Misuse, Operation, Sample, levels, numbers

import gpunn
from gpunn import functional as F
from gpunn.tensor import Tensor

INF, NAN = math.inf, math.nan
EDGES = np.array([NAN, INF, -INF, -0.0, 0.0, 1.0, -1.0, 3.5, -1e-30, 1e30])
SHAPES = [(3, 4), (), (1,), (0, 3), (2, 1, 5), (2, 3, 4, 5)]
BROADCAST = [
    ((3, 4), (3, 4)),
    ((3, 4), (4,)),
    ((3, 1), (1, 4)),
    ((), (2, 3)),
    ((2, 1, 3), (4, 1)),
    ((0, 4), (1, 4)),
    ((), ()),
]


def unary(name: str, call: Any, oracle: Any, *, low: float = -2.0, high: float = 2.0, **more: Any) -> Operation:
    """An operation on one tensor, on many shapes and at `EDGES`."""
    more.setdefault("edges", [Edge(EDGES)])
    return Operation(name, call, oracle, [Sample(numbers(*shape, low=low, high=high)) for shape in SHAPES], **more)


def binary(name: str, call: Any, oracle: Any, *, low: float = -2.0, high: float = 2.0, **more: Any) -> Operation:
    """An operation on two tensors that broadcast, at all pairs of `EDGES`."""
    samples = [Sample(numbers(*a, low=low, high=high), numbers(*b, low=low, high=high)) for a, b in BROADCAST]
    more.setdefault("edges", [Edge(*np.meshgrid(EDGES, EDGES))])
    misuses = [Misuse(r"broadcast.*\(3, ?4\).*\(3,? ?\)", numbers(3, 4), numbers(3))]
    return Operation(name, call, oracle, samples, misuses=misuses, **more)


def power(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.float_power(a, b)


ARITHMETIC = [
    binary("add", lambda a, b: a + b, np.add),
    binary("sub", lambda a, b: a - b, np.subtract),
    binary("mul", lambda a, b: a * b, np.multiply),
    binary("div", lambda a, b: a / b, np.true_divide, low=0.5),
    binary("pow", lambda a, b: a**b, power, low=0.3),
    binary("maximum", F.maximum, lambda a, b: np.where(np.isnan(a) | (a > b), a, b)),
    binary("minimum", F.minimum, lambda a, b: np.where(np.isnan(a) | (a < b), a, b)),
    unary("add a number", lambda x: 1.5 + x + 2, lambda x: x + 3.5),
    unary("subtract from a number", lambda x: 3 - x, lambda x: 3 - x),
    unary("multiply by a number", lambda x: -2.5 * x * 3, lambda x: -7.5 * x),
    unary("divide by a number", lambda x: x / 7, lambda x: x / 7),
    unary("divide a number", lambda x: 2 / x, lambda x: 2 / x, low=0.5),
    unary("square", lambda x: x**2, lambda x: x * x),
    unary("power of 3", lambda x: x.pow(3), lambda x: x * x * x),
    unary("power of -1.5", lambda x: x**-1.5, lambda x: 1 / (x * np.sqrt(x)), low=0.3, edges=[Edge(EDGES[4:8])]),
    unary("power of 0", lambda x: x**0, np.ones_like),
    unary("2 to the power", lambda x: 2**x, np.exp2),
    unary("neg", lambda x: -x, lambda x: -1.0 * x, edges=[Edge(EDGES, signed=True)]),
    unary("reciprocal", Tensor.reciprocal, lambda x: 1 / x, low=0.5, edges=[Edge(EDGES, signed=True)]),
    unary("exp", Tensor.exp, lambda x: np.exp2(x / math.log(2)), edges=[Edge(EDGES)]),
    unary("log", Tensor.log, lambda x: np.log2(x) * math.log(2), low=0.3),
    unary("sqrt", Tensor.sqrt, lambda x: np.where(x == -INF, NAN, np.float_power(x, 0.5)), low=0.3),
    unary("abs", Tensor.abs, lambda x: np.where(x > 0, x, -x), edges=[Edge(EDGES)]),
    Operation(
        "clamp",
        lambda x, low, high: x.clamp(low, high),
        lambda x, low, high: np.vectorize(lambda v: v if v != v else min(max(v, low), high), otypes=[float])(x),
        [Sample(numbers(*shape), low=-0.5, high=1.0) for shape in SHAPES],
        edges=[Edge(EDGES, low=-1.0, high=1.0), Edge(EDGES, low=-INF, high=INF)],
    ),
    Operation(
        "clamp at one end",
        lambda x, **ends: x.clamp(**ends),
        lambda x, min=-INF, max=INF: np.where(x < min, min, np.where(x > max, max, x)),
        [Sample(numbers(3, 4), min=0.25), Sample(numbers(3, 4), max=-0.25)],
    ),
    Operation(
        "where",
        gpunn.where,
        lambda c, a, b: c * a + (1 - c) * b,
        [
            Sample(numbers(3, 4) > 0, numbers(3, 4), numbers(3, 4)),
            Sample(numbers(3, 1) > 0, numbers(4), numbers(3, 4)),
            Sample(numbers(4) > 0, numbers(3, 1), numbers()),
            Sample(numbers(0, 4) > 0, numbers(0, 4), numbers(4)),
        ],
        edges=[Edge([True, False, True], [NAN, NAN, INF], [1.0, 2.0, NAN], expected=[NAN, 2.0, INF])],
    ),
    Operation("where of a number", lambda x: gpunn.where(x > 0, x, -1.5), lambda x: np.where(x > 0, x, -1.5),
              [Sample(numbers(3, 4)), Sample(numbers(0, 2))]),
    Operation("maximum with a number", lambda x: F.maximum(x, 0.5), lambda x: np.where(x > 0.5, x, 0.5),
              [Sample(numbers(3, 4))]),
]  # fmt: skip


def at(index: Any) -> Any:
    return lambda x: x[index]


CUBE = (3, 2, 4)
SHAPING = [
    Operation("reshape", lambda x, to: x.reshape(to), lambda x, to: np.array(x.tolist()).reshape(to),
              [Sample(numbers(3, 4), to=(2, -1)), Sample(numbers(0, 4), to=(2, 0)), Sample(numbers(1), to=()),
               Sample(numbers(2, 3, 4), to=(4, 6))],
              misuses=[Misuse("reshape.*12.*5", numbers(3, 4), to=(5,))]),
    Operation("flatten", lambda x, first, last: x.flatten(first, last), lambda x, first, last: x.copy().reshape(2, 12, 5),
              [Sample(numbers(2, 3, 4, 5), first=1, last=2), Sample(numbers(2, 3, 4, 5), first=-3, last=-2)]),
    Operation("flatten a number", lambda x: x.flatten(), lambda x: x.reshape(1), [Sample(numbers())]),
    Operation("permute", lambda x, to: x.permute(*to), lambda x, to: np.einsum(x, [0, 1, 2], [d % 3 for d in to]),
              [Sample(numbers(*CUBE), to=(2, 0, 1)), Sample(numbers(*CUBE), to=(-1, 0, -2)),
               Sample(numbers(0, 2, 3), to=(1, 0, 2))],
              misuses=[Misuse("repeated", numbers(*CUBE), to=(0, 0, 1))]),
    Operation("transpose", lambda x, a, b: x.transpose(a, b), lambda x, a, b: np.swapaxes(x, a, b),
              [Sample(numbers(*CUBE), a=0, b=-1), Sample(numbers(2, 3), a=0, b=1)]),
    Operation("T", lambda x: x.T, lambda x: np.einsum("ij->ji", x), [Sample(numbers(2, 3)), Sample(numbers(0, 3))]),
    Operation("expand", lambda x, to: x.expand(*to), lambda x, to: np.ones([1 if n == -1 else n for n in to]) * x,
              [Sample(numbers(3, 1), to=(3, 4)), Sample(numbers(1, 4), to=(2, 3, -1)), Sample(numbers(), to=(2, 2)),
               Sample(numbers(1, 2), to=(0, 2))],
              misuses=[Misuse("shape", numbers(2, 3), to=(3, 3))]),
    Operation("unsqueeze", lambda x, dim: x.unsqueeze(dim), lambda x, dim: np.expand_dims(x, dim),
              [Sample(numbers(2, 3), dim=d) for d in (0, 1, -1)],
              misuses=[Misuse("7", numbers(2, 3), dim=7, error=IndexError)]) ,
    Operation("squeeze", lambda x, dim=None: x.squeeze(dim), lambda x, dim=None: np.squeeze(x) if dim is None else x[:, 0],
              [Sample(numbers(2, 1, 3), dim=1), Sample(numbers(2, 1, 3), dim=-2), Sample(numbers(1, 3, 1))],
              misuses=[Misuse("5", numbers(2, 1), dim=5, error=IndexError)]),
    *[Operation(f"getitem {name}", at(index), lambda x, index=index: np.take(x, np.arange(x.size).reshape(x.shape)[index]),
                [Sample(numbers(*CUBE))])
      for name, index in {
          "row": 1, "last": (Ellipsis, -1), "slice": (slice(1, None), slice(None), slice(None, None, 2)),
          "backwards": (slice(None), slice(None), slice(None, None, -1)), "new axis": (slice(None), None, 0),
          "nothing": slice(3, None), "list": [0, 2, 0], "repeated pairs": ([0, 1, 0, 0], [1, 1, 1, 0]),
          "array": np.array([[2, 0], [1, 1]]), "mixed": (slice(None), 0, [3, 3, 1]), "numpy integer": np.int64(2),
          "mask": np.arange(24).reshape(CUBE) % 3 == 0, "row mask": np.array([True, False, True]),
      }.items()],
    Operation("getitem by tensors", lambda x, i, j: x[i, j],
              lambda x, i, j: np.array([x[a, b] for a, b in zip(i, j, strict=True)]),
              [Sample(numbers(3, 4), np.array([0, 2, 0]), np.array([1, 3, 1]))],
              misuses=[Misuse("index 3 is out of bounds", numbers(3, 4), np.array([3]), np.array([0]), error=IndexError)]),
    Operation("cat", lambda *t, dim: F.cat(t, dim), lambda *t, dim: np.concatenate(t, dim),
              [Sample(numbers(2, 3), numbers(1, 3), numbers(4, 3), dim=0), Sample(numbers(2, 3), numbers(2, 1), dim=-1),
               Sample(numbers(0, 3), numbers(2, 3), dim=0), Sample(numbers(2, 3), dim=0)],
              misuses=[Misuse("cat: expected at least one tensor", dim=0),
                       Misuse("dimension", numbers(2, 3), numbers(2), dim=0)]),
    Operation("stack", lambda *t, dim: F.stack(t, dim), lambda *t, dim: np.stack(t, dim),
              [Sample(numbers(2, 3), numbers(2, 3), dim=d) for d in (0, 1, 2, -1)] + [Sample(numbers(), numbers(), dim=0)],
              misuses=[Misuse("stack: expected at least one tensor", dim=0)]),
    Operation("pad", lambda x, widths, mode="constant", value=0.0: F.pad(x, widths, mode, value), oracles.pad,
              [Sample(numbers(2, 3), widths=(1, 2)), Sample(numbers(2, 3), widths=(1, 0, 2, 1), value=-1.5),
               Sample(numbers(3, 4), widths=(-1, 2, 0, -1)), Sample(numbers(0, 3), widths=(1, 1)), Sample(numbers(3), widths=()),
               Sample(numbers(2, 2, 3, 4), widths=(1, 1, 1, 1)),
               Sample(numbers(2, 3, 2), widths=(1, 0, 0, 1, 2, 1))]
              + [Sample(numbers(2, 3, 5), widths=(2, 1), mode=m) for m in ("reflect", "replicate", "circular")]
              + [Sample(numbers(2, 2, 3, 4), widths=(3, 1, 2, 0), mode=m) for m in ("reflect", "replicate", "circular")],
              misuses=[Misuse("pad: expected mode to be one of constant, reflect, replicate, circular, got 'mirror'",
                              numbers(3), widths=(1, 1), mode="mirror"),
                       Misuse(r"pad: expected up to 1 pairs \(before, after\), got \(1, 1, 1\)", numbers(3), widths=(1, 1, 1)),
                       Misuse("pad: mode 'reflect' widens dimension 0 of length 3 by at most 2",
                              numbers(3), widths=(3, 0), mode="reflect"),
                       Misuse("pad: mode 'circular' widens dimension 0 of length 3 by at most 3",
                              numbers(3), widths=(0, 4), mode="circular"),
                       Misuse("pad: mode 'replicate'.*length 0", numbers(0), widths=(1, 0), mode="replicate")]),
    Operation("cast there and back", lambda x: x.double().to(x.dtype), np.positive,
              [Sample(numbers(2, 3)), Sample(numbers(0, 3))]),
    Operation("clone", Tensor.clone, np.positive, [Sample(numbers(2, 3))]),
    Operation("x * x + x", lambda x: x * x + x, lambda x: x * (x + 1), [Sample(numbers(3, 4)), Sample(levels(5))]),
]  # fmt: skip

ROWS = ARITHMETIC + SHAPING
