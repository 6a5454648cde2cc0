"""The OpenBLAS that NumPy's wheels bring: how many threads it takes, and which kernels.

It chooses its kernels when NumPy is imported, by the processor's model, and takes a model that is newer than it for an older
one: a Zen 5, say, for a Haswell, whose kernels know AVX2 only. With those for AVX-512 its products are up to twice as fast
there. OpenBLAS can be made to choose again (`gotoblas_dynamic_quit` and `_init`, which are not in its manual); this is done
under guards: both functions are there, the processor has what the kernels use, the user has not chosen (OPENBLAS_CORETYPE),
and products are right afterwards, else it is undone. GPUNN_BLAS_TUNING=0 leaves OpenBLAS as it is.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

# What OpenBLAS's kernels for SkylakeX use, as /proc/cpuinfo names it.
AVX512 = frozenset({"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl", "fma"})
FASTER, SLOWER = "SkylakeX", ("Haswell", "Zen", "Excavator")
NAMES = (("scipy_openblas_", "64_"), ("openblas_", "64_"), ("scipy_openblas_", ""), ("openblas_", ""))


@cache
def _library() -> tuple[ctypes.CDLL, str, str] | None:
    """The library that NumPy has loaded, and what its functions' names begin and end with; None where it is another BLAS."""
    folder = Path(np.__file__).parent
    for file in sorted([*folder.parent.glob("numpy.libs/*openblas*"), *folder.glob(".dylibs/*openblas*")]):
        try:
            library = ctypes.CDLL(str(file))  # already loaded by NumPy: this is the same copy
        except OSError:
            continue
        for prefix, suffix in NAMES:
            if hasattr(library, f"{prefix}set_num_threads{suffix}"):
                return library, prefix, suffix
    return None


def is_there() -> bool:
    return _library() is not None


def set_threads(count: int) -> None:
    """How many threads OpenBLAS takes for a product; nothing happens where NumPy has another BLAS."""
    setter = _setter()
    if setter is not None:
        setter(count)


@cache
def _setter() -> Any:
    found = _library()
    if found is None:
        return None
    library, prefix, suffix = found
    setter = getattr(library, f"{prefix}set_num_threads{suffix}")
    setter.argtypes, setter.restype = [ctypes.c_int], None
    return setter


def threads() -> int | None:
    found = _library()
    return None if found is None else int(getattr(found[0], f"{found[1]}get_num_threads{found[2]}")())


def kernels() -> str | None:
    """The processor for which OpenBLAS took its kernels: "Haswell", "SkylakeX", ..."""
    found = _library()
    if found is None:
        return None
    name = getattr(found[0], f"{found[1]}get_corename{found[2]}")
    name.restype = ctypes.c_char_p
    return str(name().decode())


_tuned: str | None = None


def tune() -> str:
    """Let OpenBLAS take its kernels for AVX-512 where it did not though it could; says what was done. Once a process.

    No other thread may be within NumPy's linear algebra meanwhile: it takes a few milliseconds.
    """
    global _tuned
    if _tuned is None:
        _tuned = _tune()
    return _tuned


def _tune() -> str:
    before = kernels()
    if before is None:
        return "another BLAS than OpenBLAS"
    reason = _why_not(before)
    if reason is not None:
        return f"kernels for {before} ({reason})"
    _choose(FASTER)
    if kernels() == FASTER and products_are_right():
        return f"kernels for {FASTER} (OpenBLAS had chosen {before})"
    _choose(before)
    return f"kernels for {before} (those for {FASTER} failed their check)"


def _why_not(before: str) -> str | None:
    """Why OpenBLAS is left alone; None where it is to choose again."""
    if os.environ.get("GPUNN_BLAS_TUNING") == "0":
        return "GPUNN_BLAS_TUNING=0"
    if os.environ.get("OPENBLAS_CORETYPE"):
        return "OPENBLAS_CORETYPE is set"
    if before not in SLOWER:
        return "its own choice"
    if not processor_flags() >= AVX512:
        return "the processor has no AVX-512"
    found = _library()
    if found is None or not all(hasattr(found[0], name) for name in ("gotoblas_dynamic_init", "gotoblas_dynamic_quit")):
        return "this OpenBLAS cannot choose again"
    return None


def _choose(core: str) -> None:
    """Make OpenBLAS take the kernels for ``core``; it reads the name from the environment of the C library."""
    found = _library()
    assert found is not None
    os.environ["OPENBLAS_CORETYPE"] = core
    try:
        found[0].gotoblas_dynamic_quit()
        found[0].gotoblas_dynamic_init()
    finally:
        del os.environ["OPENBLAS_CORETYPE"]


def processor_flags() -> frozenset[str]:
    """What the processor can do, as Linux names it; nothing elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), []))


def products_are_right() -> bool:
    """Whether products, a solution and a decomposition agree with NumPy's own loops, in float32 and float64."""
    for dtype, tolerance in ((np.float32, 1e-4), (np.float64, 1e-12)):
        a = np.cos(np.arange(67 * 130, dtype=dtype)).reshape(67, 130)
        b = np.sin(np.arange(130 * 45, dtype=dtype)).reshape(130, 45)
        square = a[:, :67] + 67 * np.eye(67, dtype=dtype)
        wanted = np.einsum("ik,kj->ij", a, b, optimize=False)
        u, s, v = np.linalg.svd(square)
        checks = (
            (a @ b, wanted),
            (a.T.copy().T @ b, wanted),
            (a @ b[:, 0], wanted[:, 0]),
            (square @ np.linalg.solve(square, a), a),
            ((u * s) @ v, square),
        )
        for found, expected in checks:
            if not np.allclose(found, expected, rtol=tolerance, atol=tolerance * float(np.abs(expected).max())):
                return False
    return True
