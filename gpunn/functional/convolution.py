"""Two-dimensional convolution."""

from __future__ import annotations

from backends.geometry import Pair, output_size

from ..mixed_precision import alike
from ..tensor import Tensor, apply
from .elementwise import pad
from .window import pair


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Pair = 1,
    padding: int | Pair | str = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
) -> Tensor:
    """Slide each filter over the input (cross-correlation).

    y[n, o, i, j] = b[o] + sum over c, u, v of w[o, c, u, v] x[n, c, i stride + u dilation - padding, j ...]

    Args:
        input: (N, C, H, W), or one image (C, H, W).
        weight: (O, C / groups, KH, KW).
        bias: (O) or None.
        padding: zeros around the image; "valid" is none, "same" keeps the size (for stride 1).
        groups: C and O fall into this many parts that do not see each other.

    Returns:
        (N, O, OH, OW) with OH = floor((H + 2 padding - dilation (KH - 1) - 1) / stride) + 1, OW alike.

    Raises:
        ValueError: shapes that do not fit, or a kernel larger than the padded image.
    """
    if input.ndim == 3:
        return conv2d(input.unsqueeze(0), weight, bias, stride, padding, dilation, groups).squeeze(0)
    return _convolve("conv2d", input, weight, bias, stride, padding, dilation, groups)


def conv2d_relu(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    stride: int | Pair = 1,
    padding: int | Pair | str = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
) -> Tensor:
    """max(0, conv2d(...)) in one operation, which goes through memory less often; input (N, C, H, W), the rest as in `conv2d`."""
    return _convolve("conv2d_relu", input, weight, bias, stride, padding, dilation, groups)


def _convolve(
    op: str,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: int | Pair,
    padding: int | Pair | str,
    dilation: int | Pair,
    groups: int,
) -> Tensor:
    stride, dilation = pair(stride, "conv2d: stride"), pair(dilation, "conv2d: dilation")
    _check(input, weight, bias, groups)
    kernel = (weight.shape[2], weight.shape[3])
    if isinstance(padding, str):
        input, padding = _resolve_padding(input, padding, kernel, stride, dilation)
    padding = pair(padding, "conv2d: padding", least=0)
    size = output_size((input.shape[2], input.shape[3]), kernel, stride, padding, dilation)
    if min(size) < 1:
        raise ValueError(
            f"conv2d: kernel {kernel} with dilation {dilation} is larger than the image {input.shape[2:]} with padding {padding}"
        )
    return apply(op, input, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=groups)


def _check(input: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> None:
    if weight.ndim != 4:
        raise ValueError(f"conv2d: expected weight of shape (O, C / groups, KH, KW), got {weight.shape}")
    if groups < 1 or weight.shape[0] % groups:
        raise ValueError(f"conv2d: expected groups to divide the {weight.shape[0]} output channels, got {groups}")
    channels = weight.shape[1] * groups
    if input.ndim != 4 or input.shape[1] != channels:
        raise ValueError(f"conv2d: expected input of shape (N, {channels}, H, W), got {input.shape}")
    if bias is not None and bias.shape != (weight.shape[0],):
        raise ValueError(f"conv2d: expected bias of shape ({weight.shape[0]},), got {bias.shape}")
    for name, other in [("input", input), ("bias", bias)]:
        if other is not None and not alike(other, weight):
            raise TypeError(
                f"conv2d: expected {name} and weight of one dtype, got {other.dtype.name} and {weight.dtype.name}; "
                f"use .to('{weight.dtype.name}')"
            )


def _resolve_padding(input: Tensor, padding: str, kernel: Pair, stride: Pair, dilation: Pair) -> tuple[Tensor, Pair]:
    if padding == "valid":
        return input, (0, 0)
    if padding != "same":
        raise ValueError(f"conv2d: expected padding to be numbers, 'valid' or 'same', got '{padding}'")
    if stride != (1, 1):
        raise ValueError(f"conv2d: padding 'same' is for stride 1, got stride {stride}; give the padding in numbers")
    total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    # Where an even kernel leaves an odd total, the extra zero stands at the end, as in PyTorch.
    extra = [t % 2 for t in total]
    if any(extra):
        input = pad(input, (0, extra[1], 0, extra[0]))
    return input, (total[0] // 2, total[1] // 2)
