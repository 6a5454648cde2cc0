"""How kernels are compiled and kept: lazily, once, on disk; every case in a fresh process with its own cache."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from backends.cpu.compiled import compiler

pytest.importorskip("numba")
ROOT = Path(__file__).parents[2]
INNER = """
from backends.cpu.compiled import compiled

@compiled
def plus(x):
    return x + {number}
"""
OUTER = """
from backends.cpu.compiled import compiled
from inner import plus

@compiled
def fill(x, out):
    for i in range(len(x)):
        out[i] = plus(x[i])
"""
SCRIPT = """
import sys
import outer
assert "numba" not in sys.modules
{preparation}
import numpy as np
x, out = np.arange(3.0), np.empty(3)
x.flags.writeable = False
outer.fill(x, out)
assert len(outer.fill.dispatcher.signatures) == 1
hits = outer.fill.dispatcher.stats.cache_hits
print(out.tolist(), sum(hits.values()))
"""


def run(folder: Path, cache: str, number: int = 1, preparation: str = "") -> tuple[str, str]:
    (folder / "inner.py").write_text(INNER.format(number=number))
    (folder / "outer.py").write_text(OUTER)
    environment = {**os.environ, "GPUNN_CACHE": cache, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"  # a module that is rewritten within a second would be found stale
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(preparation=preparation)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr.strip()


def test_kept_on_disk_until_a_kernel_that_is_called_changes(tmp_path: Path) -> None:
    cache = str(tmp_path / "cache")
    line = "compiling CPU kernels, first run only"
    assert run(tmp_path, cache) == ("[1.0, 2.0, 3.0] 0", line)
    assert run(tmp_path, cache) == ("[1.0, 2.0, 3.0] 1", "")
    assert run(tmp_path, cache, number=5) == ("[5.0, 6.0, 7.0] 0", line)


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert run(tmp_path, str(tmp_path / "file" / "below"))[0].startswith("[1.0, 2.0, 3.0]")
    full = """
from numba.core import caching
def fail(*arguments):
    raise OSError(28, "No space left on device")
caching.FunctionCache.save_overload = fail
"""
    assert run(tmp_path, str(tmp_path / "cache"), preparation=full)[0].startswith("[1.0, 2.0, 3.0]")


def test_whether_kernels_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GPUNN_COMPILED", raising=False)
    assert compiler.is_available()
    monkeypatch.setenv("GPUNN_COMPILED", "0")
    assert not compiler.is_available()
    monkeypatch.setenv("GPUNN_COMPILED", "1")
    monkeypatch.setattr(compiler, "_has_numba", lambda: False)
    assert not compiler.is_available()


def test_a_protected_array_is_handed_over_without_a_copy() -> None:
    protected = np.arange(6.0).reshape(2, 3)
    protected.flags.writeable = False
    plain = compiler._plain(protected)
    assert plain.flags.writeable and np.shares_memory(plain, protected) and np.array_equal(plain, protected)
    address = plain.ctypes.data
    del protected
    assert plain.ctypes.data == address and plain[1, 2] == 5


@compiler.compiled
def _moved(x: int, distance: int) -> int:
    return x + distance


@compiler.compiled
def _moved_twice(x: int) -> int:
    return _moved(_moved(x, 2), x)


def test_a_constant_argument_is_no_reason_to_compile_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GPUNN_CACHE", str(tmp_path))  # nothing of an earlier run
    assert _moved_twice(3) == 8
    assert len(_moved.dispatcher.signatures) == 1


@compiler.compiled(reassociate=True)
def _summed(x: np.ndarray) -> float:
    total = 0.0
    for i in range(len(x)):
        total += x[i]
    return total


@compiler.compiled
def _summed_by_another(x: np.ndarray) -> float:
    return _summed(x)


def test_no_kernel_calls_one_whose_sums_are_in_parallel_lanes() -> None:
    x = np.arange(5.0)
    assert _summed(x) == 10
    with pytest.raises(TypeError, match="another kernel calls _summed, whose sums are in parallel lanes: give"):
        _summed_by_another(x)
