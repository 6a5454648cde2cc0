"""Linear support vector machines: with a soft margin, and for several classes at once."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpunn import functional as F
from gpunn.classic.linear import LinearClassifier, signs
from gpunn.tensor import Tensor

MULTICLASS_LOSSES = ("crammer_singer", "sum_of_hinges")


class LinearSVM(LinearClassifier):
    """The linear support vector machine with a soft margin.

    minimize 1/2 |w|^2 + C sum_i xi_i,      xi_i = max(0, 1 - t_i (w x_i + b)),      t_i = -1 or +1

    The margin between the classes is 2 / |w| wide; C is the price of an example that lies in it or beyond. A subgradient of
    the sum is w - C sum of t_i x_i over the examples with t_i (w x_i + b) < 1: only the support vectors pull.
    Of K > 2 classes each is separated from the rest by a machine of its own, and the highest score wins.
    Sources: C. Cortes and V. Vapnik, "Support-vector networks", 1995; S. Shalev-Shwartz, Y. Singer and N. Srebro, "Pegasos:
    primal estimated sub-gradient solver for SVM", 2007. `SubgradientLearner` says what the arguments mean.
    """

    def _targets(self, labels: np.ndarray) -> tuple[np.ndarray, int]:
        rows = len(self.classes_) if len(self.classes_) > 2 else 1
        return signs(labels, rows), rows

    def _loss(self, scores: Tensor, targets: Any) -> Tensor:
        return F.hinge_loss(scores, targets, reduction="sum") / len(scores)


class MulticlassSVM(LinearClassifier):
    """One support vector machine for K classes: the score of the right class shall lead all others by 1.

    minimize 1/2 |W|^2 + C sum_i loss_i, with the scores s = W x_i + b and the right class y = y_i:

        "crammer_singer":  loss_i = max(0, 1 + max over j != y of s_j - s_y)      the worst rival counts
        "sum_of_hinges":   loss_i = sum over j != y of max(0, 1 + s_j - s_y)      all rivals count

    Sources: K. Crammer and Y. Singer, "On the algorithmic implementation of multiclass kernel-based vector machines", 2001;
    J. Weston and C. Watkins, "Support vector machines for multi-class pattern recognition", 1999.

    Args:
        loss: "crammer_singer" or "sum_of_hinges". The others are those of `SubgradientLearner`.
    """

    def __init__(
        self,
        *,
        loss: str = "crammer_singer",
        C: float = 1.0,
        epochs: int = 100,
        batch_size: int | None = 32,
        step_size: float = 4.0,
        schedule: str = "1/sqrt(t)",
        average: bool = True,
        seed: int = 0,
        device: str = "cpu",
        dtype: str = "float32",
    ) -> None:
        super().__init__(
            C=C, epochs=epochs, batch_size=batch_size, step_size=step_size, schedule=schedule, average=average, seed=seed,
            device=device, dtype=dtype,
        )  # fmt: skip
        self.loss = loss

    def _targets(self, labels: np.ndarray) -> tuple[np.ndarray, int]:
        if self.loss not in MULTICLASS_LOSSES:
            raise ValueError(
                f"MulticlassSVM: expected loss to be one of {', '.join(MULTICLASS_LOSSES)}, got {self.loss!r}"
            )
        return labels, len(self.classes_)

    def _loss(self, scores: Tensor, targets: Any) -> Tensor:
        if self.loss == "crammer_singer":
            return F.crammer_singer_loss(scores, targets)
        return F.multi_margin_loss(scores, targets) * scores.shape[1]  # which divides the sum by the number of classes
