"""Memory for what stands between two passes: it belongs to a thread, which uses it again, so a steady step allocates none."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np

ALIGNMENT = 64  # bytes: a line of the cache, and the longest vector

_own = threading.local()


def scratch(name: str, shape: tuple[int, ...]) -> Any:
    """Uninitialized float32, aligned for vectors; what this thread had under that name is overwritten."""
    count = math.prod(shape)
    memory = getattr(_own, name, None)
    if memory is None or memory.size < count:
        whole = np.empty(count + ALIGNMENT // 4, np.float32)
        skipped = -whole.ctypes.data % ALIGNMENT // 4
        memory = whole[skipped : skipped + count]
        setattr(_own, name, memory)
    return memory[:count].reshape(shape)
