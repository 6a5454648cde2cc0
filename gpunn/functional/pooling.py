"""Pooling of (N, C, H, W) images, or of one image (C, H, W)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backends.geometry import Pair, output_size

from ..tensor import Tensor, apply
from .window import pair


def max_pool2d(
    input: Tensor,
    kernel_size: int | Pair,
    stride: int | Pair | None = None,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest element of each window; padding counts as -inf.

    Args:
        stride: None means ``kernel_size``.
        ceil_mode: let the last window overhang the end.
        return_indices: also return where each maximum stands in its plane, row * W + column (int64).

    Returns:
        (N, C, OH, OW), or a pair of them.
    """
    if input.ndim == 3:
        pooled = max_pool2d(input.unsqueeze(0), kernel_size, stride, padding, dilation, ceil_mode, return_indices)
        return tuple(t.squeeze(0) for t in pooled) if return_indices else pooled.squeeze(0)
    kernel, stride, padding = _window("max_pool2d", kernel_size, stride, padding)
    dilation = pair(dilation, "max_pool2d: dilation")
    _check_size("max_pool2d", input, kernel, stride, padding, dilation, ceil_mode)
    op = "max_pool2d_with_indices" if return_indices else "max_pool2d"
    return apply(op, input, kernel=kernel, stride=stride, padding=padding, dilation=dilation, ceil_mode=ceil_mode)


def avg_pool2d(
    input: Tensor,
    kernel_size: int | Pair,
    stride: int | Pair | None = None,
    padding: int | Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of each window; padding counts as zeros, or not at all without ``count_include_pad``.

    Args:
        stride: None means ``kernel_size``.
        divisor_override: divide every sum by this number.
    """
    if input.ndim == 3:
        options = (ceil_mode, count_include_pad, divisor_override)
        return avg_pool2d(input.unsqueeze(0), kernel_size, stride, padding, *options).squeeze(0)
    kernel, stride, padding = _window("avg_pool2d", kernel_size, stride, padding)
    _check_size("avg_pool2d", input, kernel, stride, padding, (1, 1), ceil_mode)
    if divisor_override == 0:
        raise ValueError("avg_pool2d: expected divisor_override to be a number other than 0, got 0")
    return apply(
        "avg_pool2d", input, kernel=kernel, stride=stride, padding=padding, ceil_mode=ceil_mode,
        count_include_pad=count_include_pad, divisor_override=divisor_override,
    )  # fmt: skip


def adaptive_avg_pool2d(input: Tensor, output_size: int | Sequence[int | None]) -> Tensor:
    """The means of OH x OW cells that cover the plane: cell i reaches from floor(i H / OH) to ceil((i + 1) H / OH).

    Args:
        output_size: a number or a pair (OH, OW); None keeps the input's.
    """
    if input.ndim == 3:
        return adaptive_avg_pool2d(input.unsqueeze(0), output_size).squeeze(0)
    if input.ndim != 4 or 0 in input.shape[1:]:
        raise ValueError(
            f"adaptive_avg_pool2d: expected input of shape (N, C, H, W), none empty but N, got {input.shape}"
        )
    wanted = (output_size, output_size) if isinstance(output_size, int) else tuple(output_size)
    if len(wanted) != 2:
        raise ValueError(f"adaptive_avg_pool2d: expected output_size to be a number or a pair, got {output_size}")
    kept = [given if want is None else want for want, given in zip(wanted, input.shape[2:], strict=True)]
    return apply("adaptive_avg_pool2d", input, out_size=pair(kept, "adaptive_avg_pool2d: output_size"))


def _window(name: str, kernel_size: Any, stride: Any, padding: Any) -> tuple[Pair, Pair, Pair]:
    kernel = pair(kernel_size, f"{name}: kernel_size")
    steps = kernel if stride is None or stride == [] else pair(stride, f"{name}: stride")
    around = pair(padding, f"{name}: padding", least=0)
    if 2 * around[0] > kernel[0] or 2 * around[1] > kernel[1]:
        raise ValueError(f"{name}: expected padding of at most half the kernel {kernel}, got {around}")
    return kernel, steps, around


def _check_size(
    name: str, input: Tensor, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool
) -> None:
    if input.ndim != 4 or input.shape[1] == 0:
        raise ValueError(f"{name}: expected input of shape (N, C, H, W), got {input.shape}")
    size = output_size((input.shape[2], input.shape[3]), kernel, stride, padding, dilation, ceil_mode)
    if min(size) < 1:
        raise ValueError(f"{name}: kernel {kernel} is larger than the image {input.shape[2:]} with padding {padding}")
