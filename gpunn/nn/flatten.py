"""Layers that change the shape alone: Flatten and Unflatten."""

from __future__ import annotations

import math

from gpunn.tensor import Tensor

from .module import Module, ShapeError


class Flatten(Module):
    """Join the axes ``start_dim`` to ``end_dim`` into one: ``(N, C, H, W)`` becomes ``(N, C * H * W)``."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: Tensor) -> Tensor:
        start, end = (d + x.ndim if d < 0 else d for d in (self.start_dim, self.end_dim))
        if not 0 <= start <= end < x.ndim:
            raise ShapeError(f"{self!r}: expected input that has these axes, got shape {x.shape}")
        return x.reshape((*x.shape[:start], math.prod(x.shape[start : end + 1]), *x.shape[end + 1 :]))

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """Split axis ``dim`` into axes of sizes ``unflattened_size``, of which one may be -1: the reverse of Flatten."""

    def __init__(self, dim: int, unflattened_size: tuple[int, ...]) -> None:
        super().__init__()
        self.dim, self.unflattened_size = dim, tuple(unflattened_size)

    def forward(self, x: Tensor) -> Tensor:
        dim = self.dim + x.ndim if self.dim < 0 else self.dim
        known = math.prod(size for size in self.unflattened_size if size != -1)
        fits = 0 <= dim < x.ndim and (
            x.shape[dim] % max(known, 1) == 0 if -1 in self.unflattened_size else x.shape[dim] == known
        )
        if not fits:
            raise ShapeError(f"{self!r}: expected axis {self.dim} to split into these sizes, got shape {x.shape}")
        sizes = tuple(x.shape[dim] // known if size == -1 else size for size in self.unflattened_size)
        return x.reshape((*x.shape[:dim], *sizes, *x.shape[dim + 1 :]))

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
