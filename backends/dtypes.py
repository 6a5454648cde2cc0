"""Questions about dtypes that NumPy's ``kind`` leaves open: bfloat16 is none of NumPy's own, and its kind is "V"."""

from __future__ import annotations

from typing import Any


def is_floating(dtype: Any) -> bool:
    """Whether ``dtype`` is one of floating-point numbers, bfloat16 included."""
    return dtype.kind == "f" or dtype.name == "bfloat16"


def is_real(dtype: Any) -> bool:
    """Whether ``dtype`` is one of truth values, integers or floating-point numbers."""
    return dtype.kind in "biu" or is_floating(dtype)
