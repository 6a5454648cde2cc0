"""The CPU kernels: plain loops in Python that Numba compiles, a file a family.

A kernel is serial and holds no lock: a primitive cuts its work into pieces, and `threads.for_each` calls the kernel for each,
so results do not depend on the number of threads. Where Numba is not installed, the NumPy code beside them serves.
"""

from .compiler import compiled, is_available

__all__ = ["compiled", "is_available"]
