"""Rows: losses."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from operations import oracles
from operations.specification import Edge, Misuse, Operation, Sample, distributions, labels, numbers, signs

from backends import LabelError
from gpunn import functional as F

INF, NAN = math.inf, math.nan
REDUCTIONS = ("mean", "sum", "none")
CLASSES = 4
SCORES = [(5, CLASSES), (1, CLASSES), (CLASSES,), (2, CLASSES, 3, 2)]
WEIGHT = np.array([0.5, 2.0, 0.75, 1.25])
PLAIN = numbers(3, CLASSES)


def label_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[0], *shape[2:]) if len(shape) > 1 else ()


def label_samples(*options: dict[str, Any], low: float = -3.0, high: float = 3.0) -> list[Sample]:
    """Scores and labels of every shape for every reduction and option, every other one with class weights."""
    samples: list[Sample] = []
    for shape, reduction, more in itertools.product(SCORES, REDUCTIONS, options):
        weight = WEIGHT if len(samples) % 2 else None
        target = labels(*label_shape(shape), classes=CLASSES)
        if "ignore_index" in more and target.size > 1:
            target.reshape(-1)[1::3] = more["ignore_index"]
        if target.size:
            target.reshape(-1)[0] = 0  # never all ignored
        terms = CLASSES * max(target.size, 1)
        samples.append(
            Sample(numbers(*shape, low=low, high=high), target, weight, reduction=reduction, terms=terms, **more)
        )
    samples.append(Sample(numbers(0, CLASSES), labels(0, classes=CLASSES), None, reduction="none"))
    samples.append(Sample(numbers(0, CLASSES), labels(0, classes=CLASSES), None, reduction="sum"))
    return samples


def label_misuses(name: str) -> list[Misuse]:
    def message(label: int, row: int) -> str:
        return rf"label {label} in row {row} is out of range: expected 0 <= label <= 3.*; the scores have 4 classes"

    return [
        Misuse(message(4, 2), PLAIN, np.array([0, 3, 4]), None, error=LabelError),
        Misuse(message(-1, 0), PLAIN, np.array([-1, 3, 4]), None, error=LabelError),
        Misuse(rf"{name}: expected labels of shape \(3,\) for scores of shape \(3, 4\), got \(2,\)",
               PLAIN, np.array([0, 1]), None),
        Misuse(f"{name}: expected reduction to be one of mean, sum, none, got 'avg'",
               PLAIN, np.array([0, 1, 2]), None, reduction="avg"),
        Misuse(rf"{name}: expected weight of shape \(4,\), got \(3,\)", PLAIN, np.array([0, 1, 2]), np.ones(3)),
    ]  # fmt: skip


def positional(function: Any) -> Any:
    """The class weight as a third argument, so that it is an input of the table."""
    return lambda x, target, weight, **options: function(x, target, weight=weight, **options)


MASKED = np.array([[0.0, -INF, 1.0, 2.0], [0.0, -INF, 1.0, 2.0]])
CROSS_ENTROPY_MISUSES = [
    *label_misuses("cross_entropy"),
    Misuse(
        "cross_entropy: expected 0 <= label_smoothing <= 1, got 2", PLAIN, np.array([0, 1, 2]), None, label_smoothing=2
    ),
    Misuse(
        r"cross_entropy: expected probabilities of shape \(3, 4\), got \(3,\)", PLAIN, np.array([0.0, 1.0, 2.0]), None
    ),
]
WITH_LABELS = [
    Operation("cross_entropy", positional(F.cross_entropy), positional(oracles.cross_entropy),
              label_samples({}, {"ignore_index": -100}, {"ignore_index": 1}, {"label_smoothing": 0.1},
                            {"label_smoothing": 1.0, "ignore_index": 7}), constants=(2,), rounding=2, scale=1,
              edges=[Edge(MASKED, [0, 3], WEIGHT, reduction="none", expected=[math.log(1 + math.e + math.e**2) * 0.5,
                                                                              (math.log(1 + math.e + math.e**2) - 2) * 1.25]),
                     Edge(MASKED, [1, 0], WEIGHT, reduction="none", expected=[INF, math.log(1 + math.e + math.e**2) * 0.5]),
                     Edge(MASKED, [-100, -100], WEIGHT, expected=NAN),
                     Edge(MASKED, [-100, -100], WEIGHT, reduction="sum", expected=0.0),
                     Edge(np.array([[1e4, -1e4, 0.0, 0.0]]), [1], np.ones(4), expected=2e4)],
              misuses=CROSS_ENTROPY_MISUSES),
    Operation("nll_loss", positional(F.nll_loss), lambda x, t, w, **o: oracles.cross_entropy(x, t, w, normalized=True, **o),
              label_samples({}, {"ignore_index": 2}, low=-6, high=-0.1), constants=(2,),
              edges=[Edge(MASKED, [0, -100], WEIGHT, reduction="none", expected=[0.0, 0.0]),
                     Edge(MASKED, [-100, -100], WEIGHT, expected=NAN)],
              misuses=[*label_misuses("nll_loss"),
                       Misuse("nll_loss: expected integer labels, got float", PLAIN, np.zeros(3), None, error=TypeError)]),
    Operation("multi_margin_loss", positional(F.multi_margin_loss), positional(oracles.multi_margin_loss),
              [s for s in label_samples({}, {"p": 2}, {"margin": 0.3}, {"p": 2, "margin": 2.5}) if s.inputs[0].ndim < 3],
              constants=(2,), rounding=2,
              misuses=[*label_misuses("multi_margin_loss"),
                       Misuse("multi_margin_loss: expected p to be 1 or 2, got 3", PLAIN, np.array([0, 1, 2]), None, p=3)]),
    Operation("crammer_singer_loss", lambda x, target, weight, **options: F.crammer_singer_loss(x, target, **options),
              lambda x, target, weight, **options: oracles.crammer_singer_loss(x, target, **options),
              [s for s in label_samples({}, {"margin": 0.3}, {"margin": 2.5}) if s.inputs[0].ndim < 3],
              constants=(2,), rounding=2,
              misuses=[m for m in label_misuses("crammer_singer_loss") if "weight" not in m.message]
              + [Misuse("crammer_singer_loss: expected margin >= 0, got -1", PLAIN, np.array([0, 1, 2]), None, margin=-1),
                 Misuse(r"crammer_singer_loss: expected scores of shape \(N, C\) or \(C\), got \(2, 3, 4\)",
                        numbers(2, 3, 4), np.zeros((2, 4), np.int64), None)]),
    Operation("cross_entropy with probabilities", positional(F.cross_entropy), positional(oracles.cross_entropy),
              [Sample(numbers(*shape), distributions(*shape), weight, reduction=reduction, label_smoothing=smoothing,
                      terms=math.prod(shape))
               for shape, reduction, weight, smoothing in itertools.product(
                   [(5, CLASSES), (1, CLASSES), (2, CLASSES, 3, 2)], REDUCTIONS, [None, WEIGHT], [0.0, 0.2])]
              + [Sample(numbers(CLASSES), np.array([0.1, 0.2, 0.3, 0.4]), None, terms=CLASSES)],
              constants=(2,), rounding=2, scale=1),
]  # fmt: skip

SHAPES = [(), (1,), (3, 4), (2, 3, 2, 2)]


def value_samples(second: Any, low: float = -2.0, high: float = 2.0, **options: Any) -> list[Sample]:
    """A prediction and a target of the same shape, for every reduction."""
    samples = [
        Sample(
            numbers(*shape, low=low, high=high), second(*shape), reduction=reduction, terms=math.prod(shape), **options
        )
        for shape, reduction in itertools.product(SHAPES, REDUCTIONS)
    ]
    return [*samples, Sample(numbers(0, 3), second(0, 3), reduction="none", **options)]


def elementwise(name: str, call: Any, formula: Any, second: Any, **more: Any) -> Operation:
    """A loss that is the mean, the sum or all of ``formula`` of each pair."""

    def oracle(x: np.ndarray, target: np.ndarray, reduction: str = "mean", **options: Any) -> np.ndarray:
        values = np.vectorize(lambda a, b: formula(float(a), float(b), **options), otypes=[float])(x, target)
        return oracles.reduced(np.asarray(values), reduction)

    samples = value_samples(second, **more.pop("draw", {}))
    for options in more.pop("variants", ()):
        samples += value_samples(second, **options)
    misuses = [
        Misuse(rf"{name}: expected target of shape \(3, 4\), got \(4,\)", numbers(3, 4), numbers(4)),
        Misuse(
            f"{name}: expected reduction to be one of mean, sum, none, got None", numbers(3), numbers(3), reduction=None
        ),
    ]
    return Operation(name, call, oracle, samples, misuses=misuses, **more)


def bce(p: float, t: float) -> float:
    return -(t * max(math.log(p) if p > 0 else -INF, -100) + (1 - t) * max(math.log(1 - p) if p < 1 else -INF, -100))


def probabilities(*shape: int) -> np.ndarray:
    return numbers(*shape, low=0.05, high=0.95)


def modified_huber(x: float, t: float) -> float:
    return max(0.0, 1 - x * t) ** 2 if x * t >= -1 else -4 * x * t


OF_VALUES = [
    elementwise("mse_loss", F.mse_loss, lambda a, b: (a - b) ** 2, numbers, rounding=2),
    elementwise("l1_loss", F.l1_loss, lambda a, b: abs(a - b), numbers,
                edges=[Edge([1.0, 2.0], [1.0, 2.0], reduction="none", expected=[0, 0])]),
    # log(1 - p) of a p rounded to float32 is as wrong as p / (1 - p) times its rounding; here at most 19.
    elementwise("binary_cross_entropy", F.binary_cross_entropy, bce, probabilities, draw={"low": 0.05, "high": 0.95}, rounding=2,
                gradient_rounding=4,
                edges=[Edge([0.0, 1.0, 0.0, 1.0, NAN], [0.0, 1.0, 1.0, 0.0, 0.5], reduction="none",
                            expected=[0, 0, 100, 100, NAN])]),
    elementwise("binary_cross_entropy_with_logits", F.binary_cross_entropy_with_logits,
                lambda x, t: math.log1p(math.exp(x)) - t * x, probabilities, rounding=2, scale=1,
                edges=[Edge([1e4, -1e4, 1e4, -1e4, NAN], [1.0, 0.0, 0.0, 1.0, 0.5], reduction="none",
                            expected=[0.0, 0.0, 1e4, 1e4, NAN])]),
    elementwise("soft_margin_loss", F.soft_margin_loss, lambda x, t: math.log1p(math.exp(-x * t)), signs,
                edges=[Edge([1e4, -1e4, NAN], [1.0, 1.0, 1.0], reduction="none", expected=[0.0, 1e4, NAN])]),
    elementwise("hinge_loss", F.hinge_loss, lambda x, t, margin=1.0: max(0.0, margin - x * t), signs,
                scale=1, variants=[{"margin": 0.3}]),
    elementwise("squared_hinge_loss", F.squared_hinge_loss, lambda x, t, margin=1.0: max(0.0, margin - x * t) ** 2, signs,
                rounding=2, scale=1, variants=[{"margin": 0.3}]),
    elementwise("logistic_loss", F.logistic_loss, lambda x, t, base=2.0: math.log1p(math.exp(-x * t)) / math.log(base), signs,
                variants=[{"base": math.e}, {"base": 10.0}],
                edges=[Edge([0.0, 1e4, NAN], [1.0, 1.0, 1.0], reduction="none", expected=[1.0, 0.0, NAN]),
                       Edge([-1e4], [1.0], base=math.e, expected=1e4)]),
    elementwise("modified_huber_loss", F.modified_huber_loss, modified_huber, signs, rounding=2, scale=1,
                edges=[Edge([-1.0, 1.0, -3.0, 3.0], [1.0, 1.0, 1.0, 1.0], reduction="none", expected=[4.0, 0.0, 12.0, 0.0])]),
    elementwise("exponential_loss", F.exponential_loss, lambda x, t: math.exp(-x * t), signs),
    elementwise("sigmoid_loss", F.sigmoid_loss, lambda x, t: 1 / (1 + math.exp(x * t)), signs,
                edges=[Edge([1e4, -1e4], [1.0, 1.0], reduction="none", expected=[0.0, 1.0])]),
]  # fmt: skip


def weighted_bce(x: np.ndarray, t: np.ndarray, w: np.ndarray, reduction: str) -> np.ndarray:
    return oracles.reduced(np.vectorize(lambda a, b, c: bce(a, b) * c)(x, t, w), reduction)


def logits_bce(x: np.ndarray, t: np.ndarray, w: np.ndarray, pos_weight: np.ndarray, reduction: str) -> np.ndarray:
    def loss(a: float, b: float, c: float, d: float) -> float:
        p = 1 / (1 + math.exp(-a))
        return -c * (d * b * math.log(p) + (1 - b) * math.log(1 - p))

    return oracles.reduced(np.vectorize(loss)(x, t, w, np.broadcast_to(pos_weight, x.shape)), reduction)


WEIGHTED = [
    Operation("binary_cross_entropy with a weight", F.binary_cross_entropy, weighted_bce,
              [Sample(probabilities(3, 4), probabilities(3, 4), probabilities(3, 4), reduction=r, terms=12) for r in REDUCTIONS],
              rounding=2, gradient_rounding=4),
    Operation("binary_cross_entropy_with_logits and weights",
              lambda x, t, w, p, reduction: F.binary_cross_entropy_with_logits(x, t, w, pos_weight=p, reduction=reduction),
              logits_bce,
              [Sample(numbers(3, 4), probabilities(3, 4), probabilities(3, 4), 1 + probabilities(4), reduction=r, terms=12)
               for r in REDUCTIONS], constants=(3,), rounding=2),
]  # fmt: skip

ROWS = WITH_LABELS + OF_VALUES + WEIGHTED
