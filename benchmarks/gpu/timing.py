"""How time is measured: contenders take turns, events of the device tell the time, and the median counts."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

BLOCK_SECONDS = 0.04  # a turn: long enough that starting and stopping the clock is nothing
WARM_UP = 5


@dataclass
class Contender:
    """``run`` asks the device for one unit of work and need not wait for it."""

    name: str
    run: Callable[[], object]
    seconds: list[float] = field(default_factory=list)
    failure: str | None = None  # why it has no time

    @property
    def median(self) -> float | None:
        return statistics.median(self.seconds) if self.seconds else None

    @property
    def spread(self) -> float | None:
        """Half the distance between the quartiles, as a share of the median."""
        if len(self.seconds) < 4:
            return None
        low, middle, high = statistics.quantiles(self.seconds, n=4)
        return (high - low) / 2 / middle


def prepared(name: str, make: Callable[[], Callable[[], object]]) -> Contender:
    """The contender that ``make`` builds. One that cannot be built keeps the first line of its error."""
    try:
        return Contender(name, make())
    except Exception as error:
        return Contender(name, lambda: None, failure=first_line(error))


def first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:120]}"


class Clock:
    """Times work on the device's default stream, in which CuPy and PyTorch both compute."""

    def __init__(self, backend: Any) -> None:
        self.cuda = backend.xp.cuda

    def time(self, run: Callable[[], object], count: int) -> float:
        """Seconds a run, of ``count`` in a row: from the first one's start on the device to the last one's end."""
        start, stop = self.cuda.Event(), self.cuda.Event()
        start.record()
        for _ in range(count):
            run()
        stop.record()
        stop.synchronize()
        return self.cuda.get_elapsed_time(start, stop) / 1000 / count


def measure(clock: Clock, contenders: Sequence[Contender], rounds: int) -> None:
    """``rounds`` turns of each, behind a few runs that do not count (compilation, plans, graphs).

    A contender that cannot run keeps the first line of its error instead of a time.
    """
    counts = {}
    for contender in contenders:
        if contender.failure is not None:
            continue
        try:
            for _ in range(WARM_UP):
                contender.run()
            once = clock.time(contender.run, 3)
        except Exception as error:  # PyTorch's compiler and a full memory have errors of many kinds
            contender.failure = first_line(error)
            continue
        counts[contender.name] = max(1, round(BLOCK_SECONDS / max(once, 1e-9)))
    for _ in range(rounds):
        for contender in contenders:
            if contender.failure is None:
                contender.run()  # not counted: the caches still hold what the other one used
                contender.seconds.append(clock.time(contender.run, counts[contender.name]))


def copy_bandwidth(backend: Any, clock: Clock, rounds: int) -> float:
    """Bytes a second, read and written, of copying 1 GiB within the device: what no kernel that moves data can beat."""
    source = backend.ones((2**28,), "float32")
    target = backend.empty((2**28,), "float32")
    copy = Contender("copy", lambda: backend.xp.copyto(target, source))
    measure(clock, [copy], rounds)
    assert copy.median is not None, copy.failure
    return 2 * source.nbytes / copy.median
