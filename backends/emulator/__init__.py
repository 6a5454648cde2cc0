"""The device "cuda-emulated": the CUDA backend on a processor, its kernels' own text compiled by a C++ compiler and watched.

It is for tests, not for speed: each thread of a kernel runs by itself, and in checked mode every access to memory is looked at.
"""

from __future__ import annotations

from typing import Any

from ..errors import DeviceError
from .error import EmulatorError
from .toolchain import missing


def backend(checked: bool | None = None, order: int = 0) -> Any:
    """The CUDA backend over the emulator; arguments as for `EmulatedRuntime`. DeviceError where there is no compiler."""
    why = missing()
    if why is not None:
        raise DeviceError(f"device 'cuda-emulated' cannot be had: {why}")
    from ..cuda.cuda_backend import CudaBackend
    from .runtime import EmulatedRuntime

    return CudaBackend(EmulatedRuntime(checked, order))


__all__ = ["EmulatorError", "backend", "missing"]
