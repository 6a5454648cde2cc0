"""`gpunn doctor`: versions and devices, and which device would be chosen and why."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import numpy as np

import backends
import gpunn
from backends.cpu import blas
from gpunn.cli.parser import Parser
from gpunn.device import choose

EXAMPLES = """
gpunn doctor
"""
# The distributions that matter, and what each is for.
REQUIRED = ("numpy", "pillow", "safetensors", "tqdm", "tomli-w")
OPTIONAL = {
    "numba": "compiled CPU kernels",
    "matplotlib": "curves.png",
    "pooch": "--download",
    "nvidia-ml-py": "GPU utilization in the progress bar",
}
CUPY = ("cupy-cuda13x", "cupy-cuda12x", "cupy")


def parser() -> Parser:
    return Parser("doctor", "Show versions and devices, and which device would be chosen and why.", EXAMPLES)


def main(argv: Sequence[str]) -> int:
    parser().parse(argv)
    sections = {"versions": versions(), "machine": machine(), "devices": devices()}
    for title, rows in sections.items():
        print(title)
        width = max(len(name) for name, _ in rows)
        for name, value in rows:
            print(f"  {name:<{width}}  {value}")
    return 0


def versions() -> list[tuple[str, str]]:
    rows = [("python", f"{platform.python_version()} ({sys.executable})"), ("gpunn", gpunn.__version__)]
    rows += [(name, _version(name) or "not installed") for name in REQUIRED]
    cupy = next((f"{name} {_version(name)}" for name in CUPY if _version(name)), None)
    rows.append(("cupy", cupy or "not installed: for GPUs"))
    rows += [(name, _version(name) or f"not installed: for {purpose}") for name, purpose in OPTIONAL.items()]
    return rows


def machine() -> list[tuple[str, str]]:
    return [
        ("system", f"{platform.system()} {platform.release()} {platform.machine()}"),
        ("processor", _processor()),
        ("cores", _cores()),
        ("blas", _blas()),
    ]


def devices() -> list[tuple[str, str]]:
    rows = [(name, "available") for name in backends.available()]
    for kind in ("cuda", "cuda-emulated"):
        if not any(name.partition(":")[0] == kind for name, _ in rows):
            rows.append((kind, f"not available: {backends.why_not(kind)}"))
    device, why = choose("auto")
    return [*rows, ("auto", f"takes {device}: {why}")]


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"


def _cores() -> str:
    """The cores of the machine, those this process may run on, and the share of them that a container is granted."""
    text = f"{os.cpu_count()} in the machine"
    if hasattr(os, "sched_getaffinity"):
        text += f", {len(os.sched_getaffinity(0))} for this process"
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            text += f", {int(quota) / int(period):g} by the control group's quota"
    except (OSError, ValueError):
        pass  # no control groups of version 2 here
    return text


def _blas() -> str:
    """The BLAS that NumPy was built with, the kernels that it uses, and how many threads."""
    build = np.show_config(mode="dicts")
    assert build is not None
    library = build.get("Build Dependencies", {}).get("blas", {})
    text = f"{library.get('name', 'unknown')} {library.get('version', '')}".strip()
    backends.get("cpu")  # which tunes it
    return f"{text}, {blas.tune()}, {blas.threads()} threads" if blas.is_there() else text
