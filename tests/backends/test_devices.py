"""Choosing a device: what can be had, what cannot, and why; with a stand-in for CuPy where there is none."""

from __future__ import annotations

import logging
import pickle
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import cupy_stand_in
import numpy as np
import pytest

import backends
import gpunn
from backends import DeviceError, emulator
from gpunn.device import choose, resolve

ROOT = Path(__file__).parents[2]
PIP = r"pip install 'cupy-cuda13x\[ctk\]'"


@pytest.fixture
def install_cupy(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts a module, or None for "not installed", in the place of cupy, and forgets the backends made before."""

    def install(module: Any) -> Any:
        monkeypatch.setitem(sys.modules, "cupy", module)
        monkeypatch.setattr(backends, "_made", {name: be for name, be in backends._made.items() if ":" not in name})
        return module

    return install


class CUDARuntimeError(RuntimeError):
    """As CuPy's: made only by a working runtime, so nobody can catch it by name."""


CASES = [
    (None, f"device 'cuda:0' cannot be had: CuPy is not installed: {PIP}"),
    ({"driver": 0}, "device 'cuda:0' cannot be had: no NVIDIA driver is installed: .*'cpu'"),
    (
        {"driver": CUDARuntimeError("cudaErrorUnknown:\n unknown")},
        r"driver does not answer \(cudaErrorUnknown: unknown\)",
    ),
    ({"devices": 0}, "device 'cuda:0' cannot be had: the NVIDIA driver finds no device: .*CUDA_VISIBLE_DEVICES"),
    (
        {"devices": CUDARuntimeError("cudaErrorNoDevice: no device")},
        r"finds no device \(cudaErrorNoDevice: no device\)",
    ),
]


@pytest.mark.parametrize(("setup", "message"), CASES)
def test_why_there_is_no_gpu(install_cupy: Any, setup: Any, message: str) -> None:
    install_cupy(None if setup is None else cupy_stand_in.make(**setup))
    for name in ("cuda", "cuda:0"):
        with pytest.raises(DeviceError, match=message) as caught:
            backends.get(name)
        assert "\n" not in str(caught.value)
    assert backends.why_not("cuda") == str(caught.value)
    assert backends.missing_gpu() is not None
    assert [name for name in backends.available() if name != "cuda-emulated"] == ["cpu", "reference"]
    with pytest.raises(DeviceError, match=message):
        gpunn.tensor([1.0], device="cuda")


def test_cupy_that_does_not_load(install_cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Installed, but a library that it needs is missing: not the same as not installed."""

    class Broken:
        def find_spec(self, name: str, *_: Any) -> None:
            if name == "cupy":
                raise ImportError("libcuda.so.1: cannot open shared object file")

    install_cupy(None)
    monkeypatch.delitem(sys.modules, "cupy")
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(
        DeviceError, match=r"CuPy does not load \(libcuda.so.1: cannot open shared object file\): pip install"
    ):
        backends.get("cuda")


def test_why_there_is_no_emulator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emulator, "missing", lambda: "no C++ compiler is found: install g++")
    monkeypatch.setattr(backends, "_made", {})
    with pytest.raises(DeviceError, match="device 'cuda-emulated' cannot be had: no C") as caught:
        backends.get("cuda-emulated")
    assert str(caught.value) == backends.why_not("cuda-emulated")
    assert "cuda-emulated" not in backends.available()


def test_index_out_of_range(install_cupy: Any) -> None:
    install_cupy(cupy_stand_in.make(devices=2))
    assert backends.get("cuda:1").device == "cuda:1"
    with pytest.raises(DeviceError, match="'cuda:2' is out of range: 2 found, expected 'cuda:0' to 'cuda:1'"):
        backends.get("cuda:2")
    found = [name for name in backends.available() if name != "cuda-emulated"]
    assert found == ["cuda:0", "cuda:1", "cpu", "reference"]


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("cdua", "cuda"),
        ("CPU", None),
        ("cpuu", "cpu"),
        ("referense", "reference"),
        ("cuda:x", "cuda"),
        ("cuda:-1", "cuda"),
        ("cuda-emulate", "cuda-emulated"),
        ("", None),
    ],
)
def test_unknown_device(name: str, nearest: str | None) -> None:
    with pytest.raises(
        DeviceError, match=f"unknown device '{name}': expected 'cpu', 'cuda', 'cuda:N', 'cuda-emulated' or 'reference'"
    ) as caught:
        backends.get(name)
    if nearest:
        assert str(caught.value).endswith(f"did you mean '{nearest}'?")


def test_one_object_a_device(install_cupy: Any) -> None:
    install_cupy(cupy_stand_in.make())
    for name in ("cpu", "reference", "cuda:0"):
        assert backends.get(name) is backends.get(name)
    assert backends.get("cuda") is backends.get("cuda:0")
    assert pickle.loads(pickle.dumps(backends.get("cpu"))) is backends.get("cpu")


def test_backend_of_an_array(install_cupy: Any) -> None:
    install_cupy(cupy_stand_in.make(devices=2))
    # CuPy's array is not NumPy's, as that of the stand-in is.
    array = type("ndarray", (), {"__module__": "cupy", "device": types.SimpleNamespace(id=1)})()
    assert backends.of(np.ones(3)).device == "cpu"
    assert backends.of(np.float32(3)).device == "cpu"
    assert backends.of(array).device == "cuda:1"
    with pytest.raises(DeviceError, match="no backend computes on list: expected a NumPy or a CuPy array"):
        backends.of([1.0])


def test_auto_logs_in_one_line_what_it_took_and_why(install_cupy: Any, caplog: pytest.LogCaptureFixture) -> None:
    install_cupy(None)
    with caplog.at_level(logging.INFO, logger="gpunn"):
        assert resolve("auto").device == "cpu"
    assert [r.getMessage() for r in caplog.records] == [f"device cpu (no GPU: {backends.missing_gpu()})"]
    assert "CuPy is not installed" in caplog.records[0].getMessage()
    caplog.clear()
    install_cupy(cupy_stand_in.make())
    with caplog.at_level(logging.INFO, logger="gpunn"):
        assert resolve("auto").device == "cuda:0"
    assert [r.getMessage() for r in caplog.records] == ["device cuda:0 (a GPU is at hand)"]


def test_a_named_device_is_taken_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="gpunn"):
        assert resolve("reference").device == "reference"
        assert resolve(None).device == "cpu"
    assert not caplog.records
    assert choose("cpu") == ("cpu", "as asked")


def test_import_with_cupy_and_no_gpu(tmp_path: Path) -> None:
    """With CuPy installed and a runtime that raises, `import gpunn` and the CPU work."""
    (tmp_path / "cupy.py").write_text(
        "class _Runtime:\n"
        "    def __getattr__(self, name):\n"
        "        raise RuntimeError('cudaErrorInsufficientDriver: CUDA driver version is insufficient')\n"
        "class cuda:\n"
        "    runtime = _Runtime()\n"
    )
    program = (
        "import sys, backends, gpunn\n"
        "assert 'cupy' not in sys.modules\n"
        "print(gpunn.tensor([1.0, 2.0]).sum().item())\n"
        "print(backends.why_not('cuda'))\n"
        "print(backends.available())\n"
    )
    path = f"{tmp_path}:{ROOT}"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": path, "PATH": ""},
    )
    assert done.returncode == 0, done.stderr
    total, reason, devices = done.stdout.splitlines()
    assert total == "3.0"
    assert "cudaErrorInsufficientDriver" in reason
    assert devices == "['cpu', 'reference']"
