"""Paths as a user writes them."""

from __future__ import annotations

from pathlib import Path

from gpunn.errors import DataError


def expanded(path: str | Path) -> Path:
    """The path with a leading ``~`` or ``~name`` replaced by a home folder. DataError where there is no such user."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise DataError(f"{path}: no home folder is known for it; write the path without ~") from error
