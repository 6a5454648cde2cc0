"""Conv2d: a two-dimensional convolution (cross-correlation, as everywhere in the field)."""

from __future__ import annotations

from typing import Any

from backends.geometry import effective_kernel
from gpunn import functional as F
from gpunn.functional import window
from gpunn.tensor import Tensor

from .linear import uniform_by_fan_in_
from .module import Module, ShapeError
from .parameter import Parameter, filters, parameter

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class Conv2d(Module):
    """Convolution of images. Input ``(N, in_channels, H, W)`` or one image, output ``(N, out_channels, H', W')``.

    H' = floor((H + 2 padding - dilation (kernel - 1) - 1) / stride) + 1: where the stride does not fit, pixels at the right
    and at the bottom are left over, which `gpunn.models.require_fit` reports. The weight's shape is
    ``(out_channels, in_channels / groups, kernel height, kernel width)``. ``padding`` is an int, a pair, "valid" (none) or
    "same" (H' = H; stride 1 only); ``padding_mode`` says what stands there: zeros, or the image reflected, replicated at
    its rim, or repeated (circular).
    """

    bias: Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] | str = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        title = self._title()
        self.kernel_size = window.pair(kernel_size, f"{title}: kernel_size")
        self.stride = window.pair(stride, f"{title}: stride")
        self.dilation = window.pair(dilation, f"{title}: dilation")
        self.padding: str | tuple[int, int] = (
            padding if isinstance(padding, str) else window.pair(padding, f"{title}: padding", least=0)
        )
        self.padding_mode = padding_mode
        self._check()
        shape = (out_channels, in_channels // groups, *self.kernel_size)
        self.weight = filters(shape, device, dtype)
        self.register_parameter("bias", parameter((out_channels,), device, dtype) if bias else None)
        self.reset_parameters()

    def _check(self) -> None:
        if min(self.in_channels, self.out_channels) < 1:
            raise ValueError(
                "Conv2d: expected in_channels and out_channels of at least 1, "
                f"got {self.in_channels} and {self.out_channels}"
            )
        if self.groups < 1 or self.in_channels % self.groups or self.out_channels % self.groups:
            raise ValueError(
                f"{self._title()}: expected groups to divide both numbers of channels, got groups={self.groups}"
            )
        if isinstance(self.padding, str) and self.padding not in ("same", "valid"):
            raise ValueError(f'{self._title()}: expected padding as numbers, "same" or "valid", got {self.padding!r}')
        if self.padding == "same" and self.stride != (1, 1):
            raise ValueError(f'{self._title()}: padding="same" needs stride 1, got stride={self.stride}')
        if self.padding_mode not in PADDING_MODES:
            raise ValueError(
                f"{self._title()}: expected padding_mode to be one of {', '.join(PADDING_MODES)}, "
                f"got {self.padding_mode!r}"
            )

    def _title(self) -> str:
        return f"Conv2d({self.in_channels}, {self.out_channels})"

    def reset_parameters(self) -> None:
        uniform_by_fan_in_(self.weight, self.bias)

    def _rims(self) -> tuple[int, int, int, int]:
        """The padding at the left, right, top and bottom."""
        if self.padding == "same":
            (top, bottom), (left, right) = (
                (total // 2, total - total // 2)
                for total in (d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True))
            )
            return left, right, top, bottom
        height, width = (0, 0) if isinstance(self.padding, str) else self.padding
        return width, width, height, height

    def forward(self, x: Tensor, rectify: bool = False) -> Tensor:
        """``rectify`` applies ReLU to the result, together with the bias."""
        if x.ndim not in (3, 4) or x.shape[-3] != self.in_channels:
            raise ShapeError(f"{self._title()}: expected input of shape (N, {self.in_channels}, H, W), got {x.shape}")
        left, right, top, bottom = rims = self._rims()
        height, width = x.shape[-2] + top + bottom, x.shape[-1] + left + right
        reach = effective_kernel(self.kernel_size, self.dilation)
        if height < reach[0] or width < reach[1]:
            raise ShapeError(
                f"{self._title()}: expected an image, padding included, of at least {reach[0]}x{reach[1]} pixels "
                f"(the kernel's reach), got {height}x{width} from input of shape {x.shape}"
            )
        padding: int | tuple[int, int] | str = self.padding
        if self.padding_mode != "zeros":
            x, padding = F.pad(x, rims, mode=self.padding_mode), 0
        options = self.stride, padding, self.dilation, self.groups
        if rectify and self.bias is not None and x.ndim == 4:
            return F.conv2d_relu(x, self.weight, self.bias, *options)
        out = F.conv2d(x, self.weight, self.bias, *options)
        return F.relu(out) if rectify else out

    def extra_repr(self) -> str:
        parts = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"]
        if self.padding != (0, 0):
            parts.append(f"padding={self.padding}")
        if self.dilation != (1, 1):
            parts.append(f"dilation={self.dilation}")
        if self.groups != 1:
            parts.append(f"groups={self.groups}")
        if self.bias is None:
            parts.append("bias=False")
        if self.padding_mode != "zeros":
            parts.append(f"padding_mode={self.padding_mode}")
        return ", ".join(parts)
