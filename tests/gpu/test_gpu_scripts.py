"""`make test-gpu` and `make bench-gpu` where there is no GPU: one line that says what is missing, and exit code 2."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import backends

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(backends.missing_gpu() is None, reason="there is a GPU")


def run(*command: str, folder: Path = ROOT) -> Any:
    # Of the make that may have started these tests, another make shall not inherit the options.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "ARGS"))}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("script", ["device.py", "bench.py"])
def test_one_line_and_exit_code_2(script: str, tmp_path: Path) -> None:
    done = run(sys.executable, str(ROOT / "benchmarks" / "gpu" / script), folder=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == f"no GPU to run on: {backends.missing_gpu()}\n"


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize("target", ["test-gpu", "bench-gpu"])
def test_the_targets_of_make(target: str) -> None:
    before = {path.name for path in ROOT.iterdir()}
    done = run("make", target, f"PYTHON={sys.executable}")
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == f"no GPU to run on: {backends.missing_gpu()}"
    assert "Traceback" not in done.stderr
    assert "pytest" not in done.stdout
    assert {path.name for path in ROOT.iterdir()} == before  # no .venv was made
