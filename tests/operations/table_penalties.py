"""Rows: penalties on weights and activations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from operations.specification import Edge, Misuse, Operation, Sample, numbers

from gpunn import functional as F

INF, NAN = math.inf, math.nan
SHAPES = [(), (1,), (3, 4), (2, 3, 2, 2)]


def of_one() -> list[Sample]:
    return [Sample(numbers(*shape), terms=math.prod(shape)) for shape in SHAPES]


def of_pairs() -> list[Sample]:
    """Two tensors of one shape."""
    return [Sample(numbers(*shape), numbers(*shape), terms=math.prod(shape)) for shape in SHAPES]


def of_several() -> list[Sample]:
    """Tensors of several shapes, one of them empty."""
    return [
        *of_one(),
        Sample(numbers(3, 4), numbers(5), numbers(), terms=18),
        Sample(numbers(2), numbers(0, 3), terms=2),
    ]


def half_squares(*tensors: Any) -> np.ndarray:
    return np.asarray(math.fsum(e * e for w in tensors for e in np.ravel(w)) / 2)


def magnitudes(*tensors: Any) -> np.ndarray:
    return np.asarray(math.fsum(abs(e) for w in tensors for e in np.ravel(w)))


def difference(first: Any, second: Any) -> np.ndarray:
    return half_squares(np.asarray(first) - np.asarray(second))


def unequal(name: str) -> Sequence[Misuse]:
    return [Misuse(rf"{name}: expected two tensors of one shape, got \(3, 4\) and \(4,\)", numbers(3, 4), numbers(4))]


# A square has twice the relative rounding of its base.
ROWS = [
    Operation("l2_penalty", lambda *tensors: F.l2_penalty(tensors), half_squares, of_several(), rounding=2,
              edges=[Edge([3.0, -4.0], [[1.0]], expected=13.0), Edge([INF, 1.0], expected=INF), Edge([NAN, 1.0], expected=NAN)],
              misuses=[Misuse("l2_penalty: expected at least one tensor, got none; give it net.parameters")]),
    Operation("l1_penalty", lambda *tensors: F.l1_penalty(tensors), magnitudes, of_several(),
              edges=[Edge([3.0, -4.0], [[0.0]], expected=7.0), Edge([-INF], expected=INF), Edge([NAN, 1.0], expected=NAN)],
              misuses=[Misuse("l1_penalty: expected at least one tensor, got none; give it net.parameters")]),
    Operation("distance_penalty", F.distance_penalty, difference, of_pairs(), constants=(1,), rounding=2, scale=2,
              edges=[Edge([3.0, -4.0], [1.0, -1.0], expected=6.5), Edge([2.0], [2.0], expected=0.0)],
              misuses=unequal("distance_penalty")),
    Operation("tying_penalty", F.tying_penalty, difference, of_pairs(), rounding=2, scale=2,
              edges=[Edge([3.0, -4.0], [1.0, -1.0], expected=6.5), Edge([2.0], [2.0], expected=0.0)],
              misuses=unequal("tying_penalty")),
    Operation("sparsity_penalty", F.sparsity_penalty, lambda h: magnitudes(h) / len(h),
              [sample for sample in of_one() if sample.inputs[0].ndim],
              edges=[Edge([[1.0, -2.0], [0.0, 3.0]], expected=3.0), Edge([[NAN, 1.0]], expected=NAN)],
              misuses=[Misuse(r"sparsity_penalty: expected activations \(n, ...\) of n >= 1 examples, got shape \(0, 3\)",
                              numbers(0, 3))]),
]  # fmt: skip
