"""Arguments of sliding windows: one number for both directions, or a pair (height, width)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import SupportsIndex

from backends.geometry import Pair


def pair(value: int | Sequence[int], name: str, least: int = 1) -> Pair:
    """(n, n) from n, (h, w) from a pair; ValueError that names the argument for anything else or below ``least``."""
    values = (value, value) if isinstance(value, SupportsIndex) else tuple(value)
    if len(values) == 1:
        values = (*values, *values)
    if len(values) != 2 or any(not isinstance(v, SupportsIndex) or int(v) < least for v in values):
        raise ValueError(f"{name}: expected a number >= {least} or a pair (height, width) of them, got {value!r}")
    return (int(values[0]), int(values[1]))
