"""The one exception of the emulator."""

from __future__ import annotations


class EmulatorError(RuntimeError):
    """What is wrong with a kernel's text, a call of it, or what it does: one line."""
