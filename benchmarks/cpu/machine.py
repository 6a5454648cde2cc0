"""The machine, the versions and the environment that a run was of."""

from __future__ import annotations

import os
import platform
import re
import sys
from datetime import UTC, datetime
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # gpunn as it lies here, installed or not

from gpunn.version import __version__

DISTRIBUTIONS = {"NumPy": "numpy", "Numba": "numba", "PyTorch": "torch"}
OF_NOTE = ("GPUNN_", "OMP_", "MKL_", "OPENBLAS_", "KMP_", "TORCH", "MALLOC_", "LD_PRELOAD", "NUMBA_")


def is_installed(module: str) -> bool:
    return find_spec(module) is not None


def facts(threads: int) -> dict[str, str]:
    """What stands above the tables, by name."""
    described = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": _processor(),
        "vector instructions": _vector_instructions(),
        "cores": f"{os.cpu_count()}, {threads} threads for each contender",
        "memory": _memory(),
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "gpunn": __version__,
    }
    for name, distribution in DISTRIBUTIONS.items():
        try:
            described[name] = metadata.version(distribution)
        except metadata.PackageNotFoundError:
            described[name] = "not installed"
    described["environment"] = ", ".join(f"{k}={v}" for k, v in sorted(os.environ.items()) if k.startswith(OF_NOTE))
    described["command"] = " ".join(["python benchmarks/cpu/bench.py", *sys.argv[1:]])
    return {name: value for name, value in described.items() if value}


def _from_proc(file: str, field: str) -> str:
    try:
        text = Path("/proc", file).read_text(encoding="utf-8")
    except OSError:
        return ""
    found = re.search(rf"^{field}\s*:\s*(.*)$", text, flags=re.MULTILINE)
    return found[1] if found else ""


def _processor() -> str:
    name = _from_proc("cpuinfo", "model name") or platform.processor() or platform.machine()
    family, model = _from_proc("cpuinfo", "cpu family"), _from_proc("cpuinfo", "model")
    return f"{name} (family {family}, model {model})" if family and model else name


def _vector_instructions() -> str:
    flags = _from_proc("cpuinfo", "flags").split()
    return next((name for flag, name in (("avx512f", "AVX-512"), ("avx2", "AVX2")) if flag in flags), "")


def _memory() -> str:
    kilobytes = _from_proc("meminfo", "MemTotal").split()
    return f"{int(kilobytes[0]) / 2**20:.0f} GiB" if kilobytes else ""
