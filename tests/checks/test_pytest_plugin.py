"""The mark ``every_device``, in a run of pytest that knows nothing of this repository's own fixtures."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import backends

ROOT = Path(__file__).parents[2]


def run(folder: Path, program: str, *arguments: str) -> tuple[int, str]:
    (folder / "test_theirs.py").write_text(program)
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\n")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "gpunn.checks.pytest_plugin",
            "-p",
            "no:cacheprovider",
            "-v",
            "-rs",
            *arguments,
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_marked_test_runs_on_every_device(tmp_path: Path) -> None:
    code, out = run(tmp_path, """
import pytest, gpunn

@pytest.fixture
def ones(device):
    return gpunn.ones(3, device=device)

@pytest.mark.every_device
def test_theirs(device, ones):
    assert ones.device == device
""")  # fmt: skip
    assert code == 0, out
    for name in backends.available():
        assert f"test_theirs[{name}] PASSED" in out
    assert out.index("[reference]") < out.index("[cpu]")


def test_devices_by_name(tmp_path: Path) -> None:
    code, out = run(tmp_path, """
import pytest

@pytest.mark.every_device("cpu", "cuda:99")
def test_theirs(device):
    assert device == "cpu"
""")  # fmt: skip
    assert code == 0, out
    assert "1 passed, 1 skipped" in out
    assert "device 'cuda:99' cannot be had" in out
    assert "[reference]" not in out


def test_other_tests_are_left_alone(tmp_path: Path) -> None:
    code, out = run(tmp_path, """
import sys
import pytest

@pytest.fixture
def device():
    return "their own"

def test_theirs(device):
    assert device == "their own"
    assert not {"cupy", "torch", "matplotlib", "PIL"} & set(sys.modules)
""")  # fmt: skip
    assert code == 0, out
    assert "1 passed" in out


def test_a_mark_without_the_argument(tmp_path: Path) -> None:
    code, out = run(tmp_path, """
import pytest

@pytest.mark.every_device
def test_theirs():
    pass
""")  # fmt: skip
    assert code != 0
    assert "takes the name of the device; give it an argument `device`" in out


def test_the_mark_is_documented(tmp_path: Path) -> None:
    assert "@pytest.mark.every_device(*names): " in run(tmp_path, "", "--markers")[1]
