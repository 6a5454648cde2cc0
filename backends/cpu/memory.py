"""Keep freed memory for the next array instead of giving it back to the system.

A training step allocates and frees the same large arrays again and again. By default the C library maps each of them
anew, and the system clears every page at its first touch, which costs as much as the arithmetic on it. These settings of
glibc's malloc (mallopt(3)) make it reuse them. Elsewhere nothing happens, nor with GPUNN_KEEP_MEMORY=0.
"""

from __future__ import annotations

import ctypes
import os
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
LARGEST = 2**31 - 1  # mallopt takes a C int


def keep_freed_memory() -> bool:
    """True where it was set; the user's own malloc settings in the environment stand."""
    if not sys.platform.startswith("linux") or os.environ.get("GPUNN_KEEP_MEMORY") == "0":
        return False
    if any(name.startswith("MALLOC_") for name in os.environ):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    options = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: LARGEST, M_TOP_PAD: 64 << 20}
    done = [mallopt(option, value) for option, value in options.items()]  # each one, also after a failure
    return all(result == 1 for result in done)
