"""Whether other processes disturbed a block of steps.

Two signs. The machine's processors were busy with more than this process: /proc/stat against the process's own time. Or the
process had less of the processors than in its other blocks: its own time against the clock's.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FOREIGN_SHARE = 0.05  # of all processors: what others may take; the ticks of the clock alone stay below that
STARVED = 0.9  # of what the process has of the processors in its better blocks
STAT = Path("/proc/stat")


@dataclass
class Block:
    """Some steps in a row: the time of each, and over all of them the clock, this process and all processors, in seconds.

    ``busy`` is None where the system does not tell.
    """

    steps: list[float]
    wall: float
    own: float
    busy: float | None

    @property
    def seconds(self) -> float:
        """Of a step: the median."""
        return statistics.median(self.steps)

    @property
    def cores(self) -> float:
        """How many processors the process had."""
        return self.own / self.wall

    @property
    def foreign(self) -> float:
        """How many processors others had."""
        return 0.0 if self.busy is None else max(0.0, self.busy - self.own) / self.wall


class Watch:
    """Reads the three clocks when it is made; ``block`` reads them again."""

    def __init__(self) -> None:
        self.busy, self.own, self.wall = _busy_seconds(), time.process_time(), time.perf_counter()

    def block(self, steps: list[float]) -> Block:
        wall, own, busy = time.perf_counter() - self.wall, time.process_time() - self.own, _busy_seconds()
        return Block(steps, wall, own, None if busy is None or self.busy is None else busy - self.busy)


def _busy_seconds() -> float | None:
    """What all processors together have worked since the machine started, time stolen by a hypervisor included."""
    try:
        ticks = [int(word) for word in STAT.read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]]
    except OSError:
        return None
    _, _, _, idle, waiting, *_ = ticks
    return (sum(ticks) - idle - waiting) / os.sysconf("SC_CLK_TCK")


def quiet(blocks: Sequence[Block], processors: int | None = None) -> list[bool]:
    """For each block of one contender whether it counts."""
    processors = processors or os.cpu_count() or 1
    cores = sorted(block.cores for block in blocks)
    usual = cores[3 * len(cores) // 4] if cores else 0.0
    return [block.foreign <= FOREIGN_SHARE * processors and block.cores >= STARVED * usual for block in blocks]
