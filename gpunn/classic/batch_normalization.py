"""Batch normalization as a computation graph of small steps: forward and backward, each intermediate with its name.

`gpunn.functional.batch_norm` does the same in one operation; this is for reading, and an oracle for that. A channel is an
entry of axis 1 of x, shape (N, C) or (N, C, ...), and m is how many values it has. The sums go over these m values; dv is
the gradient of the loss with respect to v, and is named ``d_v`` below::

    forward                                    backward, from the last line to the first
    mean       = sum x / m                     d_x          = d_centered + d_mean / m
    centered   = x - mean                      d_mean       = -sum d_centered
    squared    = centered^2                    d_centered   = d_normalized inverse + d_squared 2 centered
    variance   = sum squared / m               d_squared    = d_variance / m
    deviation  = sqrt(variance + epsilon)      d_variance   = d_deviation / (2 deviation)
    inverse    = 1 / deviation                 d_deviation  = -d_inverse / deviation^2
    normalized = centered inverse              d_inverse    = sum d_normalized centered
    scaled     = weight normalized             d_normalized = d_scaled weight,  d_weight = sum d_scaled normalized
    out        = scaled + bias                 d_scaled     = d_out,            d_bias   = sum d_out

x goes two ways, to the mean and to the difference from it, and so does centered: there the gradients of both ways are added.

Source: S. Ioffe and C. Szegedy, "Batch normalization: accelerating deep network training by reducing internal covariate
shift", 2015, algorithms 1 and 2 and section 3.
"""

from __future__ import annotations

from dataclasses import dataclass

from gpunn.tape import no_grad
from gpunn.tensor import Tensor


@dataclass(frozen=True)
class Steps:
    """All intermediates of the forward pass. Statistics, weight and bias have shape (1, C) or (1, C, 1, ...)."""

    x: Tensor
    weight: Tensor
    bias: Tensor
    mean: Tensor
    centered: Tensor
    squared: Tensor
    variance: Tensor
    deviation: Tensor
    inverse: Tensor
    normalized: Tensor
    scaled: Tensor
    out: Tensor

    @property
    def axes(self) -> tuple[int, ...]:
        """The axes that are summed over: all but that of the channels."""
        return tuple(axis for axis in range(self.x.ndim) if axis != 1)

    @property
    def count(self) -> int:
        """m, the number of values of a channel."""
        return self.x.numel() // self.x.shape[1]


@dataclass(frozen=True)
class Gradients:
    """The gradient of the loss with respect to each intermediate, in the order in which backward finds them."""

    d_bias: Tensor
    d_scaled: Tensor
    d_weight: Tensor
    d_normalized: Tensor
    d_inverse: Tensor
    d_deviation: Tensor
    d_variance: Tensor
    d_squared: Tensor
    d_centered: Tensor
    d_mean: Tensor
    d_x: Tensor


def forward(x: Tensor, weight: Tensor, bias: Tensor, epsilon: float = 1e-5) -> Steps:
    """Normalize each channel of a training batch, step by step; the result is ``.out``.

    The steps are operations of the tape: where x, weight or bias require gradients, ``.out`` can be differentiated by
    `Tensor.backward` too, which must find what `backward` finds.

    Args:
        x: (N, C) or (N, C, ...).
        weight, bias: (C).

    Raises:
        ValueError: another shape, or fewer than 2 values a channel.
    """
    _check(x, weight=weight, bias=bias)
    if x.numel() < 2 * x.shape[1] or x.shape[1] == 0:
        raise ValueError(f"batch normalization: expected at least 2 values a channel in training, got shape {x.shape}")
    axes = tuple(axis for axis in range(x.ndim) if axis != 1)
    weight, bias = _by_channel(weight, x), _by_channel(bias, x)
    mean = x.mean(axes, keepdim=True)
    centered = x - mean
    squared = centered**2
    variance = squared.mean(axes, keepdim=True)
    deviation = (variance + epsilon).sqrt()
    inverse = 1 / deviation
    normalized = centered * inverse
    scaled = weight * normalized
    out = scaled + bias
    return Steps(
        x, weight, bias, mean, centered, squared, variance, deviation, inverse, normalized, scaled, out
    )  # fmt: skip


