"""Questions about dtypes that NumPy's ``kind`` leaves open: bfloat16 is none of NumPy's own, and its kind is "V".

And about single values, which Python's annotations do not hold a caller to.
"""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any


def is_floating(dtype: Any) -> bool:
    """Whether ``dtype`` is one of floating-point numbers, bfloat16 included."""
    return dtype.kind == "f" or (dtype.kind == "V" and dtype.name == "bfloat16")  # a name takes long


def is_real(dtype: Any) -> bool:
    """Whether ``dtype`` is one of truth values, integers or floating-point numbers."""
    return dtype.kind in "biu" or is_floating(dtype)


def is_number(value: Any) -> bool:
    """Is this one real number, of Python or NumPy, rather than text or an array?"""
    return isinstance(value, Real)


def is_whole(value: Any) -> bool:
    """Is this an integer, of Python or NumPy?"""
    return isinstance(value, Integral)
