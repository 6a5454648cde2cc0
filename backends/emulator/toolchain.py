"""The C++ compiler: whether there is one, and libraries made of CUDA C by it, kept on disk.

A library's file name is a hash of all that it is made of: its text, the headers that it includes, the options, the dialect, the
machine, the compiler and this file. So nothing in the cache is ever out of date, and several processes may fill it at once.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from .error import EmulatorError

DIALECT = Path(__file__).parent / "dialect"
MACHINE = Path(__file__).parent / "machine"
PROCESSORS = ("x86_64", "aarch64")
OLDEST_COMPILER = 9
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*["<]([^">]+)[">]', re.MULTILINE)

# -g1: lines and inlined calls only. Without contraction and reassociation a kernel computes the same in both modes.
COMMON = (
    "-std=c++17", "-g1", "-gdwarf-4", "-fPIC", "-pipe", "-ffp-contract=off", "-fno-math-errno", "-fno-strict-aliasing",
    "-fno-threadsafe-statics", "-fno-gnu-unique", "-fno-optimize-sibling-calls", "-fvisibility=hidden", "-fno-exceptions",
    "-fno-rtti", "-fsigned-char", "-U_FORTIFY_SOURCE", "-fno-stack-protector", "-w",
)  # fmt: skip
# The compiler puts calls of the machine's functions where memory is accessed or an operation may be undefined.
CHECKED = (
    "-O1", "-fsanitize=thread",
    "-fsanitize=bounds,alignment,shift,signed-integer-overflow,integer-divide-by-zero",
)  # fmt: skip
FAST = ("-O2",)
WITHOUT_CALLS = "--param=tsan-instrument-func-entry-exit=0"  # known since version 11
MACHINE_FLAGS = ("-std=c++17", "-O2", "-g1", "-fPIC", "-pipe", "-fvisibility=hidden", "-fno-exceptions", "-w")


class Symbol(NamedTuple):
    """A variable of a library: where it is from the library's begin, bytes, its name in the symbol table, and its kind."""

    offset: int
    size: int
    name: str
    kind: str  # one of nm's letters: r and R may only be read


class Compiler(NamedTuple):
    command: tuple[str, ...]
    version: str
    major: int


@cache
def missing() -> str | None:
    """None where the emulator works, else one line: what is missing, and what to do."""
    if platform.system() != "Linux" or platform.machine() not in PROCESSORS:
        return (
            f"the emulator runs on Linux on {' or '.join(PROCESSORS)}, this is {platform.system()} on "
            f"{platform.machine()}"
        )
    named = os.environ.get("CXX")
    found = _compiler()
    if found is None and named:
        return f"CXX={named} is not GCC {OLDEST_COMPILER} or later, which the emulator needs: install g++ and unset CXX"
    if found is None:
        return f"no C++ compiler is found: the emulator needs g++ {OLDEST_COMPILER} or later (Debian: apt install g++)"
    for tool in ("nm", "addr2line"):
        if shutil.which(tool) is None:
            return f"{tool} is not found: the emulator needs it; install binutils"
    return None


@cache
def _compiler() -> Compiler | None:
    """CXX, or else the first of g++ and c++ that is GCC: the only compiler with which the emulator is tested."""
    named = os.environ.get("CXX")
    for command in [named.split()] if named else [["g++"], ["c++"]]:
        if not command or shutil.which(command[0]) is None:
            continue
        version = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False).stdout
        number = re.search(r"\s(\d+)\.\d+", version)
        if "Free Software Foundation" in version and number and int(number[1]) >= OLDEST_COMPILER:
            return Compiler(tuple(command), version, int(number[1]))
    return None


def compiler() -> Compiler:
    found = _compiler()
    why = missing()
    if why is not None or found is None:
        raise EmulatorError(why or "no C++ compiler is found")
    return found


@cache
def cache_folder() -> Path:
    """GPUNN_CACHE/emulator or ~/.cache/gpunn/emulator; where that cannot be written to, a temporary folder."""
    named = os.environ.get("GPUNN_CACHE")
    folder = (Path(named) if named else Path.home() / ".cache" / "gpunn") / "emulator"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (OSError, RuntimeError):
        return Path(tempfile.mkdtemp(prefix="gpunn-emulator-"))


