"""Softmax, its logarithm, and cross-entropy with loss and gradient from one pass over the scores."""

from __future__ import annotations

from typing import Any

from .reduction import accumulator


class Softmax:
    """softmax, log_softmax, cross_entropy (labels), soft_cross_entropy (probabilities)."""

    xp: Any

    def softmax(self, x: Any, axis: int) -> tuple[Any, Any]:
        """exp(x_i) / sum_j exp(x_j), shifted by the maximum so that nothing overflows."""
        out = self.xp.exp(self._log_softmax(x, axis))
        return out, (out, axis)

    def softmax_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        """The Jacobian diag(s) - s s' times dout."""
        out, axis = saved
        weighted = out * dout
        return (weighted - out * weighted.sum(axis=axis, keepdims=True),)

    def log_softmax(self, x: Any, axis: int) -> tuple[Any, Any]:
        out = self._log_softmax(x, axis)
        return out, (out, axis)

    def log_softmax_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        out, axis = saved
        return (dout - self.xp.exp(out) * dout.sum(axis=axis, keepdims=True),)

    def _log_softmax(self, x: Any, axis: int) -> Any:
        xp = self.xp
        if x.size == 0:
            return x.copy()
        shifted = x - xp.max(x, axis=axis, keepdims=True)
        return shifted - xp.log(xp.sum(xp.exp(shifted), axis=axis, keepdims=True))

    def cross_entropy(
        self,
        logits: Any,
        labels: Any,
        weight: Any = None,
        ignore_index: int = -100,
        label_smoothing: float = 0.0,
        reduction: str = "mean",
    ) -> tuple[Any, Any]:
        """logits (N, C), labels int (N): the loss, a scalar or (N) for reduction "none".

        Row i with label y loses w_y (1 - e) (-log p_y) + e / C sum_c w_c (-log p_c), e the smoothing (C. Szegedy et al.,
        2016); rows with ``ignore_index`` lose nothing; "mean" divides by the sum of w_y over the others. A label outside
        0..C-1 never reads out of bounds: `check_labels` reports it.
        """
        if accumulator(logits.dtype) != logits.dtype:
            arguments = (labels, weight, ignore_index, label_smoothing, reduction)
            loss, gradient = self.cross_entropy(logits.astype(accumulator(logits.dtype)), *arguments)
            return loss.astype(logits.dtype), gradient.astype(logits.dtype)
        xp = self.xp
        classes = logits.shape[1]
        valid = labels != ignore_index
        self.check_labels(labels, classes, ignore_index)
        safe = xp.where(valid, labels, 0).clip(0, max(classes - 1, 0))
        targets = (safe[:, None] == xp.arange(classes)).astype(logits.dtype)
        picked = xp.ones(classes, dtype=logits.dtype) if weight is None else weight
        row_weight = xp.where(valid, picked[safe], 0).astype(logits.dtype)
        mixed = targets * (1 - label_smoothing) * row_weight[:, None]
        if label_smoothing:
            mixed += (label_smoothing / classes) * picked * valid[:, None]
        divisor = row_weight.sum() if reduction == "mean" else None
        return self._weighted_cross_entropy(logits, mixed, divisor, reduction)

    def cross_entropy_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        """What is saved is the gradient of the loss."""
        return saved * (dout if dout.ndim == 0 else dout[:, None]), None, None

    def soft_cross_entropy(
        self, logits: Any, targets: Any, weight: Any = None, label_smoothing: float = 0.0, reduction: str = "mean"
    ) -> tuple[Any, Any]:
        """logits and targets (N, C), each target row a distribution; "mean" divides by N (as PyTorch does)."""
        mixed = targets * (1 - label_smoothing) + label_smoothing / logits.shape[1]
        mixed = (mixed if weight is None else mixed * weight).astype(logits.dtype, copy=False)
        rows = self.xp.asarray(logits.shape[0], dtype=logits.dtype) if reduction == "mean" else None
        loss, gradient = self._weighted_cross_entropy(logits, mixed, rows, reduction)
        return loss, (gradient, logits, weight, label_smoothing, rows)

    def soft_cross_entropy_backward(
        self, saved: Any, dout: Any, needs: tuple[bool, ...] = (True, True, False)
    ) -> tuple[Any, ...]:
        gradient, logits, weight, label_smoothing, rows = saved
        per_row = dout if dout.ndim == 0 else dout[:, None]
        grad_targets = None
        if needs[1]:
            per_target = -(1 - label_smoothing) * self._log_softmax(logits, axis=1)
            per_target = per_target if weight is None else per_target * weight
            grad_targets = per_target * per_row if rows is None else per_target * per_row / rows
        return gradient * per_row, grad_targets, None

    def _weighted_cross_entropy(self, logits: Any, targets: Any, divisor: Any, reduction: str) -> tuple[Any, Any]:
        """-sum_c t_c log p_c a row, and its gradient p sum_c t_c - t; t need not sum to 1."""
        xp = self.xp
        log_p = self._log_softmax(logits, axis=1)
        # 0 * -inf is NaN: a class without weight adds nothing, however improbable.
        losses = -xp.where(targets == 0, 0, targets * log_p).sum(axis=1)
        gradient = xp.exp(log_p) * targets.sum(axis=1, keepdims=True) - targets
        if reduction == "none":
            return losses, gradient
        if reduction == "sum":
            return losses.sum(), gradient
        # Every row ignored: the loss is 0 / 0, NaN, and the gradient 0, as in PyTorch.
        return losses.sum() / divisor, gradient / xp.where(divisor == 0, 1, divisor)

    def check_labels(self, labels: Any, classes: int, ignore_index: int | None) -> None:
        raise NotImplementedError  # Backend's: how an error travels from the device is the backend's own matter
