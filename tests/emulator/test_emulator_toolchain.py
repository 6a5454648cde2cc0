"""The compiler and the cache: what is missing is said, nothing is stale, and many processes may build at once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from backends.emulator import toolchain
from backends.emulator.error import EmulatorError

ROOT = Path(__file__).parents[2]
BUILD = """
import sys
import numpy as np
from backends.emulator.module import Module
out = np.zeros(1, np.int32)
Module('extern "C" __global__ void f(int* out) { *out = 5; }', "f.cu").get_function("f")((1,), (1,), (out,))
print(out[0])
"""
CACHED = (toolchain.missing, toolchain._compiler, toolchain.cache_folder, toolchain.machine)


@pytest.fixture
def anew(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The toolchain looks around anew, now and when the test is over."""
    for function in CACHED:
        function.cache_clear()
    yield monkeypatch
    monkeypatch.undo()
    for function in CACHED:
        function.cache_clear()


def test_no_compiler(anew: pytest.MonkeyPatch) -> None:
    anew.setenv("PATH", "/nowhere")
    anew.delenv("CXX", raising=False)
    assert "no C++ compiler is found: the emulator needs g++ 9 or later" in str(toolchain.missing())
    with pytest.raises(EmulatorError, match="no C\\+\\+ compiler is found"):
        toolchain.build("", "f.cu")


def test_another_compiler(anew: pytest.MonkeyPatch, tmp_path: Path) -> None:
    named = tmp_path / "clang++"
    named.write_text("#!/bin/sh\necho 'clang version 19.1.0'\n")
    named.chmod(0o755)
    for command in (str(named), "no-such-compiler", " "):
        toolchain.missing.cache_clear()
        toolchain._compiler.cache_clear()
        anew.setenv("CXX", command)
        assert f"CXX={command} is not GCC 9 or later" in str(toolchain.missing())


def test_no_binutils(anew: pytest.MonkeyPatch, tmp_path: Path) -> None:
    compiler = tmp_path / "g++"
    compiler.write_text("#!/bin/sh\necho 'g++ (GCC) 12.2.0, Free Software Foundation'\n")
    compiler.chmod(0o755)
    anew.setenv("PATH", f"{tmp_path}:/nowhere")
    anew.setattr(toolchain.shutil, "which", lambda tool: str(compiler) if tool in ("g++", str(compiler)) else None)
    anew.delenv("CXX", raising=False)
    assert toolchain.missing() == "nm is not found: the emulator needs it; install binutils"


def test_another_system(anew: pytest.MonkeyPatch) -> None:
    anew.setattr(toolchain.platform, "system", lambda: "Darwin")
    assert str(toolchain.missing()).startswith("the emulator runs on Linux on x86_64 or aarch64, this is Darwin on ")


def test_a_folder_that_cannot_be_written_to(anew: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    anew.setenv("GPUNN_CACHE", str(tmp_path / "file" / "below"))
    folder = toolchain.cache_folder()
    assert folder.is_dir()
    assert tmp_path not in folder.parents


def test_the_cache_is_used(anew: pytest.MonkeyPatch, tmp_path: Path) -> None:
    anew.setenv("GPUNN_CACHE", str(tmp_path))
    text = '#include "cuda.h"\n'
    first = toolchain.build(text, "f.cu")
    assert first.parent == tmp_path / "emulator"
    before = first.stat().st_mtime_ns
    assert toolchain.build(text, "f.cu") == first
    assert first.stat().st_mtime_ns == before
    assert len({first, toolchain.build(text, "f.cu", ("-DX=1",)), toolchain.build(text + " ", "f.cu")}) == 3
    assert toolchain.build(text, "f.cu", checked=True) != first
    assert not [path for path in first.parent.iterdir() if path.is_dir()]


def test_many_processes_at_once(tmp_path: Path) -> None:
    (tmp_path / "emulator").mkdir()
    shutil.copy(toolchain.machine(), tmp_path / "emulator")  # which would take seconds to make
    environment = {**os.environ, "GPUNN_CACHE": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", BUILD]
    running = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert [process.communicate()[0] for process in running] == ["5\n"] * 4
    assert not [path for path in (tmp_path / "emulator").iterdir() if path.is_dir()]


def test_places_in_the_text() -> None:
    function = 'extern "C" __attribute__((visibility("default"))) int f(int* x) {\n  return *x;\n}\n'
    text = f'#include "cuda.h"\n#line 1 "own.cu"\n{function}'
    library = toolchain.build(text, "own.cu")
    listed = subprocess.run(["nm", str(library)], capture_output=True, text=True, check=True).stdout
    offset = next(int(line.split()[0], 16) for line in listed.splitlines() if line.endswith(" f"))
    assert toolchain.places(library, offset) in (["own.cu:1"], ["own.cu:2"])
