"""New tensors from a shape: constants, ranges and random numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backends import philox

from .device import resolve
from .dtypes import as_dtype
from .random import Generator, default_generator
from .tensor import Tensor


def zeros(*shape: Any, dtype: Any = "float32", device: str | None = None, requires_grad: bool = False) -> Tensor:
    return full(_shape(shape), 0, dtype, device, requires_grad)


def ones(*shape: Any, dtype: Any = "float32", device: str | None = None, requires_grad: bool = False) -> Tensor:
    return full(_shape(shape), 1, dtype, device, requires_grad)


def full(
    shape: Sequence[int], value: float, dtype: Any = "float32", device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """Every element is ``value``."""
    backend = resolve(device)
    with backend.scope():
        return Tensor(backend.xp.full(tuple(shape), value, dtype=as_dtype(dtype)), backend, requires_grad)


def zeros_like(tensor: Tensor) -> Tensor:
    with tensor.backend.scope():
        return Tensor(tensor.backend.xp.zeros_like(tensor.data), tensor.backend)


def ones_like(tensor: Tensor) -> Tensor:
    with tensor.backend.scope():
        return Tensor(tensor.backend.xp.ones_like(tensor.data), tensor.backend)


def arange(
    start: float, end: float | None = None, step: float = 1, dtype: Any = None, device: str | None = None
) -> Tensor:
    """start, start + step, ... below ``end``; int64 for integers, else float32."""
    backend = resolve(device)
    first, last = (0, start) if end is None else (start, end)
    if dtype is None:
        dtype = "int64" if all(isinstance(v, int) for v in (first, last, step)) else "float32"
    with backend.scope():
        return Tensor(backend.xp.arange(first, last, step, dtype=as_dtype(dtype)), backend)


def eye(n: int, dtype: Any = "float32", device: str | None = None) -> Tensor:
    """The identity matrix (n, n)."""
    backend = resolve(device)
    with backend.scope():
        return Tensor(backend.xp.eye(n, dtype=as_dtype(dtype)), backend)


def rand(
    *shape: Any,
    dtype: Any = "float32",
    device: str | None = None,
    requires_grad: bool = False,
    generator: Generator | None = None,
) -> Tensor:
    """Uniform numbers in [0, 1): the same on every device, for a seed and a count of earlier draws."""
    backend = resolve(device)
    generator = generator or default_generator
    with backend.scope():
        values = philox.uniform(generator.seed, generator.next_stream(), _shape(shape), xp=backend.xp)
        return Tensor(values.astype(as_dtype(dtype), copy=False), backend, requires_grad)


def randn(
    *shape: Any,
    dtype: Any = "float32",
    device: str | None = None,
    requires_grad: bool = False,
    generator: Generator | None = None,
) -> Tensor:
    """Numbers of the standard normal distribution: the same on every device, since they are made on the host."""
    backend = resolve(device)
    generator = generator or default_generator
    values = philox.normal(generator.seed, generator.next_stream(), _shape(shape))
    return Tensor(backend.asarray(values.astype(as_dtype(dtype))), backend, requires_grad)


def _shape(given: tuple[Any, ...]) -> tuple[int, ...]:
    return tuple(given[0]) if len(given) == 1 and not isinstance(given[0], int) else tuple(given)
