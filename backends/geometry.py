"""The arithmetic of sliding windows: how many fit, and which elements each of them sees."""

from __future__ import annotations

Pair = tuple[int, int]


def effective_kernel(kernel: Pair, dilation: Pair) -> Pair:
    """The extent of a kernel whose elements stand ``dilation`` apart: d * (k - 1) + 1."""
    return (dilation[0] * (kernel[0] - 1) + 1, dilation[1] * (kernel[1] - 1) + 1)


def output_length(size: int, kernel: int, stride: int, padding: int, dilation: int = 1, ceil_mode: bool = False) -> int:
    """How many windows fit into ``size + 2 * padding`` elements; 0 or less where not one does.

    floor((size + 2 padding - dilation (kernel - 1) - 1) / stride) + 1. With ``ceil_mode`` the last window may overhang the
    end, but it must begin within the input or the padding before it (PyTorch's rule).
    """
    room = size + 2 * padding - (dilation * (kernel - 1) + 1)
    if not ceil_mode:
        return room // stride + 1
    length = -(-room // stride) + 1
    if (length - 1) * stride >= size + padding:
        length -= 1
    return length


def output_size(
    size: Pair, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair = (1, 1), ceil_mode: bool = False
) -> Pair:
    """`output_length` for height and width."""
    return (
        output_length(size[0], kernel[0], stride[0], padding[0], dilation[0], ceil_mode),
        output_length(size[1], kernel[1], stride[1], padding[1], dilation[1], ceil_mode),
    )


def adaptive_bounds(size: int, parts: int) -> list[tuple[int, int]]:
    """The cells of adaptive pooling: part i of n reaches from floor(i size / n) to ceil((i + 1) size / n)."""
    return [(i * size // parts, -(-(i + 1) * size // parts)) for i in range(parts)]


def window_bounds(size: int, length: int, kernel: int, stride: int, padding: int) -> list[tuple[int, int]]:
    """For each of ``length`` windows the elements it sees, counted from the first one of the input; padding is cut off."""
    starts = (i * stride - padding for i in range(length))
    return [(max(start, 0), min(start + kernel, size)) for start in starts]
