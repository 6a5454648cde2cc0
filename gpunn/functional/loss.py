"""Losses of scores against class labels or probabilities, and of predictions against values.

Squared error, binary cross-entropy and cross-entropy are negative log-likelihoods: C. Bishop, "Pattern Recognition and Machine
Learning", 2006, sections 3.1.1, 4.3.2 and 4.3.4.
"""

from __future__ import annotations

from typing import Any

from ..dtypes import int64, is_floating
from ..mixed_precision import in_float32
from ..tensor import Tensor, apply
from .elementwise import where

REDUCTIONS = ("mean", "sum", "none")


def check_reduction(name: str, reduction: str) -> None:
    if reduction not in REDUCTIONS:
        raise ValueError(f"{name}: expected reduction to be one of {', '.join(REDUCTIONS)}, got {reduction!r}")


def reduce(losses: Tensor, reduction: str) -> Tensor:
    """The mean, the sum, or all of the losses."""
    return losses.mean() if reduction == "mean" else losses.sum() if reduction == "sum" else losses


@in_float32
def cross_entropy(
    input: Tensor,
    target: Any,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """-log softmax(input)[target]: how many nats the right class was missed by.

    Args:
        input: scores (N, C), (N, C, d1, ...) or (C).
        target: labels, integers of shape (N), (N, d1, ...) or (); or probabilities of the shape of ``input``.
        weight: (C), the weight of each class.
        ignore_index: rows with this label count for nothing.
        reduction: "mean" (labels: over the weights of the rows that count; probabilities: over the rows), "sum" or "none".
        label_smoothing: this share of each target is spread evenly over all classes (C. Szegedy et al., 2016).

    Raises:
        backends.LabelError: a label outside 0..C-1, with the label and its row. On a GPU, when the loss is read.
    """
    check_reduction("cross_entropy", reduction)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: expected 0 <= label_smoothing <= 1, got {label_smoothing}")
    target = _as_target(input, target)
    options = {"label_smoothing": label_smoothing, "reduction": reduction}
    scores, restore = _rows(input)
    weight = _class_weight("cross_entropy", weight, scores)
    if is_floating(target.dtype):
        if target.shape != input.shape:
            raise ValueError(f"cross_entropy: expected probabilities of shape {input.shape}, got {target.shape}")
        probabilities, _ = _rows(target)
        loss = apply("soft_cross_entropy", scores, probabilities, weight, **options)
    else:
        labels = _labels("cross_entropy", input, target)
        loss = apply("cross_entropy", scores, labels, weight, ignore_index=ignore_index, **options)
    return loss.reshape(restore) if reduction == "none" else loss


@in_float32
def nll_loss(
    input: Tensor, target: Any, weight: Any = None, ignore_index: int = -100, reduction: str = "mean"
) -> Tensor:
    """-input[target], the input being log-probabilities; arguments and shapes as for `cross_entropy` with labels."""
    check_reduction("nll_loss", reduction)
    labels = _labels("nll_loss", input, _as_target(input, target))
    scores, restore = _rows(input)
    weight = _class_weight("nll_loss", weight, scores)
    backend, classes, xp = input.backend, scores.shape[1], input.backend.xp
    with backend.scope():
        backend.check_labels(labels.data, classes, ignore_index)
        counts = labels.data != ignore_index
        safe = xp.where(counts, labels.data, 0).clip(0, classes - 1)  # a wrong label is reported, not followed
        per_class = backend.ones((classes,), input.dtype) if weight is None else weight.data
        row_weight = Tensor(xp.where(counts, per_class[safe], 0).astype(input.dtype), backend)
        rows = xp.arange(len(safe))
    picked = scores[rows, safe]
    # A row without weight adds 0 even where its log-probability is -inf.
    losses = where(row_weight == 0, 0.0, -picked * row_weight)
    if reduction == "none":
        return losses.reshape(restore)
    return losses.sum() / row_weight.sum() if reduction == "mean" else losses.sum()


@in_float32
def mse_loss(input: Tensor, target: Any, reduction: str = "mean") -> Tensor:
    """(input - target)^2."""
    difference = _difference("mse_loss", input, target, reduction)
    return reduce(difference * difference, reduction)


@in_float32
def l1_loss(input: Tensor, target: Any, reduction: str = "mean") -> Tensor:
    """|input - target|."""
    return reduce(_difference("l1_loss", input, target, reduction).abs(), reduction)


@in_float32
def binary_cross_entropy(input: Tensor, target: Any, weight: Any = None, reduction: str = "mean") -> Tensor:
    """-(t log p + (1 - t) log(1 - p)) for probabilities p in [0, 1]; each logarithm is at least -100."""
    target = same_shape("binary_cross_entropy", input, target, reduction)
    losses = apply("binary_cross_entropy", input, target)
    return reduce(losses if weight is None else losses * _of_dtype(weight, input), reduction)


@in_float32
def binary_cross_entropy_with_logits(
    input: Tensor, target: Any, weight: Any = None, pos_weight: Any = None, reduction: str = "mean"
) -> Tensor:
    """`binary_cross_entropy` of sigmoid(input), without the sigmoid's rounding; pos_weight weighs the targets' share of 1."""
    target = same_shape("binary_cross_entropy_with_logits", input, target, reduction)
    pos_weight = _of_dtype(pos_weight, input)
    losses = apply("binary_cross_entropy_with_logits", input, target, pos_weight)
    return reduce(losses if weight is None else losses * _of_dtype(weight, input), reduction)


@in_float32
def multi_margin_loss(
    input: Tensor, target: Any, p: int = 1, margin: float = 1.0, weight: Any = None, reduction: str = "mean"
) -> Tensor:
    """The multiclass hinge: sum over j != y of w_y max(0, margin - x_y + x_j)^p / C. J. Weston and C. Watkins, 1999.

    Args:
        input: (N, C) or (C).
        target: labels (N) or ().
        p: 1 or 2.
        weight: (C).
    """
    check_reduction("multi_margin_loss", reduction)
    if p not in (1, 2):
        raise ValueError(f"multi_margin_loss: expected p to be 1 or 2, got {p}")
    if input.ndim > 2:
        raise ValueError(f"multi_margin_loss: expected scores of shape (N, C) or (C), got {input.shape}")
    labels = _labels("multi_margin_loss", input, _as_target(input, target))
    scores, restore = _rows(input)
    weight = _class_weight("multi_margin_loss", weight, scores)
    backend, (count, classes), xp = input.backend, scores.shape, input.backend.xp
    with backend.scope():
        backend.check_labels(labels.data, classes, None)
        safe = labels.data.clip(0, classes - 1)  # a wrong label is reported, not followed
        others = Tensor((xp.arange(classes) != safe[:, None]).astype(input.dtype), backend)
        rows = xp.arange(count)
    hinge = (margin - scores[rows, safe].reshape(count, 1) + scores).relu()
    hinge = hinge if p == 1 else hinge * hinge
    losses = (hinge * others).sum(1) / classes
    if weight is not None:
        losses = losses * weight[safe]
    return losses.reshape(restore) if reduction == "none" else reduce(losses, reduction)


@in_float32
def crammer_singer_loss(input: Tensor, target: Any, margin: float = 1.0, reduction: str = "mean") -> Tensor:
    """The multiclass hinge of the worst rival alone: max(0, margin + max over j != y of x_j - x_y).

    `multi_margin_loss` adds up the hinges of all rivals. Of rivals that tie, the first takes the subgradient.
    K. Crammer and Y. Singer, "On the algorithmic implementation of multiclass kernel-based vector machines", 2001.

    Args:
        input: scores (N, C) or (C).
        target: labels (N) or ().
        margin: by how much the right class should lead; at least 0.

    Raises:
        backends.LabelError: a label outside 0..C-1, with the label and its row. On a GPU, when the loss is read.
    """
    check_reduction("crammer_singer_loss", reduction)
    if margin < 0:
        raise ValueError(f"crammer_singer_loss: expected margin >= 0, got {margin}")
    if input.ndim > 2:
        raise ValueError(f"crammer_singer_loss: expected scores of shape (N, C) or (C), got {input.shape}")
    labels = _labels("crammer_singer_loss", input, _as_target(input, target))
    scores, restore = _rows(input)
    backend, (count, classes), xp = input.backend, scores.shape, input.backend.xp
    with backend.scope():
        backend.check_labels(labels.data, classes, None)
        safe = labels.data.clip(0, classes - 1)  # a wrong label is reported, not followed
        rivals = xp.arange(classes) != safe[:, None]
        ahead = Tensor(xp.where(rivals, margin, 0).astype(input.dtype), backend)
        rows = xp.arange(count)
    # The right class takes part without a margin: where it wins, the difference is 0, and so is the hinge.
    losses = (scores + ahead).max(1).values - scores[rows, safe]
    return losses.reshape(restore) if reduction == "none" else reduce(losses, reduction)


def _difference(name: str, input: Tensor, target: Any, reduction: str) -> Tensor:
    return input - same_shape(name, input, target, reduction)


def same_shape(name: str, input: Tensor, target: Any, reduction: str) -> Tensor:
    """The target as a tensor of the input's dtype; ValueError where its shape is another (it would broadcast silently)."""
    check_reduction(name, reduction)
    if not isinstance(input, Tensor):
        raise TypeError(f"{name}: expected input to be a Tensor, got {type(input).__name__}; use gpunn.tensor")
    target = _as_target(input, target)
    if target.shape != input.shape:
        raise ValueError(f"{name}: expected target of shape {input.shape}, got {target.shape}")
    return target if target.dtype == input.dtype else target.to(dtype=input.dtype)


def _as_target(input: Tensor, target: Any) -> Tensor:
    return target if isinstance(target, Tensor) else Tensor(input.backend.asarray(target), input.backend)


def _of_dtype(values: Any, like: Tensor) -> Any:
    """A weight (tensor, array or list) as a tensor of the scores' dtype; plain numbers and None as they are."""
    if values is None or isinstance(values, (int, float)):
        return values
    return (values if isinstance(values, Tensor) else _as_target(like, values)).to(dtype=like.dtype)


def _class_weight(name: str, weight: Any, scores: Tensor) -> Tensor | None:
    """One weight a class as a tensor of the scores' dtype; ValueError where there are more or fewer."""
    if weight is None:
        return None
    weight = _of_dtype(weight, scores)
    if weight.shape != scores.shape[1:]:
        raise ValueError(f"{name}: expected weight of shape {scores.shape[1:]}, got {weight.shape}")
    return weight


def _rows(input: Tensor) -> tuple[Tensor, tuple[int, ...]]:
    """Scores with classes in dimension 1 as (rows, C), and the shape of one loss a row."""
    if input.ndim == 1:
        return input.unsqueeze(0), ()
    if input.ndim == 2:
        return input, (input.shape[0],)
    last = input.permute(0, *range(2, input.ndim), 1)
    return last.reshape(-1, input.shape[1]), last.shape[:-1]


def _labels(name: str, input: Tensor, target: Tensor) -> Tensor:
    """Integer labels as a flat tensor; ValueError or TypeError where shape or dtype do not fit."""
    if target.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected integer labels, got {target.dtype.name}; use .to('int64')")
    expected = input.shape[:1] + input.shape[2:] if input.ndim > 1 else ()
    if input.ndim == 0 or target.shape != expected:
        raise ValueError(
            f"{name}: expected labels of shape {expected} for scores of shape {input.shape}, got {target.shape}"
        )
    flat = target if target.ndim == 1 else target.reshape(-1)
    return flat if flat.dtype == int64 else flat.to(dtype=int64)
