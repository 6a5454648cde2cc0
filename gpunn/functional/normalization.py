"""Batch normalization."""

from __future__ import annotations

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
        weight, bias: (C) or None.
        training: use the batch's own mean and variance (divided by the count).

    Raises:
        ValueError: wrong shapes, or training with one value a channel.
    """
    if input.ndim < 2:
        raise ValueError(f"batch_norm: expected input of shape (N, C) or (N, C, ...), got {input.shape}")
    channels = input.shape[1]
    for name, values in [
        ("running_mean", running_mean),
        ("running_var", running_var),
        ("weight", weight),
        ("bias", bias),
    ]:
        if values is not None and values.shape != (channels,):
            raise ValueError(
                f"batch_norm: expected {name} of shape ({channels},) for input {input.shape}, got {values.shape}"
            )
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError("batch_norm: evaluation needs running_mean and running_var, got None; use training=True")
        return apply("batch_norm_inference", input, weight, bias, running_mean, running_var, eps=eps)
    count = input.numel() // max(channels, 1)
    if count == 1:
        raise ValueError(
            f"batch_norm: expected more than 1 value per channel when training, got input of shape {input.shape}"
        )
    out, mean, variance = apply("batch_norm", input, weight, bias, eps=eps)
    if count > 0:  # of an empty batch nothing is learned
        with input.backend.scope():
            if running_mean is not None:
                running_mean.data += momentum * (mean.data - running_mean.data)
                running_mean.version.count += 1
            if running_var is not None:
                running_var.data += momentum * (variance.data * (count / (count - 1)) - running_var.data)
                running_var.version.count += 1
    return out
