"""Which dtype an operation on tensors of several dtypes computes in: PyTorch's rule, which keeps float32 networks float32.

The kinds are ordered bool < integer < float. The highest kind wins, and only operands of that kind have a say in the
width: float32 with int64 is float32. Among them tensors with dimensions go before those without, and plain numbers come
last: they never widen a tensor, and a float beside integers makes the default, float32.
"""

from __future__ import annotations

from typing import Any

from .dtypes import float32, is_floating, promote

RANK = {"b": 0, "i": 1, "u": 1}
# These mean something only for real numbers: integers become float32 first.
REAL_VALUED = frozenset(
    {"div", "exp", "log", "sqrt", "reciprocal", "sigmoid", "tanh", "softplus", "elu", "softmax", "log_softmax"}
    | {"logsumexp", "norm", "inverse", "logdet", "mean"}
)
# Operands of these meet element by element.
MIXING = frozenset({"add", "sub", "mul", "div", "pow", "maximum", "minimum", "cat"})


def common_dtype(op: str, arrays: list[Any], numbers: list[Any]) -> Any:
    """The dtype to which all of ``arrays`` are cast for ``op``; None where they stay as they are.

    Args:
        arrays: with ``dtype`` and ``ndim``.
        numbers: the plain Python numbers beside them.
    """
    rank = max([_rank(a.dtype) for a in arrays] + [_rank_of_number(n) for n in numbers])
    rank = 2 if op in REAL_VALUED else rank
    speakers = [a for a in arrays if _rank(a.dtype) == rank]
    if not speakers:
        return float32 if rank == 2 else None
    with_dimensions = [a for a in speakers if a.ndim] or speakers
    return promote(*(a.dtype for a in with_dimensions))


def narrowed(out: Any, operands: tuple[Any, ...]) -> Any:
    """An operation's result in bfloat16 where all its operands are: NumPy's, beside a plain number, gives a wider one."""
    dtype = out.dtype
    if not is_floating(dtype) or any(getattr(x, "dtype", None) == dtype for x in operands):
        return out
    halves = [x.dtype for x in operands if hasattr(x, "dtype") and x.dtype.name == "bfloat16"]
    return out.astype(halves[0]) if halves else out


def _rank(dtype: Any) -> int:
    return 2 if is_floating(dtype) else RANK[dtype.kind]


def _rank_of_number(number: Any) -> int:
    return 0 if isinstance(number, bool) else 1 if isinstance(number, int) else 2
