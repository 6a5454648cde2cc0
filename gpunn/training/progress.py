"""How training shows itself: a bar on a terminal, a line an epoch everywhere."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from gpunn.errors import ConfigError
from gpunn.training.metrics import Reading

REFRESH_SECONDS = 0.2  # each refresh reads the device, so they are few
STYLES = ("bar", "lines", "none")


class Progress:
    """Shows the epochs as a bar (on standard error) and lines (on standard output), as lines only, or not at all."""

    def __init__(self, style: str | None, backend: Any) -> None:
        if style is None:
            style = "bar" if sys.stderr.isatty() else "lines"
        if style not in STYLES:
            raise ConfigError(f"progress: expected None or one of {', '.join(STYLES)}, got {style!r}")
        self.style = style
        self.gauge = DeviceGauge(backend) if style == "bar" else None
        self._bar: Any = None
        self._next_refresh = 0.0

    def start_epoch(self, epoch: int, epochs: int, total: int | None, done: int) -> None:
        """``total`` images in the epoch, of which ``done`` were trained on before (in a resumed epoch)."""
        self._next_refresh = time.monotonic() + REFRESH_SECONDS
        if self.style == "bar":
            from tqdm import tqdm

            self._bar = tqdm(
                desc=f"epoch {epoch}/{epochs}",
                total=total,
                initial=done,
                unit=" images",
                leave=False,
                mininterval=0,  # the trainer decides when: a refresh reads the device
                miniters=0,
                dynamic_ncols=True,
                file=sys.stderr,
                bar_format="{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} {rate_noinv_fmt}, "
                "{remaining} left{postfix}",
            )

    def due(self) -> bool:
        """Whether it is time for the trainer to read the sums, so that a bar can move and a bad loss is noticed."""
        now = time.monotonic()
        if now < self._next_refresh:
            return False
        self._next_refresh = now + REFRESH_SECONDS
        return True

    def show(self, reading: Reading) -> None:
        if self._bar is None:
            return
        fields = [f"loss {_short(reading.loss)}"]
        if reading.accuracy is not None:
            fields.append(f"accuracy {reading.accuracy:.2%}")
        if self.gauge is not None:
            fields += self.gauge.read()
        self._bar.set_postfix_str(", ".join(fields), refresh=False)
        self._bar.update(reading.examples - self._bar.n)

    def end_epoch(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def line(self, record: dict[str, Any], epochs: int) -> None:
        """The line that stays: the figures of one epoch."""
        if self.style != "none":
            print(epoch_line(record, epochs), flush=True)


def epoch_line(record: dict[str, Any], epochs: int) -> str:
    """``epoch 3/8  train loss 0.5120 accuracy 83.10%  test loss ...  lr 0.08  7.1 s  1,408 images/s``"""
    parts = [f"epoch {record['epoch']:>{len(str(epochs))}}/{epochs}"]
    for name in ("train", "validation", "test"):
        if f"{name}_loss" in record:
            part = f"{name} loss {_short(record[f'{name}_loss'])}"
            if record.get(f"{name}_accuracy") is not None:
                part += f" accuracy {record[f'{name}_accuracy']:.2%}"
            parts.append(part)
    parts.append(f"lr {record['lr']:.3g}")
    parts.append(f"{record['seconds']:.1f} s")
    parts.append(f"{record['images_per_second']:,.0f} images/s")
    return "  ".join(parts)


def _short(loss: float) -> str:
    return f"{loss:.4f}" if abs(loss) < 1e4 else f"{loss:.3g}"


class DeviceGauge:
    """Memory and utilization of a CUDA device; of a CPU, nothing.

    Utilization comes from NVML (the package nvidia-ml-py), where it is installed.
    """

    def __init__(self, backend: Any) -> None:
        self.backend = backend
        self.is_cuda = backend.device.startswith("cuda") and backend.device != "cuda-emulated"
        self.nvml: Any = None
        if self.is_cuda:
            try:
                import pynvml

                pynvml.nvmlInit()
                self.handle = _nvml_handle(pynvml, backend.device)
                self.nvml = pynvml
            except Exception:  # not installed, or no access to the counters: a bar can do without
                self.nvml = None

    def read(self) -> list[str]:
        if not self.is_cuda:
            return []
        fields = []
        used = self.backend.memory_used()
        if used is not None:
            fields.append(f"memory {used / 2**30:.1f} GiB")
        if self.nvml is not None:
            try:
                fields.append(f"GPU {self.nvml.nvmlDeviceGetUtilizationRates(self.handle).gpu}%")
            except self.nvml.NVMLError:
                self.nvml = None
        return fields


def _nvml_handle(pynvml: Any, device: str) -> Any:
    """NVML counts all devices of the machine; CUDA only those that CUDA_VISIBLE_DEVICES lists."""
    index = int(device.partition(":")[2] or 0)
    visible = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    if index >= len(visible):
        return pynvml.nvmlDeviceGetHandleByIndex(index)
    if visible[index].isdecimal():
        return pynvml.nvmlDeviceGetHandleByIndex(int(visible[index]))
    return pynvml.nvmlDeviceGetHandleByUUID(visible[index])
