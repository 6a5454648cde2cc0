"""Bugs to plant in the kernels, one at a time, each with the test that must catch it.

scripts/replay_planted_bugs.py plants every one and runs its test; PLANTED_BUGS.md holds what it saw.
"""

from __future__ import annotations

from cuda import (
    bugs_in_activation,
    bugs_in_dropout,
    bugs_in_normalization,
    bugs_in_optimizer,
    bugs_in_softmax,
    bugs_in_windows,
    planting,
)
from cuda.planting import Bug

BUGS: list[Bug] = [
    *bugs_in_activation.BUGS,
    *bugs_in_dropout.BUGS,
    *bugs_in_normalization.BUGS,
    *bugs_in_optimizer.BUGS,
    *bugs_in_softmax.BUGS,
    *bugs_in_windows.BUGS,
]


def plant(name: str) -> None:
    """From now on the kernels have the bug ``name``."""
    planting.plant(next(bug for bug in BUGS if bug.name == name))
