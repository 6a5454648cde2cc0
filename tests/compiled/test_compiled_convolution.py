"""The choice of a convolution's algorithm, and what holds with any: layouts, the ReLU in the same pass, threads."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from operations.harness import ROUNDINGS, assert_within_budget

import backends
from backends.cpu import algorithms, direct, threads, toeplitz, windows, winograd

pytest.importorskip("numba")
CPU, ORACLE = backends.get("cpu"), backends.get("reference")
ONES = (1, 1)


@pytest.fixture(autouse=True)
def _compiled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("GPUNN_COMPILED", "1")
    monkeypatch.delenv("GPUNN_CONV", raising=False)
    yield
    threads._forget_crew()


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def rounding(algorithm: str, kernel: int) -> float:
    """How many times the usual budget an algorithm may use up."""
    if algorithm == "toeplitz":
        return toeplitz.BUDGET / ROUNDINGS
    return winograd.BUDGET[int(algorithm[-1]), kernel] / ROUNDINGS if algorithm.startswith("winograd") else 1.0


def choose(shape: tuple[int, ...], weight: tuple[int, ...], **changes: Any) -> str:
    options = {"stride": ONES, "padding": ONES, "dilation": ONES, "dtype": "float32"} | changes
    return algorithms.choose(shape, weight, **options, allowed=algorithms.allowed_algorithms())


def test_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    large, filters = (64, 256, 8, 8), (256, 256, 3, 3)
    assert choose(large, filters) == "winograd 6"
    assert choose(large, (256, 256, 5, 5), padding=(2, 2)) == "winograd 8"
    assert choose((64, 512, 2, 2), (512, 512, 3, 3)) == "toeplitz"
    # The filters' transforms would cost more than they save.
    assert choose((1, 512, 4, 4), (512, 512, 3, 3)) == "implicit"
    assert choose((64, 3, 32, 32), (64, 3, 3, 3)) == "implicit"
    assert choose((1, 1, 28, 28), (6, 1, 5, 5)) == "direct"
    assert choose(large, filters, dtype="float64") == "im2col"
    for changes in ({"stride": (1, 2)}, {"dilation": (2, 1)}):
        assert choose(large, filters, **changes) == "implicit"
    assert choose(large, (256, 256, 3, 1)) == "implicit"
    monkeypatch.setenv("GPUNN_CONV", "direct")
    assert choose(large, filters) == "implicit"
    assert choose((1, 1, 28, 28), (6, 1, 5, 5)) == "direct"
    monkeypatch.setenv("GPUNN_CONV", "fft")
    with pytest.raises(ValueError, match=r"GPUNN_CONV=fft .* set it to auto or direct"):
        choose(large, filters)


CASES = [
    # input, weight, stride, padding, dilation
    ((1, 1, 1, 1), (1, 1, 1, 1), ONES, (0, 0), ONES),
    ((17, 1, 12, 11), (6, 1, 5, 5), ONES, (2, 2), ONES),
    ((3, 2, 7, 9), (4, 2, 3, 3), ONES, (1, 2), ONES),
    ((2, 4, 5, 5), (8, 4, 4, 4), ONES, (5, 4), ONES),  # more padding than the kernel reaches
    ((3, 6, 9, 8), (16, 6, 5, 5), ONES, (0, 0), ONES),
    ((3, 6, 9, 9), (13, 6, 3, 2), (1, 2), (1, 1), (1, 2)),
    ((20, 64, 12, 12), (64, 64, 3, 3), ONES, (1, 1), ONES),  # Winograd
    ((6, 64, 14, 13), (70, 64, 5, 5), ONES, (2, 2), ONES),  # Winograd
]


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layout", ["contiguous", "channels last", "strided"])
def test_against_the_reference(case: Any, dtype: str, layout: str) -> None:
    shape, weight_shape, *options = case
    rng = np.random.default_rng(1)
    x, weight, bias = (rng.standard_normal(s).astype(dtype) for s in (shape, weight_shape, weight_shape[:1]))
    if layout == "channels last":
        x, weight = (np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2) for a in (x, weight))
    elif layout == "strided":
        x = np.repeat(x, 2, axis=-1)[..., ::2]
    x.flags.writeable = False
    expected, saved = ORACLE.conv2d(*(a.astype("float64") for a in (x, weight, bias)), *options)
    gradient = rng.standard_normal(expected.shape).astype(dtype)
    wanted = ORACLE.conv2d_backward(saved, gradient.astype("float64"))
    terms = [weight[0].size, weight[:, 0].size, gradient[:, 0].size, gradient[:, 0].size]
    out, kept = CPU.conv2d(x, weight, bias, *options)
    more = rounding(kept[0], weight_shape[2])
    assert_within_budget(out, expected, terms[0], more, "out")
    for needs in [(True, True, True), (True, False, False), (False, True, False), (False, False, True)]:
        found = CPU.conv2d_backward(kept, gradient, needs)
        for actual, oracle, needed, count in zip(found, wanted, needs, terms[1:], strict=True):
            assert (actual is not None) == needed
            if needed:
                assert actual.dtype == dtype
                assert_within_budget(actual, oracle, count, more, "gradient")


ALGORITHMS = [
    ("batch last", (33, 6, 14, 14), (16, 6, 5, 5), "float32"),
    ("direct", (33, 1, 14, 14), (6, 1, 5, 5), "float32"),
    ("implicit", (33, 6, 14, 14), (70, 6, 5, 5), "float32"),
    ("implicit", (5, 65, 9, 8), (16, 65, 3, 3), "float32"),
    ("winograd 4", (33, 10, 14, 13), (70, 10, 3, 3), "float32"),  # images are shared out
    ("winograd 4", (3, 10, 14, 13), (70, 10, 3, 3), "float32"),  # channels are
    ("winograd 6", (40, 10, 14, 13), (70, 10, 3, 3), "float32"),
    ("winograd 6", (3, 10, 14, 13), (70, 10, 3, 3), "float32"),
    ("winograd 8", (3, 10, 14, 13), (70, 10, 5, 5), "float32"),
    ("im2col", (3, 10, 14, 13), (70, 10, 3, 3), "float64"),
]


@pytest.mark.parametrize(("algorithm", "shape", "weight_shape", "dtype"), ALGORITHMS, ids=str)
def test_relu_in_the_same_pass(
    monkeypatch: pytest.MonkeyPatch, algorithm: str, shape: Any, weight_shape: Any, dtype: str
) -> None:
    """The same bits as one after the other, and whichever gradients are asked for."""
    monkeypatch.setattr("backends.cpu.convolution.choose", lambda *_: algorithm)
    x, weight, bias = (a.astype(dtype) for a in (draw(*shape), draw(*weight_shape), draw(weight_shape[0])))
    convolved, saved = CPU.conv2d(x, weight, bias, ONES, ONES)
    assert saved[0] == algorithm
    expected, rectified = CPU.relu(convolved)
    out, kept = CPU.conv2d_relu(x, weight, bias, ONES, ONES)
    np.testing.assert_array_equal(out, expected)
    dout = np.cos(np.arange(out.size)).reshape(out.transpose(0, 2, 3, 1).shape).transpose(0, 3, 1, 2).astype(dtype)
    dout = np.asarray(dout, order="K")
    (let_through,) = CPU.relu_backward(rectified, dout)
    wanted = CPU.conv2d_backward(saved, let_through)
    for bits in range(1, 8):
        needs = tuple(bool(bits & bit) for bit in (1, 2, 4))
        for found in (CPU.conv2d_backward(saved, let_through, needs), CPU.conv2d_relu_backward(kept, dout, needs)):
            for actual, oracle, needed in zip(found[:2], wanted, needs, strict=False):
                assert (actual is not None) == needed
                if needed:
                    np.testing.assert_array_equal(actual, oracle)
            if needs[2]:
                np.testing.assert_array_equal(found[2], wanted[2])


def test_special_values_reach_the_outputs_that_see_them() -> None:
    for value in (np.nan, np.inf, -np.inf):
        x, weight = np.ones((2, 1, 9, 9), "float32"), np.ones((2, 1, 3, 3), "float32")
        x[0, 0, 4, 4] = value
        out = direct.convolve(x, weight, None, ONES).transpose(0, 3, 1, 2)
        np.testing.assert_array_equal(out, ORACLE.conv2d(x, weight, None, ONES, ONES)[0])


@pytest.mark.parametrize(("algorithm", "shape", "weight_shape", "dtype"), ALGORITHMS, ids=str)
def test_bit_for_bit_on_any_number_of_threads(
    monkeypatch: pytest.MonkeyPatch, algorithm: str, shape: Any, weight_shape: Any, dtype: str
) -> None:
    monkeypatch.setattr("backends.cpu.convolution.choose", lambda *_: algorithm)
    monkeypatch.setattr(windows, "COLUMN_BYTES", 1 << 18)
    x, weight, bias = (a.astype(dtype) for a in (draw(*shape), draw(*weight_shape), draw(weight_shape[0])))
    found = []
    for count in ("1", "2", "5"):
        monkeypatch.setenv("GPUNN_NUM_THREADS", count)
        threads._forget_crew()
        out, saved = CPU.conv2d(x, weight, bias)
        rectified, kept = CPU.conv2d_relu(x, weight, bias)
        gradients = (*CPU.conv2d_backward(saved, out), *CPU.conv2d_relu_backward(kept, out))
        found.append([a.tobytes() for a in (out, rectified, *gradients)])
    assert found[0] == found[1] == found[2]


def test_without_compiled_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same results but for rounding, by im2col alone."""
    x, weight = draw(16, 32, 22, 22), draw(64, 32, 3, 3)
    out, saved = CPU.conv2d(x, weight, None)
    assert saved[0].startswith("winograd")
    monkeypatch.setenv("GPUNN_COMPILED", "0")
    plain, saved = CPU.conv2d(x, weight, None)
    assert saved[0] == "im2col"
    np.testing.assert_allclose(out, plain, rtol=0, atol=1e-4 * float(np.abs(plain).max()))
    monkeypatch.setattr(windows, "COLUMN_BYTES", 1)  # products of other sizes, which may round otherwise
    piecewise, largest = CPU.conv2d(x, weight, None)[0], float(np.abs(plain).max())
    np.testing.assert_allclose(piecewise, plain, rtol=0, atol=1e-6 * largest)


