"""Placeholder until the toolchain stands (its author replaces this file)."""

from __future__ import annotations


def missing() -> str | None:
    return "the emulator is not built yet"
