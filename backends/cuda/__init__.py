"""The CUDA backend: CuPy arrays on an NVIDIA GPU. The only package that imports cupy, and only when it is asked for one."""

from __future__ import annotations

from typing import Any

from .options import options


def backend(index: int) -> Any:
    """The backend of GPU ``index``; DeviceError that says why it cannot be had."""
    from .probe import require

    require(index)
    from .cuda_backend import CudaBackend
    from .runtime import CupyRuntime

    return CudaBackend(CupyRuntime(index))


def device_count() -> int:
    """How many GPUs can be used; 0 where CuPy, the driver or a device is missing."""
    from .probe import probe

    return probe().devices


def missing() -> str | None:
    """What stands in the way of using a GPU, and what to do; None where nothing does."""
    from .probe import probe

    return probe().missing


def device_index(array: Any) -> int | None:
    """The GPU on which ``array`` lies; None for anything that is not a CuPy array."""
    if not type(array).__module__.startswith("cupy"):  # asked without importing cupy for those who do not use it
        return None
    return int(array.device.id)


__all__ = ["backend", "device_count", "device_index", "missing", "options"]