def backward(steps: Steps, d_out: Tensor) -> Gradients:
    """The gradients of all intermediates, from that of the result, ``d_out`` of its shape, step by step."""
    s, m, axes = steps, steps.count, steps.axes
    with no_grad():
        # out = scaled + bias
        d_scaled = d_out
        d_bias = d_out.sum(axes, keepdim=True)
        # scaled = weight normalized
        d_normalized = d_scaled * s.weight
        d_weight = (d_scaled * s.normalized).sum(axes, keepdim=True)
        # normalized = centered inverse; the other way into centered comes below
        d_centered_by_normalized = d_normalized * s.inverse
        d_inverse = (d_normalized * s.centered).sum(axes, keepdim=True)
        # inverse = 1 / deviation
        d_deviation = -d_inverse / s.deviation**2
        # deviation = sqrt(variance + epsilon)
        d_variance = d_deviation / (2 * s.deviation)
        # variance = sum squared / m: every element gets the same
        d_squared = (d_variance / m).expand(s.x.shape)
        # squared = centered^2
        d_centered = d_centered_by_normalized + d_squared * 2 * s.centered
        # centered = x - mean
        d_mean = -d_centered.sum(axes, keepdim=True)
        # mean = sum x / m, and x itself in centered
        d_x = d_centered + d_mean / m
    return Gradients(
        d_bias, d_scaled, d_weight, d_normalized, d_inverse, d_deviation, d_variance, d_squared, d_centered, d_mean, d_x
    )  # fmt: skip


def backward_at_once(steps: Steps, d_out: Tensor) -> Tensor:
    """d_x in one formula, which is what is left when the steps are put into one another.

    d_x = weight inverse / m (m d_out - sum d_out - normalized sum(d_out normalized))
    """
    s, m, axes = steps, steps.count, steps.axes
    with no_grad():
        along = (d_out * s.normalized).sum(axes, keepdim=True)
        return s.weight * s.inverse / m * (m * d_out - d_out.sum(axes, keepdim=True) - s.normalized * along)


def follow(
    running_mean: Tensor, running_variance: Tensor, steps: Steps, momentum: float = 0.1
) -> tuple[Tensor, Tensor]:
    """The running statistics (C) after a training batch, for use in test mode.

    running = (1 - momentum) running + momentum batch's; the batch's variance is divided by m - 1 here, which makes it an
    unbiased estimate of that of the population.
    """
    unbiased = steps.variance.detach() * (steps.count / (steps.count - 1))
    return (
        (1 - momentum) * running_mean + momentum * steps.mean.detach().reshape(-1),
        (1 - momentum) * running_variance + momentum * unbiased.reshape(-1),
    )


def evaluate(
    x: Tensor, weight: Tensor, bias: Tensor, running_mean: Tensor, running_variance: Tensor, epsilon: float = 1e-5
) -> Tensor:
    """Test mode: the running statistics take the place of the batch's.

    What becomes of one example no longer depends on the others, and the whole is one affine map a channel,
    out = factor x + shift with factor = weight / sqrt(running_variance + epsilon), shift = bias - factor running_mean,
    which can be put into the weights of the layer before.
    """
    _check(x, weight=weight, bias=bias, running_mean=running_mean, running_variance=running_variance)
    factor = weight / (running_variance + epsilon).sqrt()
    shift = bias - factor * running_mean
    return x * _by_channel(factor, x) + _by_channel(shift, x)


def _check(x: Tensor, **of_channels: Tensor) -> None:
    if x.ndim < 2:
        raise ValueError(f"batch normalization: expected x of shape (N, C) or (N, C, ...), got {x.shape}")
    for name, values in of_channels.items():
        if values.shape != (x.shape[1],):
            raise ValueError(
                f"batch normalization: expected {name} of shape ({x.shape[1]},) for x {x.shape}, got {values.shape}"
            )


def _by_channel(values: Tensor, x: Tensor) -> Tensor:
    """(C) as (1, C, 1, ...), which broadcasts against x."""
    return values.reshape((1, -1) + (1,) * (x.ndim - 2))
