"""Losses against PyTorch, with all their arguments and their gradients."""

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

REDUCTIONS = ("mean", "sum", "none")
CLASSES = 4
WEIGHT = np.array([0.5, 2.0, 0.75, 1.25])
SCORES = {
    "rows": (5, CLASSES),
    "row": (CLASSES,),
    "images": (2, CLASSES, 3, 2),
    "empty": (0, CLASSES),
    "one": (1, CLASSES),
}


def labels_for(shape: tuple[int, ...], ignored: int | None = None) -> np.ndarray:
    """Labels for scores of ``shape``; every third is ``ignored``."""
    size = (shape[0], *shape[2:]) if len(shape) > 1 else ()
    labels = np.random.default_rng(5).integers(0, CLASSES, size)
    if ignored is not None:
        labels = np.where(np.arange(labels.size).reshape(size) % 3 == 1, ignored, labels)
    return labels.astype(np.int64)


def weighted(function: Any, weight: Any, **options: Any) -> Any:
    """``function(input, target)`` with a class weight of the input's own kind and dtype."""

    def call(x: Any, target: Any) -> Any:
        return function(x, target, weight=None if weight is None else _like(x, weight), **options)

    return call


@pytest.mark.parametrize("shape", SCORES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["no weight", "weight"])
def test_cross_entropy_with_labels(device: str, shape: str, reduction: str, smoothing: float, weight: Any) -> None:
    for ignored in (None, -100, 2):
        options = {"reduction": reduction, "label_smoothing": smoothing}
        if ignored is not None:
            options["ignore_index"] = ignored
        labels = labels_for(SCORES[shape], ignored)
        same_as_torch(
            device, weighted(F.cross_entropy, weight, **options), weighted(TF.cross_entropy, weight, **options),
            numbers(*SCORES[shape], high=5.0), labels,
        )  # fmt: skip


@pytest.mark.parametrize("shape", SCORES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["no weight", "weight"])
def test_cross_entropy_with_probabilities(
    device: str, shape: str, reduction: str, smoothing: float, weight: Any
) -> None:
    targets = numbers(*SCORES[shape], seed=1, low=0.05, high=1.0)
    targets /= targets.sum(0 if shape == "row" else 1, keepdims=True)
    options = {"reduction": reduction, "label_smoothing": smoothing}
    same_as_torch(
        device, weighted(F.cross_entropy, weight, **options), weighted(TF.cross_entropy, weight, **options),
        numbers(*SCORES[shape], high=5.0), targets,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_every_row_ignored(device: str, name: str, reduction: str) -> None:
    """The mean over nothing is NaN, but a row that counts for nothing gets no gradient."""
    labels = np.full(5, -100)
    ours, theirs = getattr(F, name), getattr(TF, name)
    same_as_torch(
        device, lambda x, y: ours(x, y, reduction=reduction), lambda x, y: theirs(x, y, reduction=reduction),
        numbers(5, CLASSES), labels, gradients=reduction != "mean",
    )  # fmt: skip


@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
def test_classes_of_probability_zero(device: str, name: str) -> None:
    """-inf scores: no loss where the label is another class or the row is ignored, an infinite one where it is the label."""
    scores = np.array([[0.0, -math.inf, 1.0, 2.0], [0.0, -math.inf, 1.0, 2.0], [0.5, 1.0, -1.0, -math.inf]])
    labels = np.array([0, -100, 1])
    same_as_torch(device, getattr(F, name), getattr(TF, name), scores, labels)
    same_as_torch(device, getattr(F, name), getattr(TF, name), scores, np.array([0, 1, 1]), gradients=False)


@pytest.mark.parametrize("shape", SCORES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["no weight", "weight"])
def test_nll_loss(device: str, shape: str, reduction: str, weight: Any) -> None:
    for ignored in (-100, 0):
        options = {"reduction": reduction, "ignore_index": ignored}
        same_as_torch(
            device, weighted(F.nll_loss, weight, **options), weighted(TF.nll_loss, weight, **options),
            numbers(*SCORES[shape], low=-6, high=0), labels_for(SCORES[shape], ignored),
        )  # fmt: skip


@pytest.mark.parametrize("shape", ["rows", "row", "one"])
@pytest.mark.parametrize(("p", "margin"), [(1, 1.0), (2, 1.0), (1, 0.3), (2, 2.5)])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["no weight", "weight"])
def test_multi_margin_loss(device: str, shape: str, p: int, margin: float, reduction: str, weight: Any) -> None:
    options = {"p": p, "margin": margin, "reduction": reduction}
    same_as_torch(
        device, weighted(F.multi_margin_loss, weight, **options), weighted(TF.multi_margin_loss, weight, **options),
        numbers(*SCORES[shape]), labels_for(SCORES[shape]),
    )  # fmt: skip


