"""Convolutions and pooling of many images with few channels, whose memory has the batch last."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from operations.harness import assert_within_budget

import backends
from backends.cpu import algorithms, batch_last, threads

pytest.importorskip("numba")
CPU, ORACLE = backends.get("cpu"), backends.get("reference")
ONES = (1, 1)
CASES = [
    # images, weight, padding
    ((128, 1, 28, 28), (6, 1, 5, 5), (2, 2)),  # LeNet-5
    ((100, 6, 14, 14), (16, 6, 5, 5), (0, 0)),
    ((17, 3, 9, 8), (5, 3, 3, 4), (1, 2)),  # no multiple of a vector, and the gradient's zeros multiplied
    ((16, 2, 5, 5), (4, 2, 3, 3), (2, 1)),
    ((65, 3, 9, 8), (7, 3, 3, 4), (2, 3)),  # as much padding as the kernel reaches
    ((70, 16, 4, 6), (13, 16, 1, 1), (0, 0)),
    ((64, 3, 5, 5), (1, 3, 5, 5), (0, 0)),  # an output of one pixel
]


@pytest.fixture(autouse=True)
def on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUNN_COMPILED", "1")
    monkeypatch.delenv("GPUNN_CONV", raising=False)


def draw(case: Any) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.standard_normal(s).astype("float32") for s in (case[0], case[1], case[1][:1])]


def last(x: np.ndarray) -> np.ndarray:
    """The same numbers with the batch last in memory."""
    return np.ascontiguousarray(x.transpose(1, 2, 3, 0)).transpose(3, 0, 1, 2)


def arranged(x: np.ndarray, layout: str) -> np.ndarray:
    if layout == "batch last":
        return last(x)
    if layout == "channels last":
        return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    return np.repeat(x, 2, axis=-1)[..., ::2] if layout == "strided" else x


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("rectify", [False, True])
@pytest.mark.parametrize("layout", ["contiguous", "channels last", "batch last", "strided"])
def test_against_the_reference(case: Any, rectify: bool, layout: str) -> None:
    x, weight, bias = draw(case)
    padding, kind = case[2], "conv2d_relu" if rectify else "conv2d"
    wide = [a.astype("float64") for a in (x, weight, bias)]
    expected, saved = getattr(ORACLE, kind)(*wide, ONES, padding)
    out, kept = getattr(CPU, kind)(arranged(x, layout), arranged(weight, layout), bias, ONES, padding)
    assert isinstance(kept, batch_last.Saved)
    assert_within_budget(out, expected, weight[0].size, 1, "out")
    gradient = np.random.default_rng(2).standard_normal(out.shape).astype("float32")
    if rectify:  # an output near 0 may be positive here and not there
        gradient *= (expected > 1e-4) | (expected == 0) & (out == 0)
    wanted = getattr(ORACLE, f"{kind}_backward")(saved, gradient.astype("float64"))
    terms = [weight[:, 0].size, gradient[:, 0].size, gradient[:, 0].size]
    for needs in [(True, True, True), (True, False, False), (False, True, False), (False, False, True)]:
        found = getattr(CPU, f"{kind}_backward")(kept, arranged(gradient, layout), needs)
        for actual, oracle, needed, count in zip(found, wanted, needs, terms, strict=True):
            assert (actual is not None) == needed
            if needed:
                assert actual.dtype == "float32"
                assert_within_budget(actual, oracle, count, 1, "gradient")


def test_without_a_bias() -> None:
    x, weight, _ = draw(CASES[2])
    out, kept = CPU.conv2d(x, weight, None, ONES, (1, 2))
    expected, _ = ORACLE.conv2d(x.astype("float64"), weight.astype("float64"), None, ONES, (1, 2))
    assert_within_budget(out, expected, weight[0].size, 1, "out")
    assert CPU.conv2d_backward(kept, out)[2] is None


@pytest.mark.parametrize("case", CASES, ids=str)
def test_with_relu_in_one_operation_or_two(case: Any) -> None:
    """Bit for bit."""
    x, weight, bias = draw(case)
    one, kept = CPU.conv2d_relu(x, weight, bias, ONES, case[2])
    between, first = CPU.conv2d(x, weight, bias, ONES, case[2])
    two, second = CPU.relu(between)
    np.testing.assert_array_equal(one, two)
    gradient = np.cos(np.arange(one.size, dtype="float32")).reshape(one.shape)
    found = CPU.conv2d_relu_backward(kept, gradient)
    apart = CPU.conv2d_backward(first, CPU.relu_backward(second, gradient)[0])
    for a, b in zip(found, apart, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@np.errstate(invalid="ignore")
def test_special_values_reach_the_outputs_that_see_them(value: float) -> None:
    x, weight = np.ones((33, 2, 9, 9), "float32"), np.ones((3, 2, 3, 3), "float32")
    x[5, 1, 4, 4] = x[32, 0, 8, 8] = value
    for kind in ("conv2d", "conv2d_relu"):
        out, saved = getattr(CPU, kind)(x, weight, np.zeros(3, "float32"), ONES, ONES)
        expected, oracle = getattr(ORACLE, kind)(x, weight, np.zeros(3, "float32"), ONES, ONES)
        np.testing.assert_array_equal(out, expected)
        gradient = np.ones_like(out)
        gradient[7, 1, 2, 2] = value
        found = getattr(CPU, f"{kind}_backward")(saved, gradient)
        wanted = getattr(ORACLE, f"{kind}_backward")(oracle, gradient)
        np.testing.assert_array_equal(found[0], wanted[0])
        np.testing.assert_array_equal(found[2], wanted[2])


def test_bit_for_bit_on_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for count in ("1", "2", "5"):
        monkeypatch.setenv("GPUNN_NUM_THREADS", count)
        threads._forget_crew()
        for case in CASES[:3]:
            x, weight, bias = draw(case)
            out, saved = CPU.conv2d_relu(x, weight, bias, ONES, case[2])
            gradients = CPU.conv2d_relu_backward(saved, np.cos(out))
            found.append([a.tobytes() for a in (out, *gradients)])
    threads._forget_crew()
    assert found[:3] == found[3:6] == found[6:]


@pytest.mark.parametrize("shape", [(33, 2, 5, 7), (64, 3, 4, 4)])
@pytest.mark.parametrize(
    "windows", [((2, 2), (2, 2)), ((3, 3), (2, 2), (1, 1)), ((2, 3), (1, 2), (0, 1), (2, 1), True)], ids=str
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_pooling(shape: tuple[int, ...], windows: Any, dtype: str) -> None:
    """In the memory order of its input, whatever that of the gradient."""
    x = np.random.default_rng(3).integers(-2, 3, shape).astype(dtype)
    expected, oracle = ORACLE.max_pool2d(x, *windows)
    out, saved = CPU.max_pool2d(last(x), *windows)
    np.testing.assert_array_equal(out, expected)
    assert batch_last.is_batch_last(out)
    gradient = np.cos(np.arange(out.size)).reshape(out.shape).astype(dtype)
    for given in (gradient, last(gradient)):
        (dx,) = CPU.max_pool2d_backward(saved, given)
        np.testing.assert_allclose(dx, ORACLE.max_pool2d_backward(oracle, gradient)[0], atol=8 * np.finfo(dtype).eps)
        assert batch_last.is_batch_last(dx)


def test_other_operations_take_it() -> None:
    """NumPy's rules hold, whatever the order in memory."""
    x = np.random.default_rng(3).standard_normal((33, 4, 5, 6)).astype("float32")
    for name, arguments in [
        ("relu", ()),
        ("bias_relu", (np.arange(4, dtype="float32") - 2,)),
        ("avg_pool2d", ((2, 2), (2, 2))),
        ("reshape", ((33, 120),)),
    ]:
        (expected, oracle), (out, saved) = (
            getattr(backend, name)(v, *arguments) for backend, v in ((ORACLE, x), (CPU, last(x)))
        )
        np.testing.assert_allclose(out, expected, rtol=1e-6)
        gradient = np.cos(np.arange(out.size, dtype="float32")).reshape(out.shape)
        wanted = getattr(ORACLE, f"{name}_backward")(oracle, gradient)
        for actual, other in zip(getattr(CPU, f"{name}_backward")(saved, gradient), wanted, strict=True):
            np.testing.assert_allclose(actual, other, rtol=1e-5, atol=1e-5)


