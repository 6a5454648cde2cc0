"""Rows: many elements to one, and the matrix functions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from operations import oracles
from operations.specification import Edge, Misuse, Operation, Sample, levels, numbers

from gpunn import functional as F
from gpunn.tensor import Tensor

INF, NAN = math.inf, math.nan
CUBE = (3, 2, 5)
AXES: list[Any] = [None, 0, -1, (0, 2), (-1, 0), (0, 1, 2)]
EDGE_ROWS = np.array(
    [
        [1.0, NAN, 2.0],
        [INF, 1.0, 2.0],
        [-INF, 1.0, 2.0],
        [INF, -INF, 0.0],
        [-INF, -INF, -INF],
        [-0.0, 0.0, -0.0],
        [1e15, 2, -1e15],
    ]
)


def count(shape: tuple[int, ...], dim: Any) -> int:
    """How many elements go into one."""
    axes = range(len(shape)) if dim is None else (dim,) if isinstance(dim, int) else dim
    return math.prod(shape[a] for a in axes)


def slices(function: Any) -> Any:
    """A function of a vector, applied to each one that a reduction over ``dim`` joins."""

    def reduce(x: np.ndarray, dim: Any = None, keepdim: bool = False, **options: Any) -> np.ndarray:
        axes = tuple(range(x.ndim)) if dim is None else (dim,) if isinstance(dim, int) else dim
        axes = tuple(a % x.ndim for a in axes) if x.ndim else ()
        kept = [a for a in range(x.ndim) if a not in axes]
        rows = np.transpose(x, [*kept, *axes]).reshape(*(x.shape[a] for a in kept), count(x.shape, axes))
        out = np.zeros(rows.shape[:-1])
        for place in np.ndindex(out.shape):
            out[place] = function(rows[place], **options)
        return out.reshape([1 if a in axes else n for a, n in enumerate(x.shape)]) if keepdim else out

    return reduce


def reduction(
    name: str, call: Any, function: Any, *, empty: bool = True, single: bool = True, **more: Any
) -> Operation:
    """A reduction along every choice of dimensions; ``empty`` and ``single``: defined for no, and for one, element."""
    samples = [
        Sample(numbers(*CUBE), dim=dim, keepdim=keep, terms=count(CUBE, dim)) for dim in AXES for keep in (False, True)
    ]
    samples += [Sample(numbers(1, 1), dim=0), Sample(numbers(3, 1, 1, 1), dim=(2, 3))] if single else []
    samples += [Sample(numbers(0, 3), dim=1, terms=3)]
    samples += [Sample(numbers(0, 3), dim=0)] if empty else []
    more.setdefault("edges", [Edge(EDGE_ROWS, dim=1)])
    misuses = [Misuse("axis 5 is out of bounds for array of dimension 2", numbers(2, 3), dim=5, error=IndexError)]
    return Operation(name, call, slices(function), samples, misuses=misuses, **more)


def variance(v: np.ndarray, correction: int = 1) -> float:
    degrees = len(v) - correction
    mean = math.fsum(v) / len(v)
    return math.fsum((e - mean) ** 2 for e in v) / degrees if degrees > 0 else NAN


def p_norm(v: np.ndarray, p: float = 2.0) -> float:
    if any(math.isnan(e) for e in v):
        return NAN
    if p == INF:
        return max(abs(e) for e in v)
    return sum(abs(e) ** p for e in v) ** (1 / p)


def maximum(v: np.ndarray) -> float:
    return NAN if np.isnan(v).any() else sorted(v)[-1]


def maxout(x: np.ndarray, pieces: int, dim: int = 1) -> np.ndarray:
    place = dim % x.ndim
    split = x.reshape(*x.shape[:place], x.shape[place] // pieces, pieces, *x.shape[place + 1 :])
    return slices(maximum)(split, place + 1)


def along(pick: Any) -> Any:
    """Values and places of the first largest (or smallest) element along a dimension."""

    def oracle(x: np.ndarray, dim: int, keepdim: bool = False) -> tuple[np.ndarray, np.ndarray]:
        moved = np.moveaxis(x, dim, -1)
        places = np.zeros(moved.shape[:-1], np.int64)
        for place in np.ndindex(places.shape):
            row = list(moved[place])
            nans = [i for i, v in enumerate(row) if v != v]
            places[place] = nans[0] if nans else row.index(pick(row))
        kept = np.expand_dims(places, dim)
        values = np.take_along_axis(x, kept, dim)
        return (values, kept) if keepdim else (np.squeeze(values, dim), places)

    return oracle


ALONG_SAMPLES = [Sample(numbers(*CUBE), dim=d, keepdim=k) for d in (0, 1, -1) for k in (False, True)]
ALONG_SAMPLES += [Sample(numbers(0, 3), dim=1), Sample(numbers(4, 1), dim=1)]

REDUCTIONS = [
    reduction("sum", Tensor.sum, lambda v: math.fsum(v) if np.isfinite(v).all() else sum(v), scale=1,
              edges=[Edge(EDGE_ROWS[:-1], dim=1)]),
    reduction("mean", Tensor.mean, lambda v: sum(v) / len(v) if len(v) else NAN, scale=1, edges=[Edge(EDGE_ROWS[:-1], dim=1)]),
    # Behind it stand two sums, one of squares of differences.
    reduction("var", lambda x, dim=None, keepdim=False, correction=1: x.var(dim, correction, keepdim),
              variance,
              empty=False, single=False, rounding=2,
              edges=[Edge([[2.0, 2.0], [1.0, 3.0]], dim=1), Edge([[2.0]], dim=1, expected=[NAN])]),
    reduction("std", lambda x, dim=None, keepdim=False: x.std(dim, 0, keepdim), lambda v: math.sqrt(variance(v, 0)),
              empty=False, single=False, rounding=2, edges=[Edge([[2.0, 2.0], [1.0, 3.0]], dim=1)]),
    reduction("amax", Tensor.amax, maximum, empty=False),
    reduction("amin", Tensor.amin, lambda v: -maximum(-v), empty=False),
    reduction("logsumexp", lambda x, dim=None, keepdim=False: F.logsumexp(x, dim, keepdim),
              lambda v: math.log(sum(math.exp(e) for e in v)), empty=False, scale=1,
              edges=[Edge(EDGE_ROWS[[0, 1, 2, 4]], dim=1, expected=[NAN, INF, math.log(math.exp(1) + math.exp(2)), -INF]),
                     Edge([[1000.0, 1000.0], [-1000.0, -1000.0]], dim=1, expected=[1000 + math.log(2), -1000 + math.log(2)])]),
    reduction("norm", lambda x, dim=None, keepdim=False: x.norm(2, dim, keepdim), p_norm,
              edges=[Edge(EDGE_ROWS[[0, 1, 2, 5, 6]], dim=1), Edge([[3e30, 4e30]], dim=1, expected=[5e30])]),
    *[reduction(f"norm of order {p:g}", lambda x, dim=None, keepdim=False, p=p: x.norm(p, dim, keepdim),
                lambda v, p=p: p_norm(v, p), empty=p == 1,
                # x^p and its root: each power is exact to a few units only.
                rounding=1 if p in (1, INF) else 4) for p in (1, 3, 1.5, INF)],
    Operation("max of all", Tensor.max, lambda x: np.sort(x, axis=None)[-1], [Sample(numbers(*CUBE)), Sample(numbers(1))],
              misuses=[Misuse("zero-size|empty", numbers(0, 3))]),
    Operation("min of all", Tensor.min, lambda x: np.sort(x, axis=None)[0], [Sample(numbers(*CUBE)), Sample(numbers(1))]),
    Operation("max along", Tensor.max, along(max), ALONG_SAMPLES, edges=[Edge(EDGE_ROWS, dim=1), Edge(levels(4, 6), dim=1)],
              misuses=[Misuse("axis 3 is out of bounds", numbers(2, 3), dim=3, error=IndexError)]),
    Operation("min along", Tensor.min, along(min), ALONG_SAMPLES, edges=[Edge(EDGE_ROWS, dim=1), Edge(levels(4, 6), dim=1)]),
    Operation("maxout", F.maxout, maxout,
              [Sample(numbers(3, 6), pieces=2), Sample(numbers(2, 6, 3, 3), pieces=3), Sample(numbers(4, 2), pieces=2, dim=0),
               Sample(numbers(3, 4), pieces=4, dim=-1), Sample(numbers(0, 4), pieces=2), Sample(numbers(1, 1), pieces=1)],
              misuses=[Misuse("maxout: expected dimension 1 to be a multiple of 4 pieces, got length 6", numbers(3, 6), pieces=4),
                       Misuse("maxout: .* 0 pieces", numbers(3, 6), pieces=0)]),
]  # fmt: skip


def regular(*shape: int) -> np.ndarray:
    """Square matrices far from singular."""
    return numbers(*shape, low=-1, high=1) + 3 * np.eye(shape[-1])


MATRIX_SHAPES = [((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 2)), ((2, 3), (3, 4)), ((4, 2, 3), (3, 2)), ((4, 2, 3), (4, 3, 2)),
                 ((2, 3), (4, 3, 2)), ((4, 1, 2, 3), (2, 3, 2)), ((4, 2, 3), (3,)), ((3,), (4, 3, 2)), ((0, 3), (3, 2)),
                 ((2, 0), (0, 3)), ((1, 1), (1, 1)), ((5, 40), (40, 3))]  # fmt: skip

MATRICES = [
    Operation("matmul", lambda a, b: a @ b, oracles.matmul,
              [Sample(numbers(*a), numbers(*b), terms=a[-1]) for a, b in MATRIX_SHAPES],
              edges=[Edge([[NAN, 1.0], [INF, 1.0]], [[1.0, 0.0], [2.0, 1.0]], expected=[[NAN, NAN], [INF, NAN]])],
              misuses=[Misuse("matmul.*4.*3", numbers(2, 3), numbers(4, 2))]),
    Operation("linear", F.linear, lambda x, w, b=None: oracles.matmul(x, w.T) + (0 if b is None else b),
              [Sample(numbers(4, 3), numbers(2, 3), numbers(2), terms=4), Sample(numbers(4, 3), numbers(2, 3), None, terms=3),
               Sample(numbers(2, 3, 5), numbers(4, 5), numbers(4), terms=6), Sample(numbers(0, 3), numbers(2, 3), numbers(2)),
               Sample(numbers(3), numbers(2, 3), numbers(2), terms=4), Sample(numbers(1, 1), numbers(1, 1), None),
               Sample(numbers(7, 130), numbers(9, 130), numbers(9), terms=131)],
              misuses=[Misuse(r"linear: expected input of shape \(\.\.\., 4\), got \(2, 3\)", numbers(2, 3), numbers(5, 4), None),
                       Misuse(r"linear: expected bias of shape \(5,\), got \(3,\)", numbers(2, 3), numbers(5, 3), numbers(3))]),
    Operation("linear_relu", F.linear_relu, lambda x, w, b: np.maximum(oracles.matmul(x, w.T) + b, 0),
              [Sample(numbers(4, 3), numbers(2, 3), numbers(2), terms=4), Sample(numbers(0, 3), numbers(2, 3), numbers(2)),
               Sample(numbers(7, 130), numbers(9, 130), numbers(9), terms=131)],
              misuses=[Misuse(r"linear_relu: expected input of shape \(N, 3\), got \(2, 2, 3\)", numbers(2, 2, 3), numbers(5, 3),
                              numbers(5))]),
    Operation("trace", Tensor.trace, lambda x: np.asarray(sum(x[i, i] for i in range(min(x.shape)))),
              [Sample(numbers(3, 3), terms=3), Sample(numbers(2, 4), terms=2), Sample(numbers(1, 1)), Sample(numbers(0, 0))],
              misuses=[Misuse("trace", numbers(2, 2, 2)), Misuse("trace|diag", numbers(3))]),
    # Elimination and Cramer's rule round differently; matrices are chosen with a condition number of about 3.
    Operation("inverse", Tensor.inverse, oracles.inverse, [Sample(regular(n, n), terms=n) for n in (1, 2, 4)]
              + [Sample(regular(3, 2, 2), terms=2)], rounding=2, gradient_rounding=2,
              misuses=[Misuse("square", numbers(2, 3)), Misuse("[Ss]ingular", np.zeros((2, 2)))]),
    Operation("logdet", Tensor.logdet, oracles.logdet, [Sample(regular(n, n), terms=n) for n in (1, 2, 4)]
              + [Sample(regular(3, 2, 2), terms=2)], rounding=2, gradient_rounding=2,
              edges=[Edge(np.diag([1.0, -2.0]), expected=NAN), Edge(np.zeros((2, 2)), expected=-INF)],
              misuses=[Misuse("square", numbers(2, 3))]),
]  # fmt: skip

ROWS = REDUCTIONS + MATRICES
