"""Compile every CUDA kernel for every architecture, and write the table of what each takes of a GPU.

    python scripts/kernel_resources.py [--check] [FILE ...]

Needs no GPU; takes minutes. Writes backends/cuda/kernels/RESOURCES.md; with --check it says whether the table there is up to
date; with names of files (activation, softmax, ...) it prints the part of these. A kernel that the compiler warns of, or that
keeps something in a thread's own slow memory, is an error.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import ml_dtypes  # noqa: F401 (gives NumPy the name "bfloat16")

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

import nvrtc  # noqa: E402

from backends.cuda import program  # noqa: E402

TABLE = program.FOLDER / "RESOURCES.md"
COMMAND = "python scripts/kernel_resources.py"
ARCHITECTURES = ("sm_75", "sm_80", "sm_90", "sm_100", "sm_120")
# Kernels that keep something in the thread's own slow memory, and why that is as it should be: {(file, kernel): reason}
STACK_ALLOWED: dict[tuple[str, str], str] = {}

ENTRY = re.compile(r"Compiling entry function '(\w+)'")
STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
USED = re.compile(r"Used (\d+) registers")
SHARED = re.compile(r"(\d+) bytes smem")
COMPLAINT = re.compile(r"\b(error|warning)( #[\w-]+)? *:")


class Resources(NamedTuple):
    """What one kernel takes: registers a thread; static shared memory a block; stack and spills a thread, in bytes."""

    registers: int
    shared: int
    stack: int
    spills: int


class Target(NamedTuple):
    """One compilation."""

    file: str
    dtype: str
    architecture: str


def targets(files: Sequence[str]) -> list[Target]:
    """Every file for every dtype and architecture."""
    return [Target(file, dtype, arch) for file in files for dtype in program.TYPES for arch in ARCHITECTURES]


def sample() -> list[Target]:
    """A quarter of `targets`: every file for every architecture, and for every dtype."""
    dtypes = list(program.TYPES)
    return [
        Target(file, dtypes[(row + column) % len(dtypes)], arch)
        for row, file in enumerate(program.files())
        for column, arch in enumerate(ARCHITECTURES)
    ]


def compile_all(compiler: nvrtc.Compiler, wanted: Sequence[Target]) -> dict[Target, str]:
    """The compiler's log of each compilation; that of one that fails begins with "error: "."""

    def log(target: Target) -> str:
        text = program.source(target.file)
        try:
            return compiler.compile(text, f"{target.file}.cu", target.architecture, program.options(target.dtype))
        except nvrtc.CompileError as error:
            return f"error: {error}"

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(wanted, pool.map(log, wanted), strict=True))


def resources(log: str) -> dict[str, Resources]:
    """What the log says of each kernel. The stack of a function that it calls counts as its own."""
    found: dict[str, Resources] = {}
    for part in re.split(r"(?=Compiling entry function)", log):
        entry = ENTRY.match(part)
        if entry:
            frames = [[int(number) for number in frame] for frame in STACK.findall(part)]
            shared = SHARED.search(part)
            found[entry[1]] = Resources(
                registers=max(int(registers) for registers in USED.findall(part)),
                shared=int(shared[1]) if shared else 0,
                stack=sum(stack for stack, _, _ in frames),
                spills=sum(stores + loads for _, stores, loads in frames),
            )
    return found


def complaints(logs: Mapping[Target, str]) -> list[str]:
    """What is wrong: errors and warnings of the compiler, kernels that it passed over, spills, and use of the stack."""
    found = []
    for target, log in logs.items():
        where = f"{target.file}.cu, {target.dtype}, {target.architecture}"
        said = [line for line in log.splitlines() if COMPLAINT.search(line)]
        measured = resources(log)
        missing = [] if said else sorted(program.signatures(program.source(target.file)).keys() - measured.keys())
        found += [f"{where}: {line}" for line in said]
        found += [f"{where}: {kernel} was not compiled" for kernel in missing]
        for kernel, used in measured.items():
            if used.spills:
                found.append(
                    f"{where}: {kernel} spills registers, {used.spills} bytes; it has {used.registers} of them"
                )
            elif used.stack and (target.file, kernel) not in STACK_ALLOWED:
                found.append(f"{where}: {kernel} has {used.stack} bytes of stack; index its arrays by constants")
    return found