@pytest.mark.parametrize("p", [1, 2])
def test_multi_margin_loss_exactly_at_the_margin(device: str, p: int) -> None:
    scores, labels = np.array([[1.0, 0.0, 2.0, 0.0], [3.0, 1.0, 2.0, 2.0]]), np.array([0, 0])
    same_as_torch(
        device,
        lambda x, y: F.multi_margin_loss(x, y, p=p),
        lambda x, y: TF.multi_margin_loss(x, y, p=p),
        scores,
        labels,
    )


SHAPES = [(), (4,), (3, 4), (2, 3, 2, 2), (0, 3)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", ["mse_loss", "l1_loss"])
def test_losses_of_values(device: str, name: str, reduction: str, shape: tuple[int, ...]) -> None:
    ours, theirs = getattr(F, name), getattr(TF, name)
    x, target = numbers(*shape), numbers(*shape, seed=1)
    same_as_torch(
        device, lambda x, y: ours(x, y, reduction=reduction), lambda x, y: theirs(x, y, reduction=reduction), x, target
    )
    same_as_torch(
        device,
        lambda x, y: ours(x, y, reduction=reduction),
        lambda x, y: theirs(x, y, reduction=reduction),
        x,
        x.copy(),
    )


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_soft_margin_loss(device: str, shape: tuple[int, ...], reduction: str) -> None:
    target = np.where(numbers(*shape, seed=2) > 0, 1, -1)
    for largest in (2.0, 80.0):
        same_as_torch(
            device, lambda x, y: F.soft_margin_loss(x, y, reduction=reduction),
            lambda x, y: TF.soft_margin_loss(x, y.to(x.dtype), reduction=reduction),
            numbers(*shape, low=-largest, high=largest), target,
        )  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("reduction", "weight"), list(itertools.product(REDUCTIONS, [False, True])))
def test_binary_cross_entropy(device: str, shape: tuple[int, ...], reduction: str, weight: bool) -> None:
    p, target = numbers(*shape, low=0.01, high=0.99), numbers(*shape, seed=1, low=0.0, high=1.0)
    weights = numbers(*shape, seed=2, low=0.5, high=2.0) if weight else None
    same_as_torch(
        device, weighted(F.binary_cross_entropy, weights, reduction=reduction),
        weighted(TF.binary_cross_entropy, weights, reduction=reduction), p, target,
    )  # fmt: skip


def test_binary_cross_entropy_at_the_edges(device: str) -> None:
    """The logarithm of 0 counts as -100."""
    p, target = (a.copy() for a in np.meshgrid([0.0, 1e-30, 0.5, 1.0], [0.0, 0.5, 1.0]))
    same_as_torch(
        device, lambda p: F.binary_cross_entropy(p, _like(p, target), reduction="none"),
        lambda p: TF.binary_cross_entropy(p, _like(p, target), reduction="none"), p,
        gradients=False,  # PyTorch's bound of their denominator is 1e-12 rounded to float32, also in float64
    )  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("pos_weight", [False, True])
def test_binary_cross_entropy_with_logits(
    device: str, shape: tuple[int, ...], reduction: str, pos_weight: bool
) -> None:
    x, target = numbers(*shape, low=-60, high=60), numbers(*shape, seed=1, low=0.0, high=1.0)
    weights = numbers(*shape, seed=2, low=0.5, high=2.0)
    per_class = numbers(*shape[-1:], seed=3, low=0.5, high=4.0) if pos_weight else None

    def call(function: Any) -> Any:
        def loss(x: Any, target: Any) -> Any:
            factor = None if per_class is None else _like(x, per_class)
            return function(x, target, _like(x, weights), pos_weight=factor, reduction=reduction)

        return loss

    ours, theirs = call(F.binary_cross_entropy_with_logits), call(TF.binary_cross_entropy_with_logits)
    same_as_torch(device, ours, theirs, x, target)


def _like(x: Any, values: np.ndarray) -> Any:
    """``values`` as a tensor of the kind, device and dtype of ``x``, without gradients."""
    if isinstance(x, torch.Tensor):
        return torch.tensor(values, dtype=x.dtype)
    return type(x)(x.backend.asarray(values.astype(x.dtype)), x.backend)
