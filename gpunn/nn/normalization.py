"""Batch normalization: BatchNorm1d and BatchNorm2d."""

from __future__ import annotations

from typing import Any

from gpunn import functional as F
from gpunn import init
from gpunn.device import resolve
from gpunn.tensor import Tensor

from .module import Module, ShapeError
from .parameter import Parameter, parameter


class _BatchNorm(Module):
    """y = (x - mean) / sqrt(variance + eps) * weight + bias, mean and variance per channel (axis 1).

    In training mode they are the batch's own (the variance divided by n), and the running statistics move towards
    them (the variance divided by n - 1): running = (1 - momentum) running + momentum batch, or with ``momentum=None``
    the plain average over all batches so far. In evaluation mode they are the running ones, or the batch's where
    ``track_running_stats=False``. S. Ioffe and C. Szegedy, 2015.
    """

    weight: Parameter | None
    bias: Parameter | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None
    shapes: tuple[str, ...]
    dimensions: tuple[int, ...]

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: str | None = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        for name, wanted in (("weight", affine), ("bias", affine and bias)):
            self.register_parameter(name, parameter((num_features,), device, dtype) if wanted else None)
        for name in ("running_mean", "running_var"):
            tracked = parameter((num_features,), device, dtype).detach() if track_running_stats else None
            self.register_buffer(name, tracked)
        backend = resolve(device)
        count = Tensor(backend.zeros((), dtype="int64"), backend) if track_running_stats else None
        self.register_buffer("num_batches_tracked", count)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Forget the running statistics: mean 0, variance 1, no batches."""
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            init.zeros_(self.running_mean)
            init.ones_(self.running_var)
            init.zeros_(self.num_batches_tracked)

    def reset_parameters(self) -> None:
        self.reset_running_stats()
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, x: Tensor, rectify: bool = False) -> Tensor:
        """``rectify`` applies ReLU to the result, in the same operation."""
        if x.ndim not in self.dimensions or x.shape[1] != self.num_features:
            shapes = " or ".join(shape.replace("C", str(self.num_features)) for shape in self.shapes)
            raise ShapeError(
                f"{type(self).__name__}({self.num_features}): expected input of shape {shapes}, got {x.shape}"
            )
        if (self.training or self.running_mean is None) and x.numel() == self.num_features:
            raise ShapeError(
                f"{type(self).__name__}({self.num_features}): expected more than 1 value per channel in training, got "
                f"input of shape {x.shape}; give batches of 2 or more"
            )
        momentum = self.momentum
        tracked = self.track_running_stats or not self.training
        if self.training and tracked and self.num_batches_tracked is not None:
            self.num_batches_tracked.copy_(self.num_batches_tracked + 1)
            if momentum is None:
                momentum = 1.0 / float(self.num_batches_tracked.item())
        normalize = F.batch_norm_relu if rectify else F.batch_norm
        return normalize(
            x,
            self.running_mean if tracked else None,
            self.running_var if tracked else None,
            self.weight,
            self.bias,
            training=self.training or self.running_mean is None,
            momentum=0.0 if momentum is None else momentum,
            eps=self.eps,
        )

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


class BatchNorm1d(_BatchNorm):
    __doc__ = f"Batch normalization of ``(N, C)`` or ``(N, C, L)``.\n\n    {_BatchNorm.__doc__}"
    shapes = ("(N, C)", "(N, C, L)")
    dimensions = (2, 3)


class BatchNorm2d(_BatchNorm):
    __doc__ = f"Batch normalization of ``(N, C, H, W)``.\n\n    {_BatchNorm.__doc__}"
    shapes = ("(N, C, H, W)",)
    dimensions = (4,)
