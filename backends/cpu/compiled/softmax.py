"""Cross-entropy of logits (N, C) with labels (N): kernels on both sides of NumPy's exp, which has vector instructions."""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiler import compiled
from .totals import total_of


@compiled
def row_weights(labels: Any, classes: int, weight: Any, ignore_index: Any, out: Any) -> bool:
    """out (N) = weight[label], 0 for a label that is ignored; whether all others are in range.

    A label out of range counts as the nearest one in range.
    """
    zero, in_range = weight.dtype.type(0), True
    for i in range(len(labels)):
        label = labels[i]
        ignored = label == ignore_index
        in_range &= ignored | ((label >= 0) & (label < classes))
        out[i] = zero if ignored else weight[min(max(label, 0), len(weight) - 1)]
    return in_range


@compiled
def shift(logits: Any, peaks: Any, out: Any) -> None:
    """out (N, C) = logits - peaks (N)."""
    for i in range(len(logits)):
        row, result, peak = logits[i], out[i], peaks[i]
        for c in range(len(row)):
            result[c] = row[c] - peak


@compiled(reassociate=True)
def finish(
    logits: Any, peaks: Any, labels: Any, weights: Any, weight: Any, ignore_index: Any, smoothing: Any, divisor: Any,
    gradient: Any, losses: Any,
) -> None:  # fmt: skip
    """From gradient (N, C) = exp(logits - peaks) the losses (N), and in its place their gradient over ``divisor``.

    ``weights`` (N) are the `row_weights`, ``weight`` (C) those of the classes.
    """
    scalar = logits.dtype.type
    count, classes = logits.shape
    zero, each, total_weight = scalar(0), scalar(smoothing / classes), total_of(weight)
    for i in range(count):
        row, slope, peak = logits[i], gradient[i], peaks[i]
        total = total_of(slope)
        log_total = np.log(total)
        ignored = labels[i] == ignore_index
        label = 0 if ignored else min(max(labels[i], 0), classes - 1)
        main = (scalar(1) - smoothing) * weights[i]
        spread = zero if ignored else each
        loss = zero
        if main != 0:  # 0 times -inf is NaN: a class without weight adds nothing, however improbable
            loss -= main * ((row[label] - peak) - log_total)
        if spread != 0:
            for c in range(classes):
                if weight[c] != 0:
                    loss -= spread * weight[c] * ((row[c] - peak) - log_total)
        losses[i] = loss
        of_row = (main + spread * total_weight) / total
        if spread != 0:
            for c in range(classes):
                slope[c] = (slope[c] * of_row - spread * weight[c]) / divisor
        else:
            for c in range(classes):
                slope[c] = slope[c] * of_row / divisor
        slope[label] -= main / divisor
