"""Every kernel compiles for every architecture, without a GPU, without a warning and without a spill."""

from __future__ import annotations

import importlib.machinery
import importlib.metadata
import importlib.util
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import kernel_resources
import nvrtc
import pytest
from kernel_resources import ARCHITECTURES, COMMAND, Target

from backends.cuda import program


@pytest.fixture(scope="module")
def compiler() -> nvrtc.Compiler:
    found = nvrtc.find()
    if found is None:
        pytest.skip(str(nvrtc.missing()))
    return nvrtc.Compiler(found)


@pytest.fixture(scope="module")
def logs(compiler: nvrtc.Compiler) -> dict[Target, str]:
    """Of each file for each architecture and for each dtype; all pairs of the two take minutes, see --check of the script."""
    return kernel_resources.compile_all(compiler, kernel_resources.sample())


# The kernels of the project


def test_every_kernel_compiles_without_warning_and_spill(logs: dict[Target, str]) -> None:
    assert {(target.file, target.architecture) for target in logs} == {
        (file, arch) for file in program.files() for arch in ARCHITECTURES
    }
    assert {(target.file, target.dtype) for target in logs} == {
        (file, dtype) for file in program.files() for dtype in program.TYPES
    }
    complaints = kernel_resources.complaints(logs)
    assert not complaints, "\n".join(complaints)


def test_the_table_is_up_to_date(compiler: nvrtc.Compiler, logs: dict[Target, str]) -> None:
    """It is of these very texts; and what was compiled here takes what it says."""
    table = kernel_resources.TABLE
    read = kernel_resources.read_table(table.read_text(encoding="utf-8") if table.exists() else "")
    expected = {file: kernel_resources.digest(file, read.version) for file in program.files()}
    changed = sorted(file for file in expected | read.digests if expected.get(file) != read.digests.get(file))
    assert not changed, f"RESOURCES.md is not of the present text of {', '.join(changed)}: run {COMMAND}"
    if compiler.found.version == read.version:  # another one may well assign registers differently
        for target, log in logs.items():
            for kernel, used in kernel_resources.resources(log).items():
                assert used.registers == read.registers[target, kernel], f"{target}: {kernel}; run {COMMAND}"


# The compiler and its log, on kernels of our own

SUM = """
extern "C" __global__ void __launch_bounds__(256) total(const SCALAR* __restrict__ x, float* __restrict__ out, int n) {
  __shared__ float part[256];
  float sum = 0;
  for (int i = threadIdx.x; i < n; i += 256) sum += (float)x[i];
  part[threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int i = 1; i < 256; i++) sum += part[i];
    *out = sum;
  }
}
"""
# Which element is read is not known before the kernel runs, so that the array cannot live in registers.
STACK = """
extern "C" __global__ void pick(const float* __restrict__ x, float* __restrict__ out, int which) {
  float kept[24];
  for (int i = 0; i < 24; i++) kept[i] = x[i] * x[23 - i] + x[which + i];
  for (int i = 0; i < 24; i++) kept[(which + i) % 24] += kept[i];
  out[threadIdx.x] = kept[(which + threadIdx.x) % 24];
}
"""
PLAIN = """
#ifdef SCALAR_HEADER
#include SCALAR_HEADER
#endif
extern "C" __global__ void copy(const SCALAR* __restrict__ x, SCALAR* __restrict__ out) { out[threadIdx.x] = x[threadIdx.x]; }
"""


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Puts files of the given names and texts in the place of the project's kernels; two architectures."""

    def put(**texts: str) -> None:
        program.source.cache_clear()
        for name, text in texts.items():
            (tmp_path / f"{name}.cu").write_text(text, encoding="utf-8")

    monkeypatch.setattr(program, "FOLDER", tmp_path)
    monkeypatch.setattr(kernel_resources, "TABLE", tmp_path / "RESOURCES.md")
    monkeypatch.setattr(kernel_resources, "ARCHITECTURES", ("sm_80", "sm_90"))
    yield put
    program.source.cache_clear()


def test_resources_are_read_from_the_log(compiler: nvrtc.Compiler) -> None:
    used = kernel_resources.resources(compiler.compile(SUM + STACK, "both.cu", "sm_90", ["-DSCALAR=float"]))
    assert used.keys() == {"total", "pick"}
    assert used["total"].shared == 1024
    assert used["total"].stack == used["total"].spills == 0
    assert 8 <= used["total"].registers <= 64
    assert used["pick"].stack == 96
    assert used["pick"].shared == used["pick"].spills == 0
    few = compiler.compile(STACK, "pick.cu", "sm_90", ["--maxrregcount=24"])
    assert kernel_resources.resources(few)["pick"].registers == 24
    assert kernel_resources.resources(few)["pick"].spills > 0


