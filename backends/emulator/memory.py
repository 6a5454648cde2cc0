"""Arrays of which the emulator knows more than NumPy does: outputs that nobody has written yet, and tables of pointers.

What is known hangs on the array that owns the memory, so that it holds for every view of it, and goes when that array does.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from .error import EmulatorError

_Span = tuple[int, int]  # addresses: from the first byte to behind the last


class _Known:
    """What is known of one array: which of its memory is unwritten, and the arrays whose addresses it holds."""

    def __init__(self, unwritten: list[_Span], pointed_to: tuple[np.ndarray, ...] = ()) -> None:
        self.unwritten, self.pointed_to = unwritten, pointed_to


_known: dict[int, tuple[weakref.ref[np.ndarray], _Known]] = {}


def output(shape: int | tuple[int, ...], dtype: Any) -> np.ndarray:
    """An array that the next kernel fills wholly: NaN (or -1) until then, and of unwritten memory for the checker."""
    return _unwritten(np.empty(shape, dtype))


def output_like(array: Any) -> np.ndarray:
    """The same, of the shape, dtype and memory order of ``array``."""
    return _unwritten(np.empty_like(array, subok=False))


def pointer_table(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """The arrays' addresses: int64, (len(arrays),). A kernel that is given the table may touch the arrays.

    The arrays must be dense; the table keeps them alive.
    """
    for i, array in enumerate(arrays):
        if not is_dense(array):
            raise EmulatorError(
                f"expected array {i} of a pointer_table in one piece of memory, got strides {array.strides} for shape "
                f"{array.shape}; make it contiguous first"
            )
    table = np.array([address(array) for array in arrays], dtype=np.int64)
    _remember(table, _Known([], tuple(arrays)))
    return table


def is_dense(array: np.ndarray) -> bool:
    """Whether the elements fill one piece of memory, in whatever order of the axes."""
    if array.flags.c_contiguous or array.size == 0:
        return True
    expected = array.itemsize
    for stride, length in sorted((s, n) for s, n in zip(array.strides, array.shape, strict=True) if n != 1):
        if stride != expected:
            return False
        expected *= length
    return True


def address(array: np.ndarray) -> int:
    """Where the array's first element is."""
    return int(array.__array_interface__["data"][0])


def span(array: np.ndarray) -> _Span:
    """The memory of a dense array."""
    begin = address(array)
    return begin, begin + array.nbytes


def arrays_of_table(table: np.ndarray) -> tuple[np.ndarray, ...]:
    """The arrays whose addresses the table holds; none if it is no pointer table, or no view of one."""
    known = _find(table)
    return known.pointed_to if known else ()


def is_unwritten(array: np.ndarray) -> bool:
    """Whether nobody has written to any of the dense array's memory, as far as it is an output.

    Of the host's writing nobody tells; it shows in the memory, which is no longer what `output` put there.
    """
    known = _find(array)
    if known is None or not known.unwritten or array.size == 0:
        return False
    begin, end = span(array)
    if not any(first <= begin and end <= last for first, last in known.unwritten):
        return False
    return bool((_bytes(array) == 0xFF).all())


def mark_written(array: np.ndarray) -> None:
    """From now on the dense array's memory has values."""
    known = _find(array)
    if known is None or not known.unwritten:
        return
    begin, end = span(array)
    parts = [part for first, last in known.unwritten for part in ((first, min(last, begin)), (max(first, end), last))]
    known.unwritten = [(first, last) for first, last in parts if first < last]


def _unwritten(array: np.ndarray) -> np.ndarray:
    if array.size:
        _bytes(array)[...] = 0xFF
        _remember(array, _Known([span(array)]))
    return array


def _bytes(array: np.ndarray) -> np.ndarray:
    """A dense array's memory as bytes, (nbytes,)."""
    order = sorted(range(array.ndim), key=lambda axis: (-abs(array.strides[axis]), axis))
    return array.transpose(order).reshape(-1).view(np.uint8)


def _remember(array: np.ndarray, known: _Known) -> None:
    owner = _owner(array)
    key = id(owner)
    _known[key] = weakref.ref(owner, lambda _: _known.pop(key, None)), known


def _find(array: np.ndarray) -> _Known | None:
    if not _known:
        return None
    found = _known.get(id(_owner(array)))
    return found[1] if found else None


def _owner(array: np.ndarray) -> np.ndarray:
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array
