"""All tests of the emulator need a C++ compiler."""

from __future__ import annotations

import pytest

from backends.emulator import missing


@pytest.fixture(autouse=True)
def _compiler() -> None:
    why = missing()
    if why is not None:
        pytest.skip(why)
