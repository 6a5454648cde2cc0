"""Functions of several tensors, element by element, and of their shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..tensor import Tensor, apply

PAD_MODES = ("constant", "reflect", "replicate", "circular")


def maximum(a: Any, b: Any) -> Tensor:
    """The larger of two, element by element; at a tie each gets half of the gradient. NaN wins."""
    return apply("maximum", a, b)


def minimum(a: Any, b: Any) -> Tensor:
    """The smaller of two, element by element; at a tie each gets half of the gradient. NaN wins."""
    return apply("minimum", a, b)


def where(condition: Any, a: Any, b: Any) -> Tensor:
    """``a`` where the condition is true, else ``b``; two plain numbers give float32."""
    if type(a) in (int, float) and type(b) in (int, float) and isinstance(condition, Tensor):
        a = Tensor(condition.backend.asarray(a, dtype="float32"), condition.backend)
    return apply("where", condition, a, b)


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors of equal shape but for ``dim``, one behind the other."""
    if not tensors:
        raise ValueError("cat: expected at least one tensor, got none")
    return apply("cat", *tensors, axis=dim)


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors of equal shape along a new dimension."""
    if not tensors:
        raise ValueError("stack: expected at least one tensor, got none")
    return cat([t.unsqueeze(dim) for t in tensors], dim)


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float = 0.0) -> Tensor:
    """Widen the last dimensions.

    Args:
        pad: (before, after) of the last dimension, then of the one before it, and so on.
        mode: "constant" (of ``value``), "reflect" (without the edge), "replicate" (the edge) or "circular".
    """
    if mode not in PAD_MODES:
        raise ValueError(f"pad: expected mode to be one of {', '.join(PAD_MODES)}, got '{mode}'")
    if len(pad) % 2 or len(pad) > 2 * input.ndim:
        raise ValueError(f"pad: expected up to {input.ndim} pairs (before, after), got {tuple(pad)}")
    pairs = [(0, 0)] * (input.ndim - len(pad) // 2) + list(zip(pad[::2], pad[1::2], strict=True))[::-1]
    if mode == "constant":
        return apply("pad", input, widths=pairs, value=value)
    for dim, (before, after) in enumerate(pairs):
        if before or after:
            input = input[(slice(None),) * dim + (_places(input, dim, before, after, mode),)]
    return input


def _places(input: Tensor, dim: int, before: int, after: int, mode: str) -> Any:
    """Which elements of ``dim`` a widened one shows, by index."""
    length = input.shape[dim]
    most = {"reflect": length - 1, "circular": length}.get(mode, max(before, after))
    if max(before, after) > most or length == 0:
        raise ValueError(
            f"pad: mode '{mode}' widens dimension {dim} of length {length} by at most {most}, got {(before, after)}"
        )
    xp = input.backend.xp
    with input.backend.scope():
        places = xp.arange(-before, length + after)
        if mode == "replicate":
            return xp.clip(places, 0, length - 1)
        if mode == "circular":
            return places % length
        return (length - 1) - xp.abs((length - 1) - xp.abs(places))
