"""Pooling layers: MaxPool2d, AvgPool2d, AdaptiveAvgPool2d. Input ``(N, C, H, W)``, or one image ``(C, H, W)``."""

from __future__ import annotations

from typing import Any

from gpunn import functional as F
from gpunn.tensor import Tensor

from .module import Module, ShapeError


class _Pool(Module):
    def _check(self, x: Tensor) -> None:
        if x.ndim not in (3, 4):
            raise ShapeError(f"{self!r}: expected input of shape (N, C, H, W), got {x.shape}")


class MaxPool2d(_Pool):
    """The largest element of each window; of equal ones the first. NaN wins over every number.

    ``stride`` is ``kernel_size`` unless given. ``ceil_mode`` also keeps windows that start inside the image (padding
    included) but reach beyond it. With ``return_indices`` the result is a pair: values, and positions within a plane.
    """

    def __init__(
        self,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] | None = None,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.dilation = padding, dilation
        self.return_indices, self.ceil_mode = return_indices, ceil_mode

    def forward(self, x: Tensor) -> Any:
        self._check(x)
        return F.max_pool2d(
            x,
            self.kernel_size,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            ceil_mode=self.ceil_mode,
            return_indices=self.return_indices,
        )

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class AvgPool2d(_Pool):
    """The mean of each window; padding counts as zeros unless ``count_include_pad=False``.

    ``stride`` is ``kernel_size`` unless given; ``divisor_override`` replaces the number of elements to divide by.
    """

    def __init__(
        self,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] | None = None,
        padding: int | tuple[int, int] = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.ceil_mode = padding, ceil_mode
        self.count_include_pad, self.divisor_override = count_include_pad, divisor_override

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        return F.avg_pool2d(
            x,
            self.kernel_size,
            stride=self.stride,
            padding=self.padding,
            ceil_mode=self.ceil_mode,
            count_include_pad=self.count_include_pad,
            divisor_override=self.divisor_override,
        )

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AdaptiveAvgPool2d(_Pool):
    """The means of ``output_size`` windows that cover the image evenly; 1 is the mean of each channel's plane.

    ``output_size`` is an int or a pair, of which None keeps the input's size.
    """

    def __init__(self, output_size: int | tuple[int | None, int | None]) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        return F.adaptive_avg_pool2d(x, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"
