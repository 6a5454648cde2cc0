"""Which dtype an operation on tensors of several dtypes computes in: PyTorch's rule, which keeps float32 networks float32.

The kinds are ordered bool < integer < float. The highest kind wins, and only operands of that kind have a say in the
width: float32 with int64 is float32. Among them tensors with dimensions go before those without, and plain numbers come
last: they never widen a tensor, and a float beside integers makes the default, float32.
"""

from __future__ import annotations

from typing import Any

from .dtypes import float32, promote

RANK = {"b": 0, "i": 1, "u": 1, "f": 2}
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
    rank = max([RANK[a.dtype.kind] for a in arrays] + [_rank_of_number(n) for n in numbers])
    rank = 2 if op in REAL_VALUED else rank
    speakers = [a for a in arrays if RANK[a.dtype.kind] == rank]
    if not speakers:
        return float32 if rank == 2 else None
    with_dimensions = [a for a in speakers if a.ndim] or speakers
    return promote(*(a.dtype for a in with_dimensions))


def _rank_of_number(number: Any) -> int:
    return 0 if isinstance(number, bool) else 1 if isinstance(number, int) else 2
