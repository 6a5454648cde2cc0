"""Arguments of sliding windows: one number for both directions, or a pair (height, width)."""

from __future__ import annotations

from operator import index
from typing import Any

from backends.geometry import Pair


def pair(value: Any, name: str, least: int = 1) -> Pair:
    """(n, n) from n, (h, w) from a pair; ValueError that names the argument for anything else or below ``least``."""
    try:
        numbers = [index(v) for v in ((value,) if hasattr(value, "__index__") else value)]
    except TypeError:
        numbers = []
    if len(numbers) in (1, 2) and min(numbers) >= least:
        return numbers[0], numbers[-1]
    raise ValueError(f"{name}: expected a number >= {least} or a pair (height, width) of them, got {value!r}")
