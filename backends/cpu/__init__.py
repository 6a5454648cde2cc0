"""The CPU backend: NumPy, with the families overridden that plain array code does slowly; a file a family."""

from .numpy_backend import NumpyBackend

__all__ = ["NumpyBackend"]