@cache
def machine() -> Path:
    """The library that runs threads and watches them."""
    sources = sorted(MACHINE.iterdir())
    command = [*compiler().command, *MACHINE_FLAGS, "-shared", "-lpthread"]
    name = f"machine-{_key(compiler().version, *command, *(path.read_text(encoding='utf-8') for path in sources))}.so"

    def make(target: Path) -> None:
        parts = [str(path) for path in sources if path.suffix == ".cpp"]
        _run([*command, f"-Wl,-soname,{name}", *parts, "-o", str(target)], "the emulator's machine")

    return _made(name, make)


@cache
def _dialect() -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(DIALECT.iterdir()))


def build(
    text: str, name: str, options: Sequence[str] = (), include_folders: Sequence[str | Path] = (), checked: bool = False
) -> Path:
    """The library made of ``text``, a whole C++ file in the dialect. ``name`` is the text's, for messages.

    EmulatorError, with the compiler's output as a note, where the compiler refuses the text.
    """
    found = compiler()
    flags = [*COMMON, *(CHECKED if checked else FAST), *options]
    if checked and found.major >= 11:
        flags.append(WITHOUT_CALLS)
    folders = [Path(folder).resolve() for folder in include_folders]
    headers = [path.read_text(encoding="utf-8") for path in _included(text, folders)]
    made_of = (found.version, *found.command, *flags, str(folders), _dialect(), machine().name, text, *headers)
    stem = re.sub(r"\W", "_", Path(name).stem)

    def make(target: Path) -> None:
        source = target.with_suffix(".cpp")
        source.write_text(text, encoding="utf-8")
        searched = [f"-I{folder}" for folder in (*folders, DIALECT)]
        compiled = target.with_suffix(".o")
        _run([*found.command, *flags, *searched, "-c", str(source), "-o", str(compiled)], name)
        # Linked without -fsanitize, which would bring the sanitizers' own libraries.
        _run([*found.command, "-shared", str(compiled), str(machine()), "-o", str(target)], name)
        listed = subprocess.run(["nm", "-S", str(target)], capture_output=True, text=True, check=True).stdout
        symbols = [line.split() for line in listed.splitlines()]
        data = [(int(s[0], 16), int(s[1], 16), s[3], s[2]) for s in symbols if len(s) == 4 and s[2] in "bBdDrRuvV"]
        _symbol_file(target).write_text(json.dumps(data), encoding="utf-8")

    return _made(f"{stem}-{_key(*made_of)}.so", make)


def symbols(library: Path) -> list[Symbol]:
    """The variables of a library that `build` made."""
    return [Symbol(*symbol) for symbol in json.loads(_symbol_file(library).read_text(encoding="utf-8"))]


def places(library: Path, offset: int) -> list[str]:
    """Where in the text the code at ``offset`` of a library comes from: "file:line", and of which calls it is a part.

    Calls in the dialect itself are left out.
    """
    command = ["addr2line", "-i", "-e", str(library), hex(offset)]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    own = {path.name for path in DIALECT.iterdir()}
    found = [(Path(file).name, line.split()[0]) for file, _, line in (x.rpartition(":") for x in listed.splitlines())]
    return [f"{file}:{line}" for file, line in found if file not in own and file != "??"]


def _included(text: str, folders: Sequence[Path]) -> list[Path]:
    """All headers of the given folders that a text includes, and that these include."""
    seen: list[Path] = []

    def look(text: str) -> None:
        for name in INCLUDE.findall(text):
            path = next((folder / name for folder in folders if (folder / name).is_file()), None)
            if path is not None and path not in seen:
                seen.append(path)
                look(path.read_text(encoding="utf-8"))

    look(text)
    return seen


@cache
def _recipe() -> str:
    return Path(__file__).read_text(encoding="utf-8")


def _key(*parts: str) -> str:
    return hashlib.sha256("\0".join((_recipe(), *parts)).encode()).hexdigest()[:24]


def _symbol_file(library: Path) -> Path:
    return library.with_suffix(".json")


def _made(name: str, make: Callable[[Path], None]) -> Path:
    """The file ``name`` of the cache, made by make(path) if it is not there.

    It is made in a folder of its own and then moved, the library last: nobody ever sees a part of it, and of several
    processes that make it at once the last one wins, with the same contents.
    """
    folder = cache_folder()
    target = folder / name
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            path = Path(temporary) / name
            make(path)
            if _symbol_file(path).exists():
                os.replace(_symbol_file(path), _symbol_file(target))
            os.replace(path, target)
    return target


def _run(command: list[str], what: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line]
        error = EmulatorError(f"{what} cannot be compiled: {(lines or done.stderr.splitlines() or ['no message'])[0]}")
        error.add_note(done.stderr)
        raise error