def digest(file: str, version: str) -> str:
    """Of everything that the numbers of a file follow from: its text, the options, the compiler."""
    parts = [version, *ARCHITECTURES, program.source(file), *(str(program.options(dtype)) for dtype in program.TYPES)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def table(logs: Mapping[Target, str], version: str) -> str:
    """The text of RESOURCES.md, from the logs of all targets."""
    lines = [
        "# What the kernels take of a GPU",
        "",
        f"Registers a thread on each architecture, and static shared memory a block, as NVRTC {version} compiles them.",
        f"`{COMMAND}` writes this file, and a test compares. No kernel spills registers to memory.",
        "",
        "How many threads run side by side follows from it: an SM has 65,536 registers, and a thread takes the number here,",
        "rounded up to a multiple of 8. All 2,048 threads of sm_80, sm_90 and sm_100 fit with up to 32 registers; on sm_120,",
        "which has room for 1,536, with up to 40; on sm_75, with room for 1,024, with up to 64.",
    ]
    for file in dict.fromkeys(target.file for target in logs):
        lines += ["", *section(file, logs, version)]
    if STACK_ALLOWED:
        lines += ["", "## Stack", ""]
        lines += [f"- `{kernel}` of {file}.cu: {reason}" for (file, kernel), reason in STACK_ALLOWED.items()]
    return "\n".join(lines) + "\n"


def section(file: str, logs: Mapping[Target, str], version: str) -> list[str]:
    """The lines of one file. Dtypes for which a kernel takes the same share a row."""
    measured = {target: resources(log) for target, log in logs.items() if target.file == file}
    lines = [f"## {file}.cu", "", f"Of the text {digest(file, version)}.", ""]
    lines += ["| kernel | dtype | " + " | ".join(ARCHITECTURES) + " | shared memory |"]
    lines += ["|---|---|" + "--:|" * (len(ARCHITECTURES) + 1)]
    for kernel in program.signatures(program.source(file)):
        rows: dict[tuple[str, ...], list[str]] = {}
        for dtype in program.TYPES:
            each = [measured[Target(file, dtype, arch)][kernel] for arch in ARCHITECTURES]
            shared = max(used.shared for used in each)
            numbers = *(str(used.registers) for used in each), f"{shared:,} B" if shared else ""
            rows.setdefault(numbers, []).append(dtype)
        lines += [f"| {kernel} | {', '.join(dtypes)} | {' | '.join(row)} |" for row, dtypes in rows.items()]
    return lines


class Table(NamedTuple):
    """RESOURCES.md, read: the compiler's version, a digest for each file, and registers by target and kernel."""

    version: str
    digests: dict[str, str]
    registers: dict[tuple[Target, str], int]


def read_table(text: str) -> Table:
    """The inverse of `table`."""
    version, file, digests, registers = "", "", {}, {}
    for line in text.splitlines():
        if found := re.search(r"as NVRTC (\S+) compiles", line):
            version = found[1]
        elif found := re.match(r"## (\w+)\.cu", line):
            file = found[1]
        elif found := re.match(r"Of the text (\w+)\.", line):
            digests[file] = found[1]
        elif found := re.match(r"\| (\w+) \| ([\w, ]+) \| (\d.*) \| [^|]*\|$", line):
            for dtype in found[2].split(", "):
                for arch, number in zip(ARCHITECTURES, found[3].split(" | "), strict=True):
                    registers[Target(file, dtype, arch), found[1]] = int(number)
    return Table(version, digests, registers)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the table is not up to date")
    parser.add_argument("files", nargs="*", metavar="FILE", help="print the part of these, without the ending .cu")
    given = parser.parse_args(arguments)
    unknown = set(given.files) - set(program.files())
    if unknown:
        parser.error(f"no kernels/{min(unknown)}.cu: expected some of {', '.join(program.files())}")
    found = nvrtc.find()
    if found is None:
        sys.exit(nvrtc.missing())
    logs = compile_all(nvrtc.Compiler(found), targets(given.files or program.files()))
    wrong = complaints(logs)
    if wrong:
        sys.exit("\n".join(wrong))
    if given.files:
        print("\n".join(line for file in given.files for line in section(file, logs, found.version)))
        return
    text = table(logs, found.version)
    if not given.check:
        TABLE.write_text(text, encoding="utf-8")
        print(f"{len(logs)} compilations; wrote {TABLE}")
    elif not TABLE.exists() or TABLE.read_text(encoding="utf-8") != text:
        sys.exit(f"{TABLE.name} is not up to date: run {COMMAND}")


if __name__ == "__main__":
    main()