def test_errors_name_file_and_line(compiler: nvrtc.Compiler) -> None:
    with pytest.raises(nvrtc.CompileError, match=r'sum\.cu\(5\): error: identifier "y" is undefined'):
        compiler.compile(SUM.replace("(float)x[i]", "(float)y[i]"), "sum.cu", "sm_90", ["-DSCALAR=float"])
    with pytest.raises(nvrtc.CompileError, match="invalid value for --gpu-architecture"):
        compiler.compile(SUM, "sum.cu", "sm_42", ["-DSCALAR=float"])


def of(target: Target, text: str, compiler: nvrtc.Compiler, *options: str) -> list[str]:
    """What `complaints` makes of a text that stands in the place of kernels/<file>.cu."""
    return kernel_resources.complaints(
        {target: compiler.compile(text, f"{target.file}.cu", target.architecture, options)}
    )


def test_complaints(compiler: nvrtc.Compiler, kernels: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    kernels(sum=SUM, pick=STACK)
    total, pick = Target("sum", "float32", "sm_90"), Target("pick", "float32", "sm_90")
    assert of(total, SUM, compiler, "-DSCALAR=float") == []
    assert of(total, SUM.replace("float sum = 0;", "float sum = 0; int unused;"), compiler, "-DSCALAR=float") == [
        'sum.cu, float32, sm_90: sum.cu(4): warning #177-D: variable "unused" was declared but never referenced'
    ]
    assert of(total, "", compiler) == ["sum.cu, float32, sm_90: total was not compiled"]
    assert of(pick, STACK, compiler) == [
        "pick.cu, float32, sm_90: pick has 96 bytes of stack; index its arrays by constants"
    ]
    (spilled,) = of(pick, STACK, compiler, "--maxrregcount=24")
    assert re.search(r"pick spills registers, \d+ bytes; it has 24 of them", spilled)
    monkeypatch.setattr(kernel_resources, "STACK_ALLOWED", {("pick", "pick"): "a list that is looked up"})
    assert of(pick, STACK, compiler) == []
    assert len(of(pick, STACK, compiler, "--maxrregcount=24")) == 1  # a spill is never allowed


def test_the_script(compiler: nvrtc.Compiler, kernels: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    kernels(plain=PLAIN)
    with pytest.raises(SystemExit, match=r"RESOURCES\.md is not up to date: run python scripts/kernel_resources\.py"):
        kernel_resources.main(["--check"])
    kernel_resources.main([])
    assert capsys.readouterr().out.startswith("8 compilations; wrote ")
    kernel_resources.main(["--check"])
    text = kernel_resources.TABLE.read_text(encoding="utf-8")
    read = kernel_resources.read_table(text)
    assert read.version == compiler.found.version
    assert read.digests == {"plain": kernel_resources.digest("plain", read.version)}
    logs = kernel_resources.compile_all(compiler, kernel_resources.targets(["plain"]))
    assert read.registers == {
        (target, "copy"): kernel_resources.resources(log)["copy"].registers for target, log in logs.items()
    }
    kernel_resources.main(["plain"])
    printed = capsys.readouterr().out
    assert printed.startswith("## plain.cu")
    assert printed.strip() in text
    kernels(plain=PLAIN + "// another text")
    with pytest.raises(SystemExit, match="not up to date"):
        kernel_resources.main(["--check"])
    assert read.digests != {"plain": kernel_resources.digest("plain", read.version)}
    kernels(broken="no C")
    with pytest.raises(SystemExit, match=r"broken\.cu, float32, sm_80: error: broken\.cu\(1\): error: "):
        kernel_resources.main([])
    with pytest.raises(SystemExit):
        kernel_resources.main(["unknown"])
    assert "no kernels/unknown.cu: expected some of broken, plain" in capsys.readouterr().err


def test_the_script_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvrtc, "find", lambda: None)
    with pytest.raises(SystemExit, match="NVRTC or its headers are not installed: pip install nvidia-cuda-nvrtc-cu12"):
        kernel_resources.main([])


# Where the compiler is


def test_the_compiler_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of CUDA 13 alone, and of CUDA 12 where both are installed; not without headers."""

    def installed(*paths: str) -> nvrtc.Found | None:
        for path in paths:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).touch()
        return nvrtc.find()

    here = importlib.machinery.ModuleSpec("nvidia", None, is_package=True)
    here.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: here)
    monkeypatch.setattr(importlib.metadata, "version", {"nvidia-cuda-nvrtc": "13", "nvidia-cuda-nvrtc-cu12": "12"}.get)
    assert installed() is None
    assert installed("cu13/lib/libnvrtc.so.13") is None
    assert installed("cu13/include/cuda_fp16.h") == (
        "13", tmp_path / "cu13/lib/libnvrtc.so.13", tmp_path / "cu13/include"
    )  # fmt: skip
    assert installed("cuda_nvrtc/lib/libnvrtc.so.12", "cuda_runtime/include/cuda_fp16.h") == (
        "12", tmp_path / "cuda_nvrtc/lib/libnvrtc.so.12", tmp_path / "cuda_runtime/include"
    )  # fmt: skip
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert installed() is None
    assert nvrtc.missing() is not None
