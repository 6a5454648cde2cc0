"""The process of one contender: prepares a work, and does a block of steps whenever it is asked to.

It reads requests from standard input and writes answers to standard output, a line of JSON each. What libraries print goes to
standard error. bench.py starts it; by hand:

    echo '{"do": "prepare", "work": "lenet5", "batch": 8, "options": []}' | python benchmarks/cpu/worker.py gpunn
"""

from __future__ import annotations

import importlib
import json
import math
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from disturbance import Watch
from works import WORKS, cross_entropy

CHECKED_STEPS = 3  # whose losses are compared; they also fill buffers and compile
WARM_UP_SECONDS = 0.2


class Worker:
    def __init__(self, framework: str) -> None:
        self.framework: Any = importlib.import_module(f"in_{framework}")
        self.step: Callable[[], Any] = lambda: None
        self.loss: Callable[[], float] = lambda: math.nan

    def prepare(self, work: str, batch: int, options: list[str]) -> dict[str, Any]:
        """Weights, batch, the first steps. Answers with their losses, and what a step takes."""
        threads = self.framework.thread_count()
        images, labels = WORKS[work].images_and_labels(batch)
        before = _memory("VmRSS")
        self.step = self.framework.prepare(WORKS[work], images, labels, set(options))

        def loss() -> float:
            result = self.framework.to_numpy(self.step())
            return float(result) if WORKS[work].trains else cross_entropy(result, labels)

        self.loss = loss
        losses: list[float] = []
        seconds: list[float] = []
        while len(losses) < CHECKED_STEPS or sum(seconds[1:]) < WARM_UP_SECONDS:
            started = time.perf_counter()
            losses.append(loss())
            seconds.append(time.perf_counter() - started)
        return {
            "threads": threads,
            "losses": losses[:CHECKED_STEPS],
            "first_step_seconds": seconds[0],
            "step_seconds": min(seconds[1:]),
            "memory_before": before,
        }

    def block(self, steps: int) -> dict[str, Any]:
        """One step that is not counted, since the caches still hold what another contender used, and ``steps`` that are."""
        self.step()
        seconds = []
        watch = Watch()
        for _ in range(steps):
            started = time.perf_counter()
            self.step()
            seconds.append(time.perf_counter() - started)
        return asdict(watch.block(seconds))

    def end(self) -> dict[str, Any]:
        """The most memory that the process ever had, and the loss that it has come to."""
        peak = _memory("VmHWM")  # before the step, as that of all others
        return {"peak": peak, "loss": self.loss()}

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"answer": getattr(self, request.pop("do"))(**request)}
        except Exception as error:  # PyTorch's compiler and a full memory have errors of many kinds
            return {"failure": f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:120]}"}


def _memory(field: str) -> int | None:
    """Bytes, from /proc/self/status; None where there is none."""
    try:
        text = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in text.splitlines() if line.startswith(f"{field}:")), None)


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    worker = Worker(sys.argv[1])
    for line in sys.stdin:
        print(json.dumps(worker.answer(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
