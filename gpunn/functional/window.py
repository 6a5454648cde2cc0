"""Arguments of sliding windows: one number for both directions, or a pair (height, width)."""

from __future__ import annotations

from typing import Any

from backends.geometry import Pair


def pair(value: Any, name: str, least: int = 1) -> Pair:
    """(n, n) from n, (h, w) from a pair; ValueError that names the argument for anything else or below ``least``."""
    values = (value, value) if hasattr(value, "__index__") else tuple(value)
    if len(values) == 1:
        values = (*values, *values)
    if len(values) != 2 or any(not hasattr(v, "__index__") or int(v) < least for v in values):
        raise ValueError(f"{name}: expected a number >= {least} or a pair (height, width) of them, got {value!r}")
    return (int(values[0]), int(values[1]))
