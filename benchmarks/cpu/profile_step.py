"""Where the time of a step goes, by operation, beside what its multiplications would take at the processor's best.

python benchmarks/cpu/profile_step.py vgg11_bn
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from in_gpunn import prepare
from works import WORKS

import backends
from backends.cpu.threads import core_count, for_each

Key = tuple[str, str]  # an operation and its operands' shapes


class Clock:
    """Stands between a backend's callers and its operations; what an operation calls itself counts as a part of it."""

    def __init__(self) -> None:
        self.seconds: dict[Key, float] = defaultdict(float)
        self.multiplications: dict[Key, float] = {}
        self.inside = False

    def timed(self, name: str, operation: Any) -> Any:
        def call(*operands: Any, **options: Any) -> Any:
            if self.inside:
                return operation(*operands, **options)
            self.inside, started = True, time.perf_counter()
            try:
                result = operation(*operands, **options)
            finally:
                self.inside, seconds = False, time.perf_counter() - started
            key = name, _shapes(operands)
            self.seconds[key] += seconds
            self.multiplications[key] = _multiplications(name, operands, result)
            return result

        return call


@contextmanager
def clocked(backend: Any) -> Iterator[Clock]:
    """Time every operation of ``backend`` meanwhile."""
    clock = Clock()
    names = [n for n in dir(backend) if not n.startswith("_") and callable(getattr(type(backend), n, None))]
    for name in set(names) - {"scope"}:
        setattr(backend, name, clock.timed(name, getattr(backend, name)))
    try:
        yield clock
    finally:
        for name in set(names) - {"scope"}:
            delattr(backend, name)


def _arrays(values: Any) -> list[Any]:
    if hasattr(values, "shape"):
        return [values]
    return [a for v in values for a in _arrays(v)] if isinstance(values, (tuple, list)) else []


def _shapes(operands: Any) -> str:
    found = [a for a in _arrays(operands) if a.ndim > 1]
    return " ".join("x".join(map(str, a.shape)) for a in found[:3]) + (" ..." if len(found) > 3 else "")


def _multiplications(name: str, operands: Any, result: Any) -> float:
    """Of a product or a convolution by its definition; 0 for all else."""
    if name.startswith(("conv2d", "linear", "matmul")) and not name.endswith("backward"):
        weight, out = operands[1], _arrays(result)[0]
        return out.size * (math.prod(weight.shape[1:]) if name.startswith("conv2d") else operands[0].shape[-1])
    return 0


def best_rate() -> float:
    """Multiplications and additions a second in products of a size that suits every processor, one on each core."""
    a, b = np.ones((1024, 512), np.float32), np.ones((512, 512), np.float32)
    outs = [np.empty((1024, 512), np.float32) for _ in range(core_count())]
    seconds = []
    for _ in range(20):
        started = time.perf_counter()
        for_each(lambda out: np.matmul(a, b, out=out), outs)
        seconds.append(time.perf_counter() - started)
    return len(outs) * a.size * b.shape[1] / min(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", choices=WORKS)
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()
    work = WORKS[arguments.work]
    step = prepare(work, *work.images_and_labels(work.batch), set())
    for _ in range(3):
        step()
    unclocked = []
    for _ in range(arguments.steps):
        started = time.perf_counter()
        step()
        unclocked.append(time.perf_counter() - started)
    rounds: list[Clock] = []
    for _ in range(arguments.steps):
        with clocked(backends.get("cpu")) as clock:
            step()
        rounds.append(clock)
    rate = best_rate()
    medians = {key: statistics.median(clock.seconds.get(key, 0.0) for clock in rounds) for key in rounds[0].seconds}
    print(f"{work.title}: {1e3 * statistics.median(unclocked):.2f} ms a step, of which in operations:\n")
    print(f"{'ms':>8}  {'at best':>8}  operation")
    for key in sorted(medians, key=lambda key: -medians[key]):
        count = rounds[0].multiplications[key]
        best = f"{1e3 * count / rate:8.3f}" if count else 8 * " "
        print(f"{1e3 * medians[key]:8.3f}  {best}  {key[0]} {key[1]}")
    print(f"{1e3 * sum(medians.values()):8.3f}  all; at best: by its definition, at {2e-9 * rate:.0f} GFLOP/s")


if __name__ == "__main__":
    main()
