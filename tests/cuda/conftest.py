"""The emulator as a fixture, for tests of the CUDA kernels."""

from __future__ import annotations

import os
from typing import Any

import pytest
from cuda import planted_bugs

from backends import emulator

# Set by scripts/replay_planted_bugs.py, which checks that these tests notice a bug.
if PLANTED := os.environ.get("GPUNN_PLANTED_BUG"):
    planted_bugs.plant(PLANTED)


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
