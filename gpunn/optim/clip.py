"""Gradient clipping, in place, between ``backward`` and ``step``."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import backends
from gpunn.errors import NonFiniteError
from gpunn.tensor import Tensor


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """Scale all gradients by ``min(max_norm / (norm + 1e-6), 1)``; ``norm`` is that of all as one vector.

    Source: R. Pascanu, T. Mikolov, Y. Bengio, "On the difficulty of training recurrent neural networks",
    ICML 2013.

    parameters: those without a gradient count for nothing.  max_norm: a number >= 0.
    norm_type: the order of the norm, > 0; ``math.inf`` for the largest magnitude.
    error_if_nonfinite: raise NonFiniteError, and leave the gradients alone, where the norm is not finite.
    Only this makes the host wait for the device.
    Returns the norm before clipping: shape (), float32, or float64 where a gradient is float64.
    Raises ValueError for a max_norm or a norm_type that is not allowed.
    """
    if not max_norm >= 0:
        raise ValueError(f"clip_grad_norm_: expected max_norm >= 0, got {max_norm}")
    if not norm_type > 0:
        raise ValueError(f"clip_grad_norm_: expected norm_type > 0 (or math.inf), got {norm_type}")
    norm_type = float(norm_type)
    parameters = _as_list(parameters)
    home = parameters[0].backend if parameters else backends.get("cpu")
    gradients = _by_backend(parameters)
    norms = []
    for backend, arrays in gradients:
        with backend.scope():
            norms.append(_moved(backend.total_norm(arrays, norm_type), backend, home))
    with home.scope():
        norm = norms[0] if len(norms) == 1 else home.total_norm(norms, norm_type)
        factor = home.xp.minimum(float(max_norm) / (norm + 1e-6), 1.0)
    if error_if_nonfinite and not math.isfinite(float(home.to_numpy(norm))):
        raise NonFiniteError(
            f"clip_grad_norm_: the norm of the gradients is {float(home.to_numpy(norm))}; look for the first "
            "operation that gives NaN or infinity, or lower the learning rate"
        )
    for backend, arrays in gradients:
        with backend.scope():
            backend.scale_(arrays, _moved(factor, home, backend))
    double = any(array.dtype == "float64" for _, arrays in gradients for array in arrays)
    return Tensor(home.asarray(norm, dtype="float64" if double else "float32"), home)


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Limit every element of every gradient to [-clip_value, clip_value]; NaN stays NaN.

    parameters: those without a gradient count for nothing.  clip_value: a number >= 0, else ValueError.
    """
    if not clip_value >= 0:
        raise ValueError(f"clip_grad_value_: expected clip_value >= 0, got {clip_value}")
    for backend, arrays in _by_backend(_as_list(parameters)):
        with backend.scope():
            backend.clamp_(arrays, -float(clip_value), float(clip_value))


def _as_list(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    return [parameters] if isinstance(parameters, Tensor) else list(parameters)


def _by_backend(parameters: list[Tensor]) -> list[tuple[Any, list[Any]]]:
    """Each backend with the gradients that lie on it, in the order of the parameters."""
    found: dict[int, tuple[Any, list[Any]]] = {}
    for param in parameters:
        if param.grad is not None:
            found.setdefault(id(param.backend), (param.backend, []))[1].append(param.grad.data)
    return list(found.values())


def _moved(scalar: Any, source: Any, target: Any) -> Any:
    """A scalar array of backend ``source`` on backend ``target``, by way of the host where they differ."""
    return scalar if source is target else target.asarray(source.to_numpy(scalar))
