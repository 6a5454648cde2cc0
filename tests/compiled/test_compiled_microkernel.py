"""The micro-kernels against NumPy in float64, for every number of rows, with the vectors of AVX-512 and of AVX2."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from operations.harness import assert_within_budget

pytest.importorskip("numba")

from backends.cpu.compiled.compiler import compiled
from backends.cpu.compiled.dots import dots
from backends.cpu.compiled.microkernel import (
    copy_rows,
    expect,
    narrow_panel,
    panel,
    panel_ahead,
    panel_beside,
    panel_expecting,
    scattered_product,
    width,
)
from backends.cpu.compiled.vectors import vector_lanes

ROWS = [*range(1, 14), 16, 24, 30]


@compiled
def _widths(found: Any) -> None:
    found[0], found[1] = width(), vector_lanes()


def widths() -> tuple[int, int]:
    found = np.zeros(2, np.int64)
    _widths(found)
    return int(found[0]), int(found[1])


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def guarded(rows: int, columns: int, spare: int) -> tuple[np.ndarray, np.ndarray]:
    """Memory around an array (rows, columns) that begins at a multiple of 64 bytes, as its rows do; filled with one number."""
    step = -(-columns // 16) * 16 + spare
    memory = np.full((rows + 2) * step + 16, 7, np.float32)
    first = -memory.ctypes.data % 64 // 4
    block = memory[first : first + (rows + 2) * step].reshape(rows + 2, step)
    return memory, block[1 : rows + 1, :columns]


def assert_nothing_else_written(memory: np.ndarray, c: np.ndarray) -> None:
    c[...] = 7
    assert (memory == 7).all()


def offsets(count: int, step: int) -> np.ndarray:
    return np.arange(count, dtype=np.int64) * step


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("terms", [1, 2, 37])
@pytest.mark.parametrize("rows", ROWS)
def test_panels(rows: int, terms: int, transposed: bool) -> None:
    a, both = draw(rows, terms), widths()
    stored = np.ascontiguousarray(a.T) if transposed else a
    row_step, term_step = (4, 4 * rows) if transposed else (4 * terms, 4)
    for kernel in (panel, narrow_panel, panel_ahead, panel_expecting, panel_beside):
        columns = both[1] if kernel is narrow_panel else both[0]
        b = draw(terms, columns + 3, seed=1)
        memory, c = guarded(rows, columns, 16)
        product = a.astype("float64") @ b[:, :columns]
        to_a, to_b = offsets(terms, term_step), offsets(terms, b.strides[0])
        given = (rows, terms, stored.ctypes.data, row_step, to_a.ctypes.data, b.ctypes.data, to_b.ctypes.data)
        if kernel is panel_beside:
            kernel(*given, c.ctypes.data, c.strides[0])
            assert_within_budget(c, product, terms, 1, "beside the caches", 1.0)
        else:
            for turn in (0, 1):
                later = (4 * columns,) if kernel is panel_ahead else ()
                kernel(*given, c.ctypes.data, c.strides[0], turn, *later)
                assert_within_budget(c, product * (1 + turn), terms + turn, 1, kernel.__name__, 1.0)
        assert_nothing_else_written(memory, c)


@compiled
def _copy(source: int, source_step: int, target: int, target_step: int, rows: int) -> None:
    expect(target, target_step, rows)
    copy_rows(source, source_step, target, target_step, rows)


@pytest.mark.parametrize("rows", [1, 5])
def test_rows_are_copied(rows: int) -> None:
    columns, source = widths()[0], draw(5, widths()[0] + 3)
    memory, target = guarded(rows, columns, 16)
    _copy(source.ctypes.data, source.strides[0], target.ctypes.data, target.strides[0], rows)
    np.testing.assert_array_equal(target, source[:rows, :columns])
    assert_nothing_else_written(memory, target)


@pytest.mark.parametrize("terms", [0, 1, 37])
@pytest.mark.parametrize("rows", ROWS)
def test_rows_that_lie_anywhere(rows: int, terms: int) -> None:
    """A's rows and C's by tables, both columns of blocks, terms in several runs."""
    columns = 2 * widths()[0]
    a, b = draw(rows, 40), draw(40, columns, seed=1)
    memory, c = guarded(rows, columns, 16)
    order, chosen = np.random.default_rng(2).permutation(rows), np.random.default_rng(3).permutation(40)[:terms]
    tables = [order * 160, chosen * 4, chosen * b.strides[0], order * c.strides[0]]
    a_rows, a_terms, b_terms, c_rows = (table.astype(np.int64) for table in tables)
    product = a[:, chosen].astype("float64") @ b[chosen]
    before = c.copy()
    for turn in (0, 1):
        scattered_product(
            rows, columns - 1, terms, 10, a.ctypes.data, a_rows.ctypes.data, a_terms.ctypes.data, b.ctypes.data,
            b_terms.ctypes.data, c.ctypes.data, c_rows.ctypes.data, turn,
        )  # fmt: skip
        if terms > 0:
            assert_within_budget(c, product * (1 + turn), terms + turn, 1, "scattered", 1.0)
        else:
            np.testing.assert_array_equal(c, before)
    assert_nothing_else_written(memory, c)


def test_a_panel_does_not_depend_on_how_its_columns_are_cut() -> None:
    """A column has the same bits in a wide panel and in a narrow one, and whatever rows are with it."""
    wide, lanes = widths()
    a, b, terms = draw(11, 50), draw(50, wide, seed=1), 50
    to_a, to_b = offsets(terms, 4), offsets(terms, b.strides[0])
    one, two = np.empty((11, wide), np.float32), np.empty((11, wide), np.float32)
    panel(
        11, terms, a.ctypes.data, 200, to_a.ctypes.data, b.ctypes.data, to_b.ctypes.data, one.ctypes.data, 4 * wide, 0
    )
    for r in range(11):
        for j in range(0, wide, lanes):
            narrow_panel(
                1, terms, a[r:].ctypes.data, 200, to_a.ctypes.data, b[:, j:].ctypes.data, to_b.ctypes.data,
                two[r:, j:].ctypes.data, 4 * wide, 0,
            )  # fmt: skip
    assert one.tobytes() == two.tobytes()


@pytest.mark.parametrize("vectors", [1, 2, 5])
@pytest.mark.parametrize("rows", ROWS)
def test_dots(rows: int, vectors: int) -> None:
    terms = vectors * widths()[1]
    x, w = draw(rows, terms + 1), draw(4, terms + 5, seed=1)
    memory, c = guarded(rows, 4, 16)
    product = x[:, :terms].astype("float64") @ w[:, :terms].T
    starts = [w[q:].ctypes.data for q in range(4)]
    for turn in (0, 1):
        dots(rows, terms, x.ctypes.data, x.strides[0], *starts, c.ctypes.data, c.strides[0], turn, 0, 0)
        assert_within_budget(c, product * (1 + turn), terms + turn, 1, "dots", 1.0)
    assert_nothing_else_written(memory, c)


def test_dots_of_one_row_four_times() -> None:
    """The last rows of W may stand in for some that are not there."""
    lanes = widths()[1]
    x, w, c = draw(3, lanes), draw(2, lanes, seed=1), np.empty((3, 4), np.float32)
    first, second = w.ctypes.data, w[1:].ctypes.data
    dots(3, lanes, x.ctypes.data, 4 * lanes, first, second, second, second, c.ctypes.data, 16, 0, first, second)
    assert_within_budget(c, x.astype("float64") @ w[[0, 1, 1, 1]].T, lanes, 1, "dots", 1.0)


def test_with_the_vectors_of_avx2(tmp_path: Path) -> None:
    """All of this file, and the linear layers, on a processor that has no AVX-512 as far as the compiler knows."""
    if widths() == (16, 8):
        pytest.skip("these are the vectors of this processor, or of this run")
    masked = {
        "NUMBA_CPU_NAME": "haswell",
        "NUMBA_CPU_FEATURES": "+avx2,+fma,+avx,+sse4.2",
        "GPUNN_CACHE": str(tmp_path),
        "GPUNN_COMPILED": "1",
    }
    here = Path(__file__)
    files = [str(here), str(here.with_name("test_compiled_linear.py"))]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files],
        cwd=here.parents[2],
        env=os.environ | masked,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert "1 skipped" in done.stdout, done.stdout[-3000:]
