"""What a user waits for before anything is trained: imports, and the first step of `gpunn train` without options."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from contenders import CONTENDERS, environment

ROOT = Path(__file__).parents[2]
COLD_TURNS, TURNS = 3, 5


def measure(threads: int, cold_turns: int = COLD_TURNS, turns: int = TURNS) -> list[dict[str, Any]]:
    """Each line: what, the median in seconds, the least and the most. Each turn is a process of its own."""
    gpunn, numpy_only = (next(c for c in CONTENDERS if c.name == name) for name in ("gpunn", "gpunn, NumPy only"))
    surroundings = environment(gpunn, threads)
    without = environment(numpy_only, threads)
    with tempfile.TemporaryDirectory() as warm:
        imports = {f"import {name}": _import(name, surroundings) for name in ("numpy", "gpunn", "torch")}
        train = "first step of gpunn train"
        steps = {
            f"{train}, warm cache": lambda: _first_step(surroundings, warm),
            f"{train}, NumPy only": lambda: _first_step(without, warm),
        }
        for run in (*imports.values(), *steps.values()):
            run()  # not counted: Python compiles its files, the disk's cache and gpunn's are filled
        lines = [_line(f"{train}, empty cache", [_cold_step(surroundings) for _ in range(cold_turns)])]
        found: dict[str, list[float]] = {name: [] for name in (*steps, *imports)}
        for _ in range(turns):
            for name, run in (*steps.items(), *imports.items()):
                found[name].append(run())
    return [*lines, *(_line(name, seconds) for name, seconds in found.items())]


def _line(name: str, seconds: list[float]) -> dict[str, Any]:
    return {"what": name, "seconds": statistics.median(seconds), "least": min(seconds), "most": max(seconds)}


def _import(name: str, surroundings: dict[str, str]) -> Callable[[], float]:
    """Of the import alone, without the start of Python."""
    program = f"import time; start = time.perf_counter(); import {name}; print(time.perf_counter() - start)"
    return lambda: _last_number([sys.executable, "-c", program], {**surroundings, "PYTHONPATH": _path()})


def _cold_step(surroundings: dict[str, str]) -> float:
    with tempfile.TemporaryDirectory() as empty:
        return _first_step(surroundings, empty)


def _first_step(surroundings: dict[str, str], cache: str) -> float:
    """From the start of the process to the end of the first step, with gpunn's cache of compiled kernels in ``cache``."""
    with tempfile.TemporaryDirectory() as folder:
        script = str(Path(__file__).with_name("first_step.py"))
        command = [sys.executable, script, str(time.monotonic()), str(Path(folder) / "run")]
        return _last_number(command, {**surroundings, "GPUNN_CACHE": cache})


def _path() -> str:
    return os.pathsep.join(part for part in (str(ROOT), os.environ.get("PYTHONPATH", "")) if part)


def _last_number(command: list[str], surroundings: dict[str, str]) -> float:
    done = subprocess.run(command, env=surroundings, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:3])} ended with code {done.returncode}: {done.stderr.strip()[-500:]}")
    return float(done.stdout.split()[-1])
