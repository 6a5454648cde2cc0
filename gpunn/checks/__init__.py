"""Checks of the numbers: gradients against finite differences."""

from .gradcheck import GradientError, gradcheck

__all__ = ["GradientError", "gradcheck"]
