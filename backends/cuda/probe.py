"""Is there a GPU that can be used? If not, which of four things is missing, and what helps?"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..errors import DeviceError

INSTALL_HINT = "pip install 'cupy-cuda13x[ctk]' (or 'cupy-cuda12x[ctk]' for a driver of CUDA 12)"


class Probe(NamedTuple):
    """``devices`` usable GPUs; where it is 0, ``missing`` says in one line what is not there and what to do."""

    devices: int
    missing: str | None


def import_cupy() -> Any:
    """The module cupy; ImportError where it is not installed or does not load. Nothing else imports it."""
    import cupy

    return cupy


def probe() -> Probe:
    """Look for CuPy, then for a driver, then for devices. With CuPy installed and no GPU nothing fails."""
    try:
        runtime = import_cupy().cuda.runtime
    except ImportError as error:
        why = "CuPy is not installed" if isinstance(error, ModuleNotFoundError) else f"CuPy does not load ({error})"
        return Probe(0, f"{why}: {INSTALL_HINT}")
    try:
        # The driver's version is 0 where no driver is installed; asking for devices would then raise.
        driver = runtime.driverGetVersion()
    except Exception as error:  # cupy raises its own CUDARuntimeError, which cannot be named without a working cupy
        return Probe(0, f"the NVIDIA driver does not answer ({_one_line(error)}): install one, or use device 'cpu'")
    if driver == 0:
        return Probe(0, "no NVIDIA driver is installed: install one, or use device 'cpu'")
    try:
        count = int(runtime.getDeviceCount())
    except Exception as error:
        count, detail = 0, f" ({_one_line(error)})"
    else:
        detail = ""
    if count == 0:
        return Probe(0, f"the NVIDIA driver finds no device{detail}: check nvidia-smi and CUDA_VISIBLE_DEVICES")
    return Probe(count, None)


def require(index: int) -> None:
    """DeviceError unless GPU ``index`` can be used."""
    count, missing = probe()
    if missing is not None:
        raise DeviceError(f"device 'cuda:{index}' cannot be had: {missing}")
    if index >= count:
        raise DeviceError(
            f"device 'cuda:{index}' is out of range: {count} found, expected 'cuda:0' to 'cuda:{count - 1}'"
        )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
