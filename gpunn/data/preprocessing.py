"""Preprocessing that is learned from training data: what all of it shares, and zero mean and scaling.

It is fitted to the training data and then applied to any data, so that nothing of the test data leaks into it::

    standardize = Standardize().fit(training_images)
    inputs = standardize.transform(test_images)

X is (n, d) or (n, ...), images (n, C, H, W) for one: each row is one example, whose d values are its features. It is a NumPy
array, a list or a tensor of real numbers, taken as they are: uint8 images stay between 0 and 255. Results and learned
attributes (their names end in ``_``) are NumPy arrays. What was fitted is also a transform of `DataLoader`.

The work is done on ``device`` in float64, and in blocks of rows: beside the result it needs memory for d x d numbers, not for
n x d.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Literal, Self, get_args

import numpy as np

from backends import Backend
from gpunn.device import resolve
from gpunn.dtypes import as_dtype, is_floating, is_real

# Values of X that are on the device at a time: 32 MB in float64.
BLOCK = 1 << 22

Scale = Literal["deviation", "largest", "none"]


class Preprocessing:
    """What `Standardize`, `PCA` and `Whiten` share: the mean, examples of any shape, and blocks of them.

    Args:
        device: where the work is done.
        dtype: of the results.

    Attributes:
        mean_: (d), of the training data.
        shape_: the shape of one example of the training data.
    """

    mean_: np.ndarray
    shape_: tuple[int, ...]

    def __init__(self, device: str = "cpu", dtype: Any = "float64") -> None:
        self.device, self.dtype = device, dtype

    def fit(self, X: Any) -> Self:
        """Learn from training data X (n, ...) and return this object.

        Raises:
            ValueError: no examples, no features, or a NaN or infinite value.
        """
        if not is_floating(as_dtype(self.dtype)):
            raise ValueError(f"{self}: expected a floating dtype for the results, 'float32' or 'float64'")
        values = self._array(X)
        if values.ndim < 2 or 0 in values.shape:
            raise ValueError(f"{self}: expected X of shape (n, d) or (n, ...), none of them 0, got {values.shape}")
        with self._backend.scope():
            total = sum(block.sum(axis=0) for _, block in self._blocks(values))
            self.mean_ = self._backend.to_numpy(total) / len(values)
            if not np.isfinite(self.mean_).all():
                raise ValueError(f"{self}: X has a NaN or infinite value; repair or remove its rows")
            self._learn(values)
        self.shape_ = values.shape[1:]
        return self

    def transform(self, X: Any) -> np.ndarray:
        """X (n, ...), its examples shaped as in training, transformed as the class says."""
        values = self._checked(X, getattr(self, "shape_", ()))
        return self._by_blocks(values, self._apply, self._shape_of_result())

    def fit_transform(self, X: Any) -> np.ndarray:
        """`fit` to X, then `transform` X."""
        return self.fit(X).transform(X)

    def inverse_transform(self, Z: Any) -> np.ndarray:
        """The data (n, ...) that `transform` made Z of, as far as Z still tells."""
        values = self._checked(Z, self._shape_of_result() if hasattr(self, "shape_") else ())
        return self._by_blocks(values, self._undo, self.shape_)

    def __call__(self, batch: np.ndarray, seed: int, stream: int, start: int) -> np.ndarray:
        """As a transform of `DataLoader`: float32, and nothing random in it."""
        return self.transform(batch).astype(np.float32, copy=False)

    def __repr__(self) -> str:
        options = (f"{name}={value!r}" for name, value in vars(self).items() if not name.endswith("_"))
        return f"{type(self).__name__}({', '.join(options)})"

    # What each class says. Rows are on the device: (some, d) in float64.

    def _learn(self, values: np.ndarray) -> None:
        raise NotImplementedError

    def _apply(self, rows: Any) -> Any:
        raise NotImplementedError

    def _undo(self, rows: Any) -> Any:
        raise NotImplementedError

    def _shape_of_result(self) -> tuple[int, ...]:
        return self.shape_

    # Blocks of rows

    @property
    def _backend(self) -> Backend:
        return resolve(self.device)

    def _on_device(self, learned: np.ndarray) -> Any:
        return self._backend.asarray(learned)

    def _blocks(self, values: np.ndarray) -> Iterator[tuple[slice, Any]]:
        """Where each block of rows stands, and the block on the device."""
        width = math.prod(values.shape[1:])
        step = max(1, BLOCK // width)
        for start in range(0, len(values), step):
            block = values[start : start + step]
            yield slice(start, start + len(block)), self._on_device(block.reshape(-1, width).astype(np.float64))

    def _by_blocks(self, values: np.ndarray, function: Callable[[Any], Any], shape: tuple[int, ...]) -> np.ndarray:
        """``function`` of all rows, each result an example of ``shape``."""
        out = np.empty((len(values), math.prod(shape)), dtype=as_dtype(self.dtype))
        with self._backend.scope():
            for rows, block in self._blocks(values):
                out[rows] = self._backend.to_numpy(function(block))
        return out.reshape((len(values), *shape))

    def _array(self, given: Any) -> np.ndarray:
        try:
            values = np.asarray(given)
        except ValueError:
            raise ValueError(f"{self}: expected an array, or lists of equal lengths, got several lengths") from None
        if not is_real(values.dtype):
            raise ValueError(f"{self}: expected real numbers, got {values.dtype}")
        return values

    def _checked(self, given: Any, shape: tuple[int, ...]) -> np.ndarray:
        if not hasattr(self, "shape_"):
            raise RuntimeError(f"{self} has learned nothing yet; call fit(training data) first")
        values = self._array(given)
        if values.ndim < 2 or values.shape[1:] != shape:
            raise ValueError(f"{self}: expected shape (n, {', '.join(map(str, shape))}), got {values.shape}")
        return values


class Standardize(Preprocessing):
    """z = (x - mean) / scale, feature by feature: zero mean, and one scale for all features.

    Args:
        scale: "deviation": divide by the standard deviation, sqrt(sum (x - mean)^2 / n); "largest": by the largest
            |x - mean|, so that training data lie between -1 and 1; "none": only subtract the mean.

    A feature that never varies in the training data gets scale 1, so that it becomes 0 rather than NaN.

    Attributes:
        scale_: (d).

    Source: Y. LeCun et al., "Efficient BackProp", 1998, section 4.3.
    """

    scale_: np.ndarray

    def __init__(self, scale: Scale = "deviation", device: str = "cpu", dtype: Any = "float64") -> None:
        if scale not in get_args(Scale):
            raise ValueError(f"Standardize: expected scale to be one of {', '.join(get_args(Scale))}, got {scale!r}")
        self.scale = scale
        super().__init__(device, dtype)

    def _learn(self, values: np.ndarray) -> None:
        to_numpy, mean, squares = self._backend.to_numpy, self._on_device(self.mean_), 0.0
        low, high = np.full_like(self.mean_, math.inf), np.full_like(self.mean_, -math.inf)
        for _, block in self._blocks(values):
            low, high = np.minimum(low, to_numpy(block.min(axis=0))), np.maximum(high, to_numpy(block.max(axis=0)))
            squares = squares + ((block - mean) ** 2).sum(axis=0)
        constant = low == high
        self.mean_ = np.where(constant, low, self.mean_)  # whose sum may have been rounded
        scales = {
            "deviation": np.sqrt(to_numpy(squares) / len(values)),
            "largest": np.maximum(high - self.mean_, self.mean_ - low),
            "none": np.ones_like(self.mean_),
        }
        self.scale_ = np.where(constant, 1.0, scales[self.scale])

    def _apply(self, rows: Any) -> Any:
        return (rows - self._on_device(self.mean_)) / self._on_device(self.scale_)

    def _undo(self, rows: Any) -> Any:
        return rows * self._on_device(self.scale_) + self._on_device(self.mean_)
