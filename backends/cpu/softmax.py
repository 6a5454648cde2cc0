"""Cross-entropy row by row, its loss and gradient together."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..reference.softmax import Softmax
from .compiled import is_available
from .compiled import softmax as kernels
from .layout import CACHE_BYTES
from .threads import for_each, slices


class RowwiseSoftmax(Softmax):
    def cross_entropy(
        self,
        logits: Any,
        labels: Any,
        weight: Any = None,
        ignore_index: int = -100,
        label_smoothing: float = 0.0,
        reduction: str = "mean",
    ) -> tuple[Any, Any]:
        served = logits.size > 0 and logits.dtype.kind == "f" and logits.itemsize >= 4
        of_dtype = weight is None or weight.dtype == logits.dtype
        if not is_available() or not served or not of_dtype:
            return super().cross_entropy(logits, labels, weight, ignore_index, label_smoothing, reduction)
        classes, scalar = logits.shape[1], logits.dtype.type
        rows, labels = np.ascontiguousarray(logits), np.ascontiguousarray(labels, np.int64)
        per_class = np.ones(classes, logits.dtype) if weight is None else np.ascontiguousarray(weight)
        weights, losses = np.empty((2, len(rows)), logits.dtype)
        if not kernels.row_weights(labels, classes, per_class, ignore_index, weights):
            self.check_labels(labels, classes, ignore_index)
        total_weight = weights.sum()
        # Every row ignored: the loss is 0 / 0, NaN, and the gradient 0, as in PyTorch.
        divisor = total_weight if reduction == "mean" and total_weight != 0 else scalar(1)
        gradient, smoothing = np.empty_like(rows), scalar(label_smoothing)

        def differentiate(part: slice) -> None:
            peaks = rows[part].max(axis=1)
            kernels.shift(rows[part], peaks, gradient[part])
            np.exp(gradient[part], out=gradient[part])
            of_rows = (rows[part], peaks, labels[part], weights[part])
            kernels.finish(*of_rows, per_class, ignore_index, smoothing, divisor, gradient[part], losses[part])

        for_each(differentiate, slices(len(rows), CACHE_BYTES // (classes * rows.itemsize)))
        if reduction == "none":
            return losses, gradient
        return losses.sum() / total_weight if reduction == "mean" else losses.sum(), gradient