# Vectors of 8 lanes, 16 columns of the micro-kernel.
WITHOUT_AVX512 = {
    "NUMBA_CPU_NAME": "haswell",
    "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma,+bmi,+bmi2,+cx16,+popcnt,+sse2,+sse3,+sse4.1,+sse4.2,+ssse3",
    "OPENBLAS_CORETYPE": "Haswell",
    "OPENBLAS_NUM_THREADS": "1",
    "GPUNN_NUM_THREADS": "1",
    "GPUNN_COMPILED": "1",
}


def check_core_cases() -> None:
    """What the other process of the next test does."""
    from numba.core.registry import cpu_target

    from backends.cpu import convolution
    from backends.cpu.compiled.vectors import lanes

    assert lanes(cpu_target.target_context) == 8
    for algorithm, shape, weight_shape, stride in [
        ("winograd 4", (2, 65, 7, 9), (70, 65, 3, 3), ONES),
        ("winograd 6", (2, 65, 7, 9), (70, 65, 3, 3), ONES),
        ("winograd 8", (2, 65, 7, 9), (70, 65, 5, 5), ONES),
        ("implicit", (2, 65, 7, 9), (70, 65, 3, 3), (2, 1)),
        ("toeplitz", (70, 65, 2, 2), (70, 65, 3, 3), ONES),
    ]:
        convolution.choose = lambda *_, algorithm=algorithm: algorithm
        x, weight, bias = draw(*shape), draw(*weight_shape), draw(weight_shape[0])
        wide = [a.astype("float64") for a in (x, weight, bias)]
        expected, oracle_saved = ORACLE.conv2d(*wide, stride, ONES)
        out, saved = CPU.conv2d_relu(x, weight, bias, stride, ONES)
        more = rounding(algorithm, weight_shape[2])
        assert saved[0] == algorithm
        assert_within_budget(out, np.maximum(expected, 0), weight[0].size, more, "out")
        dout = draw(*out.shape, seed=1)
        wanted = ORACLE.conv2d_backward(oracle_saved, np.where(out <= 0, 0, dout).astype("float64"))
        for actual, oracle in zip(CPU.conv2d_relu_backward(saved, dout), wanted, strict=True):
            assert_within_budget(actual, oracle, dout[:, 0].size, more, "gradient")
    print("within budget")


def test_with_shorter_vectors(tmp_path: Path) -> None:
    """In a process whose kernels are compiled for a processor without AVX-512."""
    root, tests = Path(__file__).parents[2], Path(__file__).parents[1]
    code = f"import sys; sys.path[:0] = [{str(root)!r}, {str(tests)!r}, {str(Path(__file__).parent)!r}]; "
    code += f"import {Path(__file__).stem} as cases; cases.check_core_cases()"
    environment = os.environ | WITHOUT_AVX512 | {"GPUNN_CACHE": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "within budget"
