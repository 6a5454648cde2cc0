"""Bugs to plant in the kernels, one at a time, each with the test that must catch it.

scripts/replay_planted_bugs.py plants every one and runs its test; PLANTED_BUGS.md holds what it saw.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from backends.cuda import program


@dataclass(frozen=True)
class Bug:
    """In file ``file`` of kernels/, the one place that reads ``old`` becomes ``new``.

    ``test`` is what catches it: a file of this folder, ``::`` and a test.
    """

    name: str
    file: str
    old: str
    new: str
    test: str

    def text(self) -> str:
        """The file with the bug in it."""
        whole = program.text_of(self.file)
        count = whole.count(self.old)
        assert count == 1, f"{self.name}: expected {self.old!r} once in {self.file}, found it {count} times"
        return whole.replace(self.old, self.new)


ACTIVATION = "test_cuda_activation.py::test_tails"

BUGS = [
    Bug("relu swallows NaN", "activation_functions.cuh", "A relu(A x) { return x <= A(0) ? A(0) : x; }",
        "A relu(A x) { return x > A(0) ? x : A(0); }", "test_cuda_activation.py::test_nan_infinities_and_zeros"),
    Bug("tail of a row of packs forgotten", "map.cuh",
        "i < count; i += thread_count()) out[i] = (scalar)f((accumulator)x[i]);",
        "i < packs * PACK; i += thread_count()) out[i] = (scalar)f((accumulator)x[i]);", ACTIVATION),
    Bug("pack read past the end", "map.cuh",
        "is_aligned(x) && is_aligned(out) ? count / PACK : 0", "is_aligned(x) && is_aligned(out) ? (count + PACK - 1) / PACK : 0",
        ACTIVATION),
    Bug("packs of memory that is not aligned", "map.cuh",
        "is_aligned(x) && is_aligned(out) ? count / PACK : 0", "is_aligned(out) ? count / PACK : 0",
        "test_cuda_activation.py::test_any_place_in_memory"),
    Bug("each thread takes one pack only", "map.cuh",
        "for (i64 i = thread_index(); i < packs; i += thread_count()) {\n    const Pack in",
        "for (i64 i = thread_index(); i < packs; i += packs) {\n    const Pack in",
        "test_cuda_activation.py::test_more_elements_than_threads"),
    Bug("gradient of softplus without beta", "activation_functions.cuh", "dout * sigmoid(beta * x)", "dout * sigmoid(x)",
        ACTIVATION),
    Bug("gradient of elu without alpha", "activation_functions.cuh", "dout * (alpha * exp(x))", "dout * exp(x)", ACTIVATION),
    Bug("sigmoid overflows", "activation_functions.cuh", "exp(x < A(0) ? x : -x)", "exp(-x)",
        "test_cuda_activation.py::test_nan_infinities_and_zeros"),
    Bug("half precision computed in half precision", "map.cuh",
        "result.at[k] = (scalar)f((accumulator)left.at[k], (accumulator)right.at[k]);",
        "result.at[k] = (scalar)(accumulator)((scalar)f((accumulator)left.at[k], (accumulator)(scalar)1) * right.at[k]);",
        ACTIVATION),
]  # fmt: skip


def plant(name: str) -> None:
    """From now on the kernels have the bug ``name``."""
    bug = next(bug for bug in BUGS if bug.name == name)
    folder = Path(tempfile.mkdtemp(prefix="gpunn-bug-")) / "kernels"
    shutil.copytree(program.FOLDER, folder)
    altered = bug.text()
    (folder / bug.file).write_text(altered, encoding="utf-8")
    program.FOLDER = folder
    program.source.cache_clear()
