"""The GPU that a benchmark or the GPU tests run on; without one they end with one line and exit code 2.

python benchmarks/gpu/device.py        # names the device, or says what is missing
"""

from __future__ import annotations

import importlib.util
import platform
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # gpunn as it lies here, installed or not

import backends
import gpunn

DEVICE = "cuda:0"


def require() -> Any:
    """The backend of the first GPU. SystemExit with code 2, after one line on standard error, where there is none."""
    missing = backends.missing_gpu()
    if missing is not None:
        print(f"no GPU to run on: {missing}", file=sys.stderr)
        raise SystemExit(2)
    return backends.get(DEVICE)


def describe(backend: Any) -> dict[str, str]:
    """The device and the versions of all that decides about its speed."""
    cuda = backend.xp.cuda
    properties = cuda.runtime.getDeviceProperties(0)
    described = {
        "device": properties["name"].decode(),
        "compute capability": f"{properties['major']}.{properties['minor']}",
        "memory": f"{properties['totalGlobalMem'] / 2**30:.0f} GiB",
        "CUDA driver": _version(cuda.runtime.driverGetVersion()),
        "CUDA runtime": _version(cuda.runtime.runtimeGetVersion()),
        "Python": platform.python_version(),
        "gpunn": gpunn.__version__,
        "CuPy": backend.xp.__version__,
    }
    torch = torch_or_none()
    if torch is not None:
        described["PyTorch"] = torch.__version__
        described["PyTorch's cuDNN"] = str(torch.backends.cudnn.version())
    if importlib.util.find_spec("cudnn") is not None:
        described["cuDNN frontend"] = importlib.import_module("cudnn").__version__
    return described


def torch_or_none() -> Any:
    """The module torch where it is installed and sees the GPU."""
    if importlib.util.find_spec("torch") is None:
        return None
    import torch

    return torch if torch.cuda.is_available() else None


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


if __name__ == "__main__":
    print(", ".join(f"{name} {value}" for name, value in describe(require()).items()))
