"""Principal components and whitening, learned from training data as all of `gpunn.data.preprocessing`."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import numpy as np

from gpunn.data.preprocessing import Preprocessing
from gpunn.dtypes import is_number

Method = Literal["pca", "zca"]


class PCA(Preprocessing):
    """Principal components: z = V' (x - mean), the directions V in which the data vary most, uncorrelated in z.

    The covariance C = sum (x - mean)(x - mean)' / n has orthonormal eigenvectors v_i with eigenvalues l_1 >= l_2 >= ...:
    l_i is the variance of z_i. Of all k directions the first k lose least: sum |x - mean - V z|^2 / n is the sum of the
    eigenvalues that are left out. Of v and -v the one is taken whose largest entry is positive.

    Args:
        components: how many, k; or, a float in (0, 1], the share of the variance that they keep at least; None: all d.

    Attributes:
        components_: (k, d), one eigenvector a row.
        variances_: (k), their eigenvalues.
        share_: (k), the same divided by the sum of all d eigenvalues.

    Source: C. Bishop, "Pattern Recognition and Machine Learning", 2006, section 12.1.
    """

    components_: np.ndarray
    variances_: np.ndarray
    share_: np.ndarray

    def __init__(self, components: float | None = None, device: str = "cpu", dtype: Any = "float64") -> None:
        given = 1 if components is None else components
        whole = isinstance(given, (int, np.integer))
        if isinstance(given, bool) or not is_number(given) or not (given >= 1 if whole else 0 < given <= 1):
            raise ValueError(
                f"{type(self).__name__}: expected components to be an integer >= 1, a share in (0, 1] or None, "
                f"got {components!r}"
            )
        self.components = components
        super().__init__(device, dtype)

    def _learn(self, values: np.ndarray) -> None:
        vectors, variances = self._eigen(values)
        total = variances.sum()
        shares = variances / total if total > 0 else np.zeros_like(variances)
        count = self._count(shares)
        self.components_, self.variances_, self.share_ = vectors[:count], variances[:count], shares[:count]

    def _eigen(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """All eigenvectors of the covariance as rows, and their eigenvalues, the largest first."""
        backend, mean = self._backend, self._on_device(self.mean_)
        covariance = sum((block - mean).T @ (block - mean) for _, block in self._blocks(values)) / len(values)
        ascending, columns = (backend.to_numpy(array) for array in backend.xp.linalg.eigh(covariance))
        vectors = columns[:, ::-1].T
        largest = np.take_along_axis(vectors, np.abs(vectors).argmax(axis=1)[:, None], axis=1)
        # Rounding may leave an eigenvalue of 0 a little below it.
        return vectors * np.where(largest < 0, -1.0, 1.0), np.maximum(ascending[::-1], 0.0)

    def _count(self, shares: np.ndarray) -> int:
        if self.components is None:
            return len(shares)
        if isinstance(self.components, (int, np.integer)):
            if self.components > len(shares):
                raise ValueError(f"{self}: expected components of at most {len(shares)}, the number of features")
            return int(self.components)
        # A share of 1.0 may be reached only up to rounding: then all are taken.
        return int(np.searchsorted(np.cumsum(shares), self.components).clip(0, len(shares) - 1)) + 1

    def _apply(self, rows: Any) -> Any:
        return (rows - self._on_device(self.mean_)) @ self._on_device(self.components_).T

    def _undo(self, rows: Any) -> Any:
        return rows @ self._on_device(self.components_) + self._on_device(self.mean_)

    def _shape_of_result(self) -> tuple[int, ...]:
        return (len(self.components_),)


class Whiten(PCA):
    """Uncorrelated features of variance 1: principal components, each divided by its standard deviation.

    method "pca": z = L^(-1/2) V' (x - mean), L the diagonal matrix of the eigenvalues l_i + epsilon.
    method "zca": z = V L^(-1/2) V' (x - mean): turned back, which of all whitenings changes the data least, so that a whitened
    image still looks like one. z then has the shape of x.

    Args:
        epsilon: keeps directions in which the data hardly vary from being blown up into noise. On the scale of the variances:
            for pixels between 0 and 255 rather 10 or 100 than 1e-5.
        components: as in `PCA`.

    Source: A. Bell and T. Sejnowski, "The independent components of natural scenes are edge filters", 1997 (ZCA).
    """

    def __init__(
        self,
        method: Method = "pca",
        epsilon: float = 1e-5,
        components: float | None = None,
        device: str = "cpu",
        dtype: Any = "float64",
    ) -> None:
        if method not in get_args(Method):
            raise ValueError(f"Whiten: expected method to be one of {', '.join(get_args(Method))}, got {method!r}")
        if not (is_number(epsilon) and 0 <= epsilon < math.inf):
            raise ValueError(f"Whiten: expected epsilon >= 0, got {epsilon!r}")
        self.method, self.epsilon = method, float(epsilon)
        super().__init__(components, device, dtype)

    def _learn(self, values: np.ndarray) -> None:
        super()._learn(values)
        if not (self.variances_ + self.epsilon > 0).all():
            raise ValueError(
                f"{self}: the data do not vary in every direction; expected epsilon > 0 or fewer components"
            )

    def _deviations(self) -> Any:
        return self._on_device(np.sqrt(self.variances_ + self.epsilon))

    def _apply(self, rows: Any) -> Any:
        whitened = super()._apply(rows) / self._deviations()
        return whitened @ self._on_device(self.components_) if self.method == "zca" else whitened

    def _undo(self, rows: Any) -> Any:
        principal = rows @ self._on_device(self.components_).T if self.method == "zca" else rows
        return super()._undo(principal * self._deviations())

    def _shape_of_result(self) -> tuple[int, ...]:
        return self.shape_ if self.method == "zca" else super()._shape_of_result()
