"""NVIDIA's run-time compiler by ctypes, from pip's packages: it compiles CUDA C for any GPU where there is none.

CuPy cannot be asked for this: it looks for a GPU first.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

INSTALL_HINT = "pip install nvidia-cuda-nvrtc-cu12==12.9.86 nvidia-cuda-runtime-cu12==12.9.79"
# The package, and the library and the headers under site-packages/nvidia. CUDA 12 comes first: of its version is the table.
PACKAGES = [
    ("nvidia-cuda-nvrtc-cu12", "cuda_nvrtc/lib/libnvrtc.so.12", "cuda_runtime/include"),
    ("nvidia-cuda-nvrtc", "cu13/lib/libnvrtc.so.13", "cu13/include"),
]


class CompileError(Exception):
    """The text does not compile; the message is the compiler's."""


class Found(NamedTuple):
    """An installed compiler: its version, its library, and the folder of cuda_fp16.h."""

    version: str
    library: Path
    headers: Path


def find() -> Found | None:
    """The installed compiler; None where there is none, or no headers for it."""
    specification = importlib.util.find_spec("nvidia")
    for folder in (specification and specification.submodule_search_locations) or ():
        for package, library, headers in PACKAGES:
            paths = Path(folder) / library, Path(folder) / headers
            if paths[0].is_file() and (paths[1] / "cuda_fp16.h").is_file():
                return Found(importlib.metadata.version(package), *paths)
    return None


def missing() -> str | None:
    """Why there is no compiler, and what to do; None where there is one."""
    return None if find() else f"NVRTC or its headers are not installed: {INSTALL_HINT}"


class Compiler:
    """NVRTC. Threads may compile side by side: the library works while Python's lock is let go."""

    def __init__(self, found: Found) -> None:
        self.found = found
        for builtins in sorted(found.library.parent.glob("libnvrtc-builtins.so.*")):
            ctypes.CDLL(str(builtins), mode=ctypes.RTLD_GLOBAL)  # CUDA 13's does not look beside itself for them
        self.library = ctypes.CDLL(str(found.library))

    def compile(self, text: str, name: str, architecture: str, options: Sequence[str] = ()) -> str:
        """Compile for "sm_90" or another architecture; the compiler's log, with what ptxas says of each kernel.

        The options are those that CuPy adds, and ``options``. ``name`` is the file's, for messages.
        """
        all_options = (
            *options,
            "-ftz=true",
            "--device-as-default-execution-space",
            f"-arch={architecture}",
            f"-I{self.found.headers}",
            "--ptxas-options=-v",
        )
        program = ctypes.c_void_p()
        self._check(self.library.nvrtcCreateProgram(ctypes.byref(program), text.encode(), name.encode(), 0, None, None))
        try:
            array = (ctypes.c_char_p * len(all_options))(*(option.encode() for option in all_options))
            status = self.library.nvrtcCompileProgram(program, len(all_options), array)
            size = ctypes.c_size_t()
            self._check(self.library.nvrtcGetProgramLogSize(program, ctypes.byref(size)))
            log = ctypes.create_string_buffer(size.value)
            self._check(self.library.nvrtcGetProgramLog(program, log))
        finally:
            self._check(self.library.nvrtcDestroyProgram(ctypes.byref(program)))
        message = log.value.decode()
        if status:
            raise CompileError(message or self._describe(status))
        return message

    def _check(self, status: int) -> None:
        if status:
            raise CompileError(self._describe(status))

    def _describe(self, status: int) -> str:
        self.library.nvrtcGetErrorString.restype = ctypes.c_char_p
        return str(self.library.nvrtcGetErrorString(status).decode())
