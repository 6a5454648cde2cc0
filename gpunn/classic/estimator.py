"""What all learners share: hyperparameters by name, checked inputs and a score.

The interface is scikit-learn's: the constructor takes hyperparameters and keeps them under their own names, `fit` learns
and returns the learner, what was learned has a name that ends in ``_``, `predict` and `score` use it.

Source: L. Buitinck et al., "API design for machine learning software: experiences from the scikit-learn project", 2013.
"""

from __future__ import annotations

import copy
import inspect
from typing import Any, Self

import numpy as np

import backends
from backends import Backend
from gpunn.device import resolve
from gpunn.dtypes import as_dtype
from gpunn.tensor import Tensor, tensor


class Estimator:
    """The base of all learners. A subclass's constructor only keeps its arguments, each under its own name.

    Attributes:
        device: where the learner computes: "cpu", "cuda", ... (see `gpunn.tensor`).
        dtype: in which numbers: "float32" or "float64".
        n_features_in_: the number of features d, known after `fit`.
    """

    device: str = "cpu"
    dtype: str = "float64"
    n_features_in_: int

    def get_params(self) -> dict[str, Any]:
        """The hyperparameters by name."""
        return {name: getattr(self, name) for name in _hyperparameters(type(self))}

    def set_params(self, **params: Any) -> Self:
        """Change hyperparameters; returns the learner. ValueError for a name that it does not have."""
        known = _hyperparameters(type(self))
        for name, value in params.items():
            if name not in known:
                raise ValueError(
                    f"{type(self).__name__} has no hyperparameter '{name}'; it has {', '.join(known) or 'none'}"
                )
            setattr(self, name, value)
        return self

    def clone(self) -> Self:
        """A learner with the same hyperparameters that has learned nothing yet."""
        return type(self)(**{name: copy.deepcopy(value) for name, value in self.get_params().items()})

    def __repr__(self) -> str:
        """As it would be written: the hyperparameters that are not the defaults."""
        defaults = _hyperparameters(type(self))
        given = {name: value for name, value in self.get_params().items() if repr(value) != repr(defaults[name])}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in given.items())})"

    # For subclasses

    @property
    def _backend(self) -> Backend:
        """That of the learner's device. Its arrays are computed on inside ``with self._backend.scope():``."""
        return resolve(self.device)

    def _learning_features(self, X: Any) -> Any:
        """``X`` (n, d) checked and moved to the device, for `fit`; d is kept."""
        values = self._matrix(X)
        self.n_features_in_ = values.shape[1]
        return values

    def _features(self, X: Any) -> Any:
        """``X`` (n, d) checked and moved to the device, for what comes after `fit`, with the d of `fit`."""
        self._check_is_fitted()
        values = self._matrix(X)
        if values.shape[1] != self.n_features_in_:
            raise ValueError(
                f"{type(self).__name__}: expected X of shape (n, {self.n_features_in_}) as in fit, got {values.shape}"
            )
        return values

    def _matrix(self, X: Any) -> Any:
        dtype = as_dtype(self.dtype)
        if dtype not in ("float32", "float64"):
            raise ValueError(f"{type(self).__name__}: expected dtype 'float32' or 'float64', got '{self.dtype}'")
        values = tensor(X, dtype=dtype, device=self.device).data
        if values.ndim != 2 or 0 in values.shape:
            raise ValueError(
                f"{type(self).__name__}: expected X of shape (n, d), n and d at least 1, got {values.shape}; "
                f"reshape it, a row an example"
            )
        with self._backend.scope():
            finite = bool(self._backend.xp.isfinite(values).all())
        if not finite:
            raise ValueError(f"{type(self).__name__}: X has NaN or infinite values; repair or remove those rows")
        return values

    def _check_length(self, X: Any, y: Any) -> None:
        if len(X) != len(y):
            raise ValueError(f"{type(self).__name__}: expected one y a row of X, got {len(X)} rows and {len(y)} of y")

    def _check_is_fitted(self) -> None:
        if not hasattr(self, "n_features_in_"):
            raise RuntimeError(f"{type(self).__name__} has learned nothing yet; call fit(X, y) first")


