"""Arrays and kernels: one interface to NumPy on a CPU and CuPy on a GPU.

`get("cpu")` is a `Backend`; so are "reference" (plain array code, the oracle of the tests), "cuda:N" and "cuda-emulated" (the
CUDA kernels, run and checked on a processor). A backend has every primitive of every layer, loss and optimizer. This
package knows nothing of networks.
"""

from __future__ import annotations

import copyreg
import difflib
import threading
from typing import Any

import numpy as np

from .backend import Backend
from .errors import BackendError, DeviceError, LabelError

__all__ = ["Backend", "BackendError", "DeviceError", "LabelError", "available", "get", "missing_gpu", "of", "why_not"]

_KINDS = ("cpu", "cuda", "cuda-emulated", "reference")
_made: dict[str, Backend] = {}
_lock = threading.Lock()


def get(device: str) -> Backend:
    """The backend of "cpu", "cuda" (the first GPU), "cuda:N", "cuda-emulated" or "reference"; one object a device.

    Raises DeviceError for a name that is none of these, and for a device that cannot be had: the message says whether
    CuPy is not installed, there is no driver, no GPU, none of that index, or no compiler for the emulator.
    """
    name = "cuda:0" if device == "cuda" else device
    with _lock:
        if name not in _made:
            _made[name] = _make(name)
            copyreg.pickle(type(_made[name]), _by_name)
        return _made[name]


def _by_name(backend: Backend) -> tuple[Any, tuple[str]]:
    """How a pickled tensor finds its device again."""
    return get, (backend.device,)


def _make(name: str) -> Backend:
    kind, _, index = name.partition(":")
    if kind == "cuda" and index.isdecimal():
        from . import cuda

        return cuda.backend(int(index))
    if name == "cuda-emulated":
        from . import emulator

        return emulator.backend()
    if name == "reference":
        return Backend(np, name)
    if name == "cpu":
        from .cpu import NumpyBackend

        return NumpyBackend()
    close = difflib.get_close_matches(kind, _KINDS, n=1)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    raise DeviceError(
        f"unknown device '{name}': expected 'cpu', 'cuda', 'cuda:N', 'cuda-emulated' or 'reference'{hint}"
    )


def of(array: Any) -> Backend:
    """The backend that computes on ``array``: that of the CPU for NumPy's, of its GPU for CuPy's."""
    if isinstance(array, (np.ndarray, np.generic)):
        return get("cpu")
    from . import cuda

    index = cuda.device_index(array)
    if index is None:
        raise DeviceError(f"no backend computes on {type(array).__name__}: expected a NumPy or a CuPy array")
    return get(f"cuda:{index}")


def available() -> list[str]:
    """The devices that `get` can give on this machine, best first."""
    from . import cuda, emulator

    emulated = ["cuda-emulated"] if emulator.missing() is None else []
    return [*(f"cuda:{i}" for i in range(cuda.device_count())), "cpu", "reference", *emulated]


def missing_gpu() -> str | None:
    """What stands in the way of using a GPU, and what to do; None where nothing does."""
    from . import cuda

    return cuda.missing()


def why_not(device: str) -> str | None:
    """Why `get(device)` would fail, in one line; None where it would not."""
    try:
        get(device)
    except DeviceError as error:
        return str(error)
    return None
