"""The emulator as a fixture, for tests of the CUDA kernels."""

from __future__ import annotations

from typing import Any

import pytest

from backends import emulator


@pytest.fixture(scope="session", params=[0, 1, 7], ids=["ascending", "descending", "shuffled"])
def in_every_order(request: pytest.FixtureRequest) -> Any:
    """The CUDA backend on the emulator, in checked mode, its threads run in three different orders."""
    return _emulated(request.param)


@pytest.fixture(scope="session")
def emulated() -> Any:
    """The CUDA backend on the emulator, in checked mode."""
    return _emulated(0)


def _emulated(order: int) -> Any:
    missing = emulator.missing()
    if missing:
        pytest.skip(missing)
    return emulator.backend(checked=True, order=order)