class Classifier(Estimator):
    """A learner whose answers are classes. Labels may be of any kind that can be sorted: numbers, text, truth values.

    Attributes:
        classes_: (K,), the different labels in order; inside, class k is the number k.
    """

    classes_: np.ndarray

    def predict(self, X: Any) -> np.ndarray:
        """The label (n,) of each row of ``X`` (n, d)."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it predicts")

    def score(self, X: Any, y: Any) -> float:
        """Accuracy: the share of rows whose predicted label is that of ``y`` (n,)."""
        predicted, labels = self.predict(X), self._labels(y)
        self._check_length(predicted, labels)
        return float(np.mean(predicted == labels))

    # For subclasses

    def _learning_labels(self, X: Any, y: Any) -> np.ndarray:
        """``y`` as numbers 0..K-1, int64 (n,), for `fit`; the labels that they stand for are kept in ``classes_``."""
        labels = self._labels(y)
        self._check_length(X, labels)
        try:
            self.classes_, numbers = np.unique(labels, return_inverse=True)
        except TypeError:
            raise ValueError(
                f"{type(self).__name__}: expected labels that can be sorted, got several kinds, or None"
            ) from None
        return numbers.astype(np.int64)

    def _labels(self, y: Any) -> np.ndarray:
        labels = on_host(y)
        if labels.ndim != 1:
            raise ValueError(f"{type(self).__name__}: expected y of shape (n,), got {labels.shape}")
        if labels.dtype.kind == "f" and not np.equal(np.mod(labels, 1), 0).all():
            raise ValueError(
                f"{type(self).__name__}: expected labels, got fractions or NaN; a regressor learns numbers"
            )
        return labels


class Regressor(Estimator):
    """A learner whose answers are numbers."""

    def predict(self, X: Any) -> np.ndarray:
        """The value of each row of ``X`` (n, d), in the shape of the ``y`` of `fit`: (n,) or (n, m)."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it predicts")

    def score(self, X: Any, y: Any) -> float:
        """The coefficient of determination; the mean over outputs where there are several.

        R^2 = 1 - sum_i (y_i - p_i)^2 / sum_i (y_i - mean(y))^2

        1 is perfect, 0 no better than always predicting the mean, below 0 worse than that. Where all ``y`` are equal the
        formula has no value; it is then 1 for a perfect prediction and 0 for another, as in scikit-learn.
        """
        predicted, values = self.predict(X), on_host(y).astype(np.float64)
        if values.shape != predicted.shape:
            raise ValueError(f"{type(self).__name__}: expected y of shape {predicted.shape}, got {values.shape}")
        if len(values) < 2:
            raise ValueError(f"{type(self).__name__}: R^2 needs at least two rows, got {len(values)}")
        residual = np.atleast_1d(((values - predicted) ** 2).sum(axis=0))
        total = np.atleast_1d(((values - values.mean(axis=0)) ** 2).sum(axis=0))
        constant = total == 0
        share = np.where(constant, residual > 0, residual / np.where(constant, 1.0, total))
        return float(np.mean(1.0 - share))

    # For subclasses

    def _learning_targets(self, X: Any, y: Any) -> Any:
        """``y`` checked and moved to the device, for `fit`: (n,) or (n, m), in the learner's dtype."""
        values = tensor(y, dtype=as_dtype(self.dtype), device=self.device).data
        if values.ndim not in (1, 2):
            raise ValueError(f"{type(self).__name__}: expected y of shape (n,) or (n, m), got {values.shape}")
        self._check_length(X, values)
        with self._backend.scope():
            finite = bool(self._backend.xp.isfinite(values).all())
        if not finite:
            raise ValueError(f"{type(self).__name__}: y has NaN or infinite values; repair or remove those rows")
        return values


def on_host(values: Any) -> np.ndarray:
    """A NumPy array of a tensor, an array of any device, or a list."""
    if hasattr(values, "__cuda_array_interface__"):
        return backends.of(values).to_numpy(values)
    try:
        return values.numpy() if isinstance(values, Tensor) else np.asarray(values)
    except ValueError:
        raise ValueError("expected an array, or lists of equal lengths, got lists of several lengths") from None


def _hyperparameters(cls: type) -> dict[str, Any]:
    """The names of the constructor's arguments, each with its default (inspect's ``empty`` where it has none)."""
    arguments = inspect.signature(cls).parameters.values()
    return {argument.name: argument.default for argument in arguments}
