"""Batch normalization."""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor, apply


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """weight (x - mean) / sqrt(variance + eps) + bias for each channel (dimension 1). S. Ioffe and C. Szegedy, 2015.

    Args:
        input: (N, C) or (N, C, ...).
        running_mean, running_var: (C), or None in training. In training they are written to:
            running = (1 - momentum) running + momentum batch's, the variance divided by count - 1; else they are used.
        weight, bias: (C) or None. Like the running statistics they may be float32 where the input is of half precision; the
            result has the input's dtype.
        training: use the batch's own mean and variance (divided by the count).

    Raises:
        ValueError: wrong shapes, or training with one value a channel.
    """
    return _batch_norm("", input, running_mean, running_var, weight, bias, training, momentum, eps)


def batch_norm_relu(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """``relu(batch_norm(...))`` of the same arguments, with the same result, in one operation: fewer passes over memory."""
    return _batch_norm("_relu", input, running_mean, running_var, weight, bias, training, momentum, eps)


def _batch_norm(
    behind: str,
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
) -> Tensor:
    """``behind`` is what follows in the same primitive: "" or "_relu"."""
    name = f"batch_norm{behind}"
    if input.ndim < 2:
        raise ValueError(f"{name}: expected input of shape (N, C) or (N, C, ...), got {input.shape}")
    channels = input.shape[1]
    for operand, values in [
        ("running_mean", running_mean),
        ("running_var", running_var),
        ("weight", weight),
        ("bias", bias),
    ]:
        if values is not None and values.shape != (channels,):
            raise ValueError(
                f"{name}: expected {operand} of shape ({channels},) for input {input.shape}, got {values.shape}"
            )
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError(f"{name}: evaluation needs running_mean and running_var, got None; use training=True")
        operands = input, weight, bias, running_mean, running_var
        return apply(f"batch_norm_inference{behind}", *operands, eps=eps)
    count = input.numel() // max(channels, 1)
    if count == 1:
        raise ValueError(
            f"{name}: expected more than 1 value per channel when training, got input of shape {input.shape}"
        )
    out, mean, variance = apply(name, input, weight, bias, eps=eps)
    if count > 0:  # of an empty batch nothing is learned
        with input.backend.scope():
            if running_mean is not None:
                _move_towards(running_mean, mean.data, momentum)
            if running_var is not None:
                _move_towards(running_var, variance.data * (count / (count - 1)), momentum)
    return out


def _move_towards(running: Tensor, batch: Any, momentum: float) -> None:
    """running = (1 - momentum) running + momentum batch, in place; the batch's may be of a wider dtype."""
    running.data += (momentum * (batch - running.data)).astype(running.dtype, copy=False)
    running.version.count += 1
