"""Memory aligned for vectors, and memory for what stands between two passes.

The latter belongs to a thread, which uses it again, so a steady step allocates none.
"""

from __future__ import annotations

import math
import threading
from ctypes import addressof, c_char
from typing import Any

import numpy as np

ALIGNMENT = 64  # bytes: a line of the cache, and the longest vector

_own = threading.local()


def address(array: Any) -> int:
    """Where the first element lies."""
    if array.flags.c_contiguous:
        try:
            return addressof(c_char.from_buffer(array))  # in a fifth of the time
        except (BufferError, TypeError, ValueError):  # it is protected, or empty
            pass
    return int(array.__array_interface__["data"][0])


def aligned(shape: tuple[int, ...]) -> Any:
    """Uninitialized float32 that begins at a line of the cache."""
    count = math.prod(shape)
    memory = np.empty(count + ALIGNMENT // 4, np.float32)
    skipped = -address(memory) % ALIGNMENT // 4
    return memory[skipped : skipped + count].reshape(shape)


def scratch(name: str, shape: tuple[int, ...]) -> Any:
    """As `aligned`; what this thread had under that name is overwritten."""
    count = math.prod(shape)
    memory = getattr(_own, name, None)
    if memory is None or memory.size < count:
        memory = aligned((count,))
        setattr(_own, name, memory)
    return memory[:count].reshape(shape)
