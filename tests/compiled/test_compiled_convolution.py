"""The choice of a convolution's algorithm, direct convolution, the compiled scatter and the bias's gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from operations.harness import assert_within_budget

import backends
from backends.cpu import algorithms, direct, threads, windows

pytest.importorskip("numba")
CPU, ORACLE = backends.get("cpu"), backends.get("reference")
ONES = (1, 1)


def choose(shape: tuple[int, ...], weight: tuple[int, ...], **changes: Any) -> str:
    options = {"stride": ONES, "padding": ONES, "dilation": ONES, "dtype": "float32"} | changes
    return algorithms.choose(shape, weight, **options)


def test_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GPUNN_CONV", raising=False)
    large, filters = (64, 256, 8, 8), (256, 256, 3, 3)
    assert choose(large, filters) == "winograd 6"
    assert choose((64, 512, 2, 2), (512, 512, 3, 3)) == "winograd 4"  # 2x2 images: no use for tiles of 4x4 outputs
    assert (
        choose((1, 512, 4, 4), (512, 512, 3, 3)) == "im2col"
    )  # the filters' transforms would cost more than they save
    assert choose((128, 1, 28, 28), (6, 1, 5, 5)) == "direct"
    assert choose((64, 3, 32, 32), (64, 3, 3, 3)) == "im2col"
    for changes in ({"stride": (1, 2)}, {"dilation": (2, 1)}, {"padding": (3, 1)}, {"dtype": "float64"}):
        assert choose(large, filters, **changes) == "im2col"
    assert choose(large, (256, 256, 3, 1)) == "im2col"
    monkeypatch.setenv("GPUNN_CONV", "direct")
    assert choose(large, filters) == "im2col"
    assert choose((128, 1, 28, 28), (6, 1, 5, 5)) == "direct"
    monkeypatch.setenv("GPUNN_CONV", "fft")
    with pytest.raises(ValueError, match=r"GPUNN_CONV=fft .* set it to auto or direct"):
        choose(large, filters)


CASES = [
    # input, weight, stride, padding, dilation
    ((1, 1, 1, 1), (1, 1, 1, 1), ONES, (0, 0), ONES),
    ((17, 1, 12, 11), (6, 1, 5, 5), ONES, (2, 2), ONES),  # direct
    ((3, 2, 7, 9), (4, 2, 3, 3), ONES, (1, 2), ONES),
    ((2, 3, 9, 11), (5, 3, 2, 7), ONES, (0, 3), ONES),
    ((2, 4, 5, 5), (8, 4, 4, 4), ONES, (5, 4), ONES),  # more padding than the kernel reaches
    ((3, 6, 9, 8), (16, 6, 5, 5), ONES, (0, 0), ONES),  # im2col, the input's gradient scattered
    ((3, 6, 9, 8), (7, 6, 3, 3), (2, 3), (1, 2), ONES),
    ((3, 6, 9, 9), (13, 6, 3, 2), (1, 2), (1, 1), (1, 2)),
    ((2, 6, 9, 9), (5, 6, 3, 3), (2, 1), (1, 1), (2, 3)),
    ((20, 64, 12, 12), (64, 64, 3, 3), ONES, (1, 1), ONES),  # Winograd
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
    rounding = 6 if kept[0] == "winograd" else 1  # its budget is 24, not 4
    assert_within_budget(out, expected, terms[0], rounding, "out")
    for needs in [(True, True, True), (True, False, False), (False, True, False), (False, False, True)]:
        found = CPU.conv2d_backward(kept, gradient, needs)
        for actual, oracle, needed, count in zip(found, wanted, needs, terms[1:], strict=True):
            assert (actual is not None) == needed
            if needed:
                assert actual.dtype == dtype
                assert_within_budget(actual, oracle, count, rounding, "gradient")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_special_values_reach_the_outputs_that_see_them(value: float) -> None:
    x, weight = np.ones((2, 1, 9, 9), "float32"), np.ones((2, 1, 3, 3), "float32")
    x[0, 0, 4, 4] = value
    out = direct.convolve(x, weight, None, ONES).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(out, ORACLE.conv2d(x, weight, None, ONES, ONES)[0])


def test_bit_for_bit_on_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    rng, found, kinds = np.random.default_rng(0), [], []
    monkeypatch.setattr(windows, "COLUMN_BYTES", 1 << 18)
    cases = [((33, 1, 14, 14), (6, 1, 5, 5)), ((33, 6, 14, 14), (16, 6, 5, 5)), ((33, 64, 14, 14), (64, 64, 3, 3))]
    arrays = [[rng.standard_normal(s).astype("float32") for s in (*case, case[1][:1])] for case in cases]
    for count in ("1", "2", "5"):
        monkeypatch.setenv("GPUNN_NUM_THREADS", count)
        threads._forget_crew()
        for x, weight, bias in arrays:
            out, saved = CPU.conv2d(x, weight, bias)
            kinds.append(saved[0])
            found.append([a.tobytes() for a in (out, *CPU.conv2d_backward(saved, out))])
    threads._forget_crew()
    assert kinds[:3] == ["direct", "im2col", "winograd"]
    assert found[:3] == found[3:6] == found[6:]


def test_without_compiled_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same results but for rounding, by im2col alone."""
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((16, 32, 22, 22)).astype("float32"), rng.standard_normal((64, 32, 3, 3))
    out, saved = CPU.conv2d(x, weight.astype("float32"), None)
    assert saved[0] == "winograd"
    monkeypatch.setenv("GPUNN_COMPILED", "0")
    plain, saved = CPU.conv2d(x, weight.astype("float32"), None)
    assert saved[0] == "im2col"
    np.testing.assert_allclose(out, plain, rtol=0, atol=1e-4 * float(np.abs(plain).max()))
    monkeypatch.setattr(windows, "COLUMN_BYTES", 1)
    np.testing.assert_allclose(CPU.conv2d(x, weight.astype("float32"), None)[0], plain, rtol=1e-5, atol=1e-5)
