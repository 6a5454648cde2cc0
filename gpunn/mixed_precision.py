"""Mixed precision: within `autocast`, matrix products compute in a half precision and what needs a wide range in float32.

Parameters stay float32. A product casts its operands through the tape, so that their gradients come back as float32.
P. Micikevicius et al., "Mixed precision training", ICLR 2018. Which operation computes in what follows PyTorch's autocast.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from contextlib import ContextDecorator
from typing import Any

from . import tape
from .dtypes import as_dtype, float32, is_floating

# The units for half precision make these faster, and they add up in float32 inside.
IN_HALF = frozenset({"bias_relu", "conv2d", "conv2d_relu", "linear", "linear_relu", "matmul", "prelu"})
# Their results leave the range of a half precision, or lose its few digits. The losses are marked with `in_float32`.
IN_FLOAT32 = frozenset({"exp", "inverse", "log", "log_softmax", "logdet", "logsumexp", "norm", "pow", "reciprocal", "softmax",
                        "softplus", "sum"})  # fmt: skip
# All other operations compute in what they are given; where dtypes mix, the widest wins.

_mode = threading.local()


class autocast(ContextDecorator):  # noqa: N801 - the name is PyTorch's
    """Within the block (or the decorated function), operations choose their precision.

    Linear layers, convolutions and matrix products compute in ``dtype``; softmax, logarithms, sums, norms and losses in
    float32; all others in what they are given. float64 is left alone. Call ``backward`` outside of the block::

        with gpunn.autocast("bfloat16"):
            loss = F.cross_entropy(net(x), labels)
        loss.backward()

    Args:
        dtype: "float16" or "bfloat16"; with float16 use `gpunn.training.GradScaler`.
        enabled: False computes as outside of all autocast blocks.
    """

    def __init__(self, dtype: Any = "float16", enabled: bool = True) -> None:
        self.dtype = as_dtype(dtype)
        if self.dtype.name not in ("float16", "bfloat16"):
            raise ValueError(f"autocast: expected dtype float16 or bfloat16, got {self.dtype.name}")
        self.enabled = enabled
        self._before: list[Any] = []

    def __enter__(self) -> autocast:
        self._before.append(current_dtype())
        if not hasattr(_mode, "depth"):
            _mode.depth, _mode.casts = 0, {}
        _mode.depth += 1
        _mode.dtype = self.dtype if self.enabled else None
        return self

    def __exit__(self, *error: object) -> None:
        _mode.dtype = self._before.pop()
        _mode.depth -= 1
        if _mode.depth == 0:
            _mode.casts.clear()

    def _recreate_cm(self) -> autocast:
        return autocast(self.dtype, self.enabled)


def current_dtype() -> Any:
    """What matrix products compute in; None outside of autocast (the mode belongs to the thread)."""
    return getattr(_mode, "dtype", None)


def cast(op: str, operands: tuple[Any, ...]) -> tuple[Any, ...]:
    """The operands of a primitive in the precision that autocast has for it."""
    half = current_dtype()
    if half is None or (op not in IN_HALF and op not in IN_FLOAT32):
        return operands
    return tuple(_as(x, half if op in IN_HALF else float32) for x in operands)


def alike(*tensors: Any) -> bool:
    """Whether all tensors have one dtype, as a matrix product needs, or will have one when autocast has cast them."""
    half = current_dtype()
    return len({half if half is not None and _is_narrow(x.dtype) else x.dtype for x in tensors}) == 1


def in_float32(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator: the tensors among the arguments come as float32 where autocast has made them a half precision."""

    @functools.wraps(function)
    def wide(*arguments: Any, **options: Any) -> Any:
        if current_dtype() is not None:
            arguments = tuple(_as(x, float32) for x in arguments)
            options = {name: _as(x, float32) for name, x in options.items()}
        return function(*arguments, **options)

    return wide


def _is_narrow(dtype: Any) -> bool:
    """Half or single precision: what autocast may change."""
    return is_floating(dtype) and dtype.itemsize <= 4


def _as(x: Any, dtype: Any) -> Any:
    if not hasattr(x, "requires_grad") or not _is_narrow(x.dtype) or x.dtype == dtype:
        return x
    if not (x.requires_grad and x.is_leaf and tape.is_grad_enabled()):
        return x.to(dtype=dtype)
    # A weight that is used several times is cast once; anew when it was written to, or when backward used up the cast.
    known = _mode.casts.get((id(x), dtype))
    if known is None or known[0] != x.version.count or known[1].node.backward is None:
        known = _mode.casts[id(x), dtype] = (
            x.version.count,
            x.to(dtype=dtype),
            x,
        )  # x is kept so that its id stays its own
    return known[1]
