"""The fully connected layer."""

from __future__ import annotations

from ..mixed_precision import alike
from ..tensor import Tensor, apply


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W' + b: input (..., in), weight (out, in), bias (out), result (..., out)."""
    if input.ndim == 0 or input.shape[-1] != weight.shape[-1]:
        raise ValueError(f"linear: expected input of shape (..., {weight.shape[-1]}), got {input.shape}")
    _check(input, weight, bias)
    return apply("linear", input, weight, bias)


def linear_relu(input: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """max(0, x W' + b) in one operation: input (N, in), weight (out, in), bias (out), result (N, out)."""
    if input.ndim != 2 or input.shape[-1] != weight.shape[-1]:
        raise ValueError(f"linear_relu: expected input of shape (N, {weight.shape[-1]}), got {input.shape}")
    _check(input, weight, bias)
    return apply("linear_relu", input, weight, bias)


def _check(input: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    if not alike(input, weight):
        raise TypeError(
            f"linear: expected input and weight of one dtype, got {input.dtype.name} and {weight.dtype.name}; "
            f"use .to('{weight.dtype.name}')"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"linear: expected bias of shape {weight.shape[:1]}, got {bias.shape}")
