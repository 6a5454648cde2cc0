"""Arguments of sliding windows: one number for both directions, or a pair (height, width)."""

from __future__ import annotations

from typing import Any

from backends.geometry import Pair


def pair(value: Any, name: str, least: int = 1) -> Pair:
    """(n, n) from n, (h, w) from a pair; ValueError that names the argument for anything else or below ``least``."""
    values = (value,) if hasattr(value, "__index__") else tuple(value)
    if len(values) in (1, 2):
        first, last = values[0], values[-1]
        if hasattr(first, "__index__") and hasattr(last, "__index__") and first >= least and last >= least:
            return int(first), int(last)
    raise ValueError(f"{name}: expected a number >= {least} or a pair (height, width) of them, got {value!r}")
