"""Which device to compute on, and why that one."""

from __future__ import annotations

import logging

import backends
from backends import Backend

log = logging.getLogger("gpunn")


def choose(device: str = "auto") -> tuple[str, str]:
    """The device that ``device`` means, and why, in one line.

    "auto" takes the first GPU where there is one, else the CPU. Any other name is taken as it is; DeviceError where it
    cannot be had.
    """
    if device != "auto":
        return backends.get(device).device, "as asked"
    missing = backends.missing_gpu()
    if missing is None:
        return "cuda:0", "a GPU is at hand"
    return "cpu", f"no GPU: {missing}"


def resolve(device: str | None = None) -> Backend:
    """The backend for a device name; None means "cpu", and "auto" logs in one line what it took and why."""
    if device is None:
        return backends.get("cpu")
    name, why = choose(device)
    if device == "auto":
        log.info("device %s (%s)", name, why)
    return backends.get(name)
