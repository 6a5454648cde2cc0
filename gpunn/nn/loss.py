"""Losses as modules. ``reduction`` is "mean", "sum" or "none"; the formulas stand in ``gpunn.functional``."""

from __future__ import annotations

from typing import Any

from gpunn import functional as F
from gpunn.tensor import Tensor, tensor

from .module import Module

REDUCTIONS = ("mean", "sum", "none")


class _Loss(Module):
    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__()
        if reduction not in REDUCTIONS:
            raise ValueError(
                f"{type(self).__name__}: expected reduction to be one of {', '.join(REDUCTIONS)}, got {reduction!r}"
            )
        self.reduction = reduction


class _WeightedLoss(_Loss):
    """A loss with a weight a class, or an element: a buffer, so that it moves with the module."""

    weight: Tensor | None

    def __init__(self, weight: Any = None, *, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.register_buffer("weight", _tensor(weight))


def _tensor(value: Any) -> Tensor | None:
    return value if value is None or isinstance(value, Tensor) else tensor(value)


class CrossEntropyLoss(_WeightedLoss):
    """-log softmax(input)[target]: input ``(N, C)`` or ``(N, C, ...)`` scores, target class indices or probabilities.

    ``weight`` (C,) scales each class; rows whose target is ``ignore_index`` count for nothing; ``label_smoothing``
    mixes that much of the uniform distribution into the target (C. Szegedy et al., 2016).
    """

    def __init__(
        self,
        weight: Any = None,
        *,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(weight, reduction=reduction)
        if not 0.0 <= label_smoothing <= 1.0:
            raise ValueError(f"CrossEntropyLoss: expected 0 <= label_smoothing <= 1, got {label_smoothing}")
        self.ignore_index, self.label_smoothing = ignore_index, label_smoothing

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return F.cross_entropy(
            input,
            target,
            weight=self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


class NLLLoss(_WeightedLoss):
    """-input[target]: input ``(N, C)`` or ``(N, C, ...)`` logarithms of probabilities, target class indices."""

    def __init__(self, weight: Any = None, *, ignore_index: int = -100, reduction: str = "mean") -> None:
        super().__init__(weight, reduction=reduction)
        self.ignore_index = ignore_index

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return F.nll_loss(input, target, weight=self.weight, ignore_index=self.ignore_index, reduction=self.reduction)


class MSELoss(_Loss):
    """(input - target)^2."""

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return F.mse_loss(input, target, reduction=self.reduction)


class L1Loss(_Loss):
    """|input - target|."""

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return F.l1_loss(input, target, reduction=self.reduction)


class BCELoss(_WeightedLoss):
    """-(t log p + (1 - t) log(1 - p)) for probabilities p and targets t in [0, 1]; ``weight`` scales elements."""

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return F.binary_cross_entropy(input, target, weight=self.weight, reduction=self.reduction)


class BCEWithLogitsLoss(_WeightedLoss):
    """BCELoss of sigmoid(input), computed without overflow; ``pos_weight`` scales the term of targets 1."""

    pos_weight: Tensor | None

    def __init__(self, weight: Any = None, *, reduction: str = "mean", pos_weight: Any = None) -> None:
        super().__init__(weight, reduction=reduction)
        self.register_buffer("pos_weight", _tensor(pos_weight))

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return F.binary_cross_entropy_with_logits(
            input, target, weight=self.weight, pos_weight=self.pos_weight, reduction=self.reduction
        )


class MultiMarginLoss(_WeightedLoss):
    """sum over wrong classes j of max(0, margin - input[target] + input[j])^p / C: the multi-class hinge loss."""

    def __init__(self, p: int = 1, margin: float = 1.0, weight: Any = None, *, reduction: str = "mean") -> None:
        super().__init__(weight, reduction=reduction)
        if p not in (1, 2):
            raise ValueError(f"MultiMarginLoss: expected p to be 1 or 2, got {p}")
        self.p, self.margin = p, margin

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return F.multi_margin_loss(
            input, target, p=self.p, margin=self.margin, weight=self.weight, reduction=self.reduction
        )


class CrammerSingerLoss(_Loss):
    """max(0, margin + max over wrong classes j of input[j] - input[target]): the hinge of the worst rival alone."""

    def __init__(self, margin: float = 1.0, *, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.margin = margin

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return F.crammer_singer_loss(input, target, margin=self.margin, reduction=self.reduction)


class SoftMarginLoss(_Loss):
    """log(1 + exp(-target * input)), targets -1 or +1: the logistic loss."""

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return F.soft_margin_loss(input, target, reduction=self.reduction)


class LogisticLoss(_Loss):
    """log(1 + exp(-target * input)) / log(base), targets -1 or +1: the logistic loss, in bits where ``base`` is 2."""

    def __init__(self, base: float = 2.0, *, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.base = base

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return F.logistic_loss(input, target, base=self.base, reduction=self.reduction)


class HingeLoss(_Loss):
    """max(0, 1 - target * input), targets -1 or +1: the loss of support vector machines."""

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return F.hinge_loss(input, target, reduction=self.reduction)


class SquaredHingeLoss(_Loss):
    """max(0, 1 - target * input)^2, targets -1 or +1: the hinge without its corner."""

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return F.squared_hinge_loss(input, target, reduction=self.reduction)


class ModifiedHuberLoss(_Loss):
    """max(0, 1 - z)^2 for z = target * input >= -1, else -4 z; targets -1 or +1. T. Zhang, 2004."""

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return F.modified_huber_loss(input, target, reduction=self.reduction)


class ExponentialLoss(_Loss):
    """exp(-target * input), targets -1 or +1: the loss of AdaBoost."""

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return F.exponential_loss(input, target, reduction=self.reduction)


class SigmoidLoss(_Loss):
    """1 / (1 + exp(target * input)), targets -1 or +1: a smooth count of the errors."""

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return F.sigmoid_loss(input, target, reduction=self.reduction)
