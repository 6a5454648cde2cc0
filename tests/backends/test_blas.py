"""Which kernels NumPy's OpenBLAS uses: chosen again where the processor can do more than it was taken for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from backends.cpu import blas

ROOT = Path(__file__).parents[2]
needs_avx512 = pytest.mark.skipif(
    not (blas.is_there() and blas.processor_flags() >= blas.AVX512), reason="needs OpenBLAS and AVX-512"
)


def taken_for(core: str, program: str, **environment: str) -> list[str]:
    """The lines that a program prints whose OpenBLAS has taken the processor for ``core``."""
    start = (
        "import os, numpy\ndel os.environ['OPENBLAS_CORETYPE']\nfrom backends.cpu import blas\nprint(blas.kernels())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", start + program],
        cwd=ROOT,
        env={**os.environ, "OPENBLAS_CORETYPE": core, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@needs_avx512
def test_it_chooses_again() -> None:
    program = (
        "print(blas.tune())\nprint(blas.kernels(), blas.products_are_right(), 'OPENBLAS_CORETYPE' in os.environ)\n"
        "print(blas.tune())\n"
    )
    before, said, after, again = taken_for("Haswell", program)
    assert before == "Haswell"
    assert said == again == "kernels for SkylakeX (OpenBLAS had chosen Haswell)"
    assert after == "SkylakeX True False"


@needs_avx512
def test_the_device_does_so() -> None:
    assert taken_for("Haswell", "import backends; backends.get('cpu'); print(blas.kernels())")[-1] == "SkylakeX"


@needs_avx512
def test_it_goes_back_where_products_are_wrong() -> None:
    program = "blas.products_are_right = lambda: False\nprint(blas.tune())\nprint(blas.kernels())"
    assert taken_for("Haswell", program)[1:] == [
        "kernels for Haswell (those for SkylakeX failed their check)",
        "Haswell",
    ]


@needs_avx512
@pytest.mark.parametrize(
    ("program", "environment", "reason"),
    [
        ("", {"GPUNN_BLAS_TUNING": "0"}, "GPUNN_BLAS_TUNING=0"),
        ("os.environ['OPENBLAS_CORETYPE'] = 'Haswell'", {}, "OPENBLAS_CORETYPE is set"),
        ("blas.processor_flags = lambda: frozenset({'avx2'})", {}, "the processor has no AVX-512"),
    ],
)
def test_it_is_left_alone(program: str, environment: dict[str, str], reason: str) -> None:
    lines = taken_for("Haswell", f"{program}\nprint(blas.tune())\nprint(blas.kernels())", **environment)
    assert lines == ["Haswell", f"kernels for Haswell ({reason})", "Haswell"]


def test_its_own_choice_stands() -> None:
    if blas.kernels() in (None, *blas.SLOWER):
        pytest.skip("OpenBLAS has not chosen better kernels by itself here")
    assert blas._tune() == f"kernels for {blas.kernels()} (its own choice)"


def test_the_check_sees_a_wrong_product(monkeypatch: pytest.MonkeyPatch) -> None:
    assert blas.products_are_right()
    monkeypatch.setattr(np.linalg, "solve", lambda a, b: b)
    assert not blas.products_are_right()
