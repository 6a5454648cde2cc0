"""Parameter: a tensor that a module trains."""

from __future__ import annotations

from typing import Any

from gpunn.device import resolve
from gpunn.dtypes import as_dtype
from gpunn.tensor import Tensor, tensor


class Parameter(Tensor):
    """A tensor that a module trains: assigning one to a module's attribute registers it under that name.

    ``data`` is a Tensor, whose array is shared, or anything that ``gpunn.tensor`` takes.
    """

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        source = data if isinstance(data, Tensor) else tensor(data)
        super().__init__(source.data, source.backend)
        self.requires_grad = requires_grad

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"


def filters(shape: tuple[int, ...], device: str | None = None, dtype: Any = None) -> Parameter:
    """`parameter` for the filters (O, C, KH, KW) of a convolution, in the memory order that the device reads best."""
    backend = resolve(device)
    return Parameter(Tensor(backend.zero_filters(shape, as_dtype(dtype or "float32")), backend))


def parameter(shape: tuple[int, ...], device: str | None = None, dtype: Any = None) -> Parameter:
    """A parameter of zeros (float32 unless ``dtype``) that waits for an initializer."""
    backend = resolve(device)
    return Parameter(Tensor(backend.zeros(shape, as_dtype(dtype or "float32")), backend))
