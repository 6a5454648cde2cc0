"""Fully connected layers: Linear, Maxout, and Identity."""

from __future__ import annotations

from typing import Any

from gpunn import functional as F
from gpunn import init
from gpunn.tensor import Tensor

from .module import Module, ShapeError
from .parameter import Parameter, parameter


def uniform_by_fan_in_(weight: Tensor, bias: Tensor | None) -> None:
    """PyTorch's default for Linear and Conv2d: weight and bias uniform over +-1/sqrt(fan-in)."""
    init.inverse_sqrt_uniform_(weight)
    if bias is not None:
        init.inverse_sqrt_uniform_(bias, n=init.fans(weight)[0])


def _check_features(layer: str, in_features: int, out_features: int) -> None:
    if min(in_features, out_features) < 1:
        raise ValueError(
            f"{layer}: expected in_features and out_features of at least 1, got {in_features} and {out_features}"
        )


class Identity(Module):
    """Returns its input; any arguments are accepted and ignored."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x


class Linear(Module):
    """y = x W' + b. Input ``(..., in_features)``, output ``(..., out_features)``, weight ``(out, in)``."""

    bias: Parameter | None

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, device: str | None = None, dtype: Any = None
    ) -> None:
        super().__init__()
        _check_features("Linear", in_features, out_features)
        self.in_features, self.out_features = in_features, out_features
        self.weight = parameter((out_features, in_features), device, dtype)
        self.register_parameter("bias", parameter((out_features,), device, dtype) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        uniform_by_fan_in_(self.weight, self.bias)

    def forward(self, x: Tensor, rectify: bool = False) -> Tensor:
        """``rectify`` applies ReLU to the result, together with the bias."""
        if x.ndim < 1 or x.shape[-1] != self.in_features:
            raise ShapeError(
                f"Linear({self.in_features}, {self.out_features}): expected input of shape "
                f"(..., {self.in_features}), got {x.shape}"
            )
        if rectify and self.bias is not None and x.ndim == 2:
            return F.linear_relu(x, self.weight, self.bias)
        out = F.linear(x, self.weight, self.bias)
        return F.relu(out) if rectify else out

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Maxout(Module):
    """The largest of ``pieces`` linear functions for each output: a convex activation that is learned.

    Input ``(..., in_features)``, output ``(..., out_features)``; rows ``pieces * i`` to ``pieces * (i + 1) - 1`` of the
    weight ``(out_features * pieces, in_features)`` belong to output i. I. Goodfellow et al., "Maxout networks", 2013.
    """

    bias: Parameter | None

    def __init__(self, in_features: int, out_features: int, pieces: int = 2, bias: bool = True,
                 device: str | None = None, dtype: Any = None) -> None:  # fmt: skip
        super().__init__()
        _check_features("Maxout", in_features, out_features)
        if pieces < 1:
            raise ValueError(f"Maxout: expected pieces >= 1, got {pieces}")
        self.in_features, self.out_features, self.pieces = in_features, out_features, pieces
        self.weight = parameter((out_features * pieces, in_features), device, dtype)
        self.register_parameter("bias", parameter((out_features * pieces,), device, dtype) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        uniform_by_fan_in_(self.weight, self.bias)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim < 1 or x.shape[-1] != self.in_features:
            raise ShapeError(
                f"Maxout({self.in_features}, {self.out_features}): expected input of shape "
                f"(..., {self.in_features}), got {x.shape}"
            )
        return F.maxout(F.linear(x, self.weight, self.bias), self.pieces, dim=-1)

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, pieces={self.pieces}, "
            f"bias={self.bias is not None}"
        )
