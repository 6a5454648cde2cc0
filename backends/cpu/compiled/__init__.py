"""The CPU kernels: plain loops in Python that Numba compiles, a file a family.

A kernel holds no lock: a primitive cuts its work into pieces by shape alone, and `threads.for_each` calls the kernel for
each, or the kernel takes them itself (see sharing.py), so results do not depend on the number of threads. Where Numba is not
installed, the NumPy code beside them serves.
"""

from .compiler import compiled, is_available

__all__ = ["compiled", "is_available"]