def test_on_a_processor_without_avx512(tmp_path: Path) -> None:
    """Vectors of 8 lanes instead of 16: the same within rounding."""
    program = (
        "import sys, numpy, backends; x, w, b = (numpy.load(sys.argv[1])[k] for k in 'xwb');"
        "cpu = backends.get('cpu'); out, saved = cpu.conv2d_relu(x, w, b, (1, 1), (1, 2));"
        "numpy.savez(sys.argv[2], out, *cpu.conv2d_relu_backward(saved, numpy.cos(out)))"
    )
    x, weight, bias = draw(CASES[2])
    np.savez(tmp_path / "given.npz", x=x, w=weight, b=bias)
    narrow = {
        "NUMBA_CPU_NAME": "haswell",
        "NUMBA_CPU_FEATURES": "+avx2,+fma,+avx,+sse4.2",
        "GPUNN_CACHE": str(tmp_path),
    }
    command = [sys.executable, "-c", program, str(tmp_path / "given.npz"), str(tmp_path / "found.npz")]
    subprocess.run(command, check=True, env={**os.environ, **narrow}, cwd=Path(__file__).parents[2])
    out, saved = CPU.conv2d_relu(x, weight, bias, ONES, (1, 2))
    with np.load(tmp_path / "found.npz") as found:
        for actual, expected in zip(found.values(), (out, *CPU.conv2d_relu_backward(saved, np.cos(out))), strict=True):
            np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


def test_choice() -> None:
    def kind(
        *shape: int, weight: tuple[int, ...] = (6, 3, 3, 3), padding: tuple[int, int] = ONES, dilation: Any = ONES
    ) -> str:
        return algorithms.choose(shape, weight, ONES, padding, dilation, "float32")

    assert kind(16, 3, 8, 8) == "batch last"
    others = [
        kind(15, 3, 8, 8),  # few images
        kind(16, 3, 3, 3),  # rows of 48 numbers
        kind(16, 3, 8, 8, padding=(3, 1)),
        kind(16, 3, 8, 8, dilation=(2, 1)),
        kind(16, 33, 8, 8, weight=(6, 33, 3, 3)),
        kind(16, 3, 8, 8, weight=(64, 3, 3, 3)),
        kind(16, 64, 8, 8, weight=(64, 64, 3, 3)),  # much work
    ]
    assert kind(16, 64, 7, 7, weight=(64, 64, 3, 3)) == "batch last"
    assert "batch last" not in others
