"""Convolution by its definition with channels last, against the reference in float64."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from operations.harness import assert_within_budget

import backends
from backends.cpu import implicit, threads

pytest.importorskip("numba")
CPU, ORACLE = backends.get("cpu"), backends.get("reference")
ONES = (1, 1)
CASES = [
    # input, weight, stride, padding, dilation
    ((1, 1, 1, 1), (1, 1, 1, 1), ONES, (0, 0), ONES),
    ((1, 1, 1, 1), (1, 1, 3, 3), ONES, (1, 1), ONES),
    ((3, 5, 1, 9), (7, 5, 1, 4), ONES, (0, 2), ONES),
    ((2, 64, 6, 5), (64, 64, 1, 1), ONES, (0, 0), ONES),
    ((3, 6, 9, 8), (16, 6, 5, 5), ONES, (0, 0), ONES),
    ((2, 65, 7, 6), (70, 65, 3, 3), ONES, (1, 1), ONES),  # channels in groups, terms in chunks
    ((2, 4, 5, 5), (8, 4, 4, 4), ONES, (5, 4), ONES),  # more padding than the kernel reaches: only one axis
    ((1, 3, 4, 5), (5, 3, 1, 2), ONES, (2, 3), ONES),  # ... both
    ((2, 3, 4, 5), (5, 3, 2, 2), (2, 3), (3, 2), ONES),  # ... and a stride
    ((3, 6, 9, 8), (7, 6, 3, 3), (2, 3), (1, 2), ONES),  # the last column is seen by no window
    ((2, 3, 11, 10), (4, 3, 2, 2), (4, 3), (0, 0), ONES),  # nor is what lies between windows
    ((3, 6, 9, 9), (13, 6, 3, 2), (1, 2), (1, 1), (1, 2)),
    ((2, 6, 9, 9), (130, 6, 3, 3), (2, 1), (1, 1), (2, 3)),
    ((2, 3, 30, 31), (17, 3, 11, 11), (4, 4), (2, 2), ONES),
    ((1, 40, 40, 41), (3, 40, 3, 3), ONES, (1, 1), ONES),
    ((7, 100, 2, 2), (128, 100, 3, 3), ONES, (1, 1), ONES),  # each output sees a part of the filters, none all of them
    ((5, 3, 1, 1), (64, 3, 5, 5), ONES, (4, 2), (2, 1)),  # most places of the kernel meet nothing
    # Fewer terms than a vector has lanes, which lie apart, the last as far from the first as if they filled one.
    ((1, 4, 16, 16), (16, 4, 3, 3), (2, 2), ONES, ONES),
    ((2, 4, 6, 7), (17, 4, 2, 3), ONES, (0, 1), ONES),
    ((1, 2, 16, 16), (16, 2, 3, 3), (2, 2), ONES, ONES),
    ((2, 1, 12, 12), (32, 1, 5, 5), (2, 2), ONES, ONES),
]


@pytest.fixture(autouse=True)
def _compiled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("GPUNN_COMPILED", "1")
    yield
    threads._forget_crew()


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def last(x: Any) -> np.ndarray:
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1))


def first(x: Any) -> np.ndarray:
    return x.transpose(0, 3, 1, 2)


def in_small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """An image at a time, and two in a sum of its own."""
    monkeypatch.setattr(implicit, "IMAGE_BYTES", 1)
    monkeypatch.setattr(implicit, "MANY_PLACES", 1)
    monkeypatch.setattr(implicit, "PARTIAL_SUMS", 2)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("rectify", [False, True], ids=["plain", "rectified"])
@pytest.mark.parametrize("pieces", ["at once", "some images at a time", "large filters"])
def test_against_the_reference(monkeypatch: pytest.MonkeyPatch, case: Any, rectify: bool, pieces: str) -> None:
    if pieces != "at once":
        in_small_pieces(monkeypatch)
    if pieces == "large filters":
        monkeypatch.setattr(implicit, "LARGE_FILTERS", 1)
    shape, weight_shape, *options = case
    x, weight, bias = draw(*shape), draw(*weight_shape, seed=1), draw(*weight_shape[:1], seed=2)
    expected, saved = ORACLE.conv2d(*(a.astype("float64") for a in (x, weight, bias)), *options)
    dout = draw(*expected.shape, seed=3)
    out = implicit.convolve(last(x), last(weight), bias, *options, rectify)
    assert_within_budget(first(out), np.maximum(expected, 0) if rectify else expected, weight[0].size, 1, "out")
    let_through = np.where(first(out) <= 0, 0, dout) if rectify else dout
    dx, dw, db = ORACLE.conv2d_backward(saved, let_through.astype("float64"))
    found = implicit.input_gradient(last(let_through), last(weight), last(x).shape, *options)
    assert_within_budget(first(found), dx, weight[:, 0].size, 1, "dx", scale=1e-3)
    found, found_bias = implicit.filter_gradient(
        last(x), last(dout), out if rectify else None, weight_shape[2:], *options
    )
    assert_within_budget(first(found), dw, dout[:, 0].size, 1, "dw", scale=1e-3)
    assert_within_budget(found_bias, db, dout[:, 0].size, 1, "db", scale=1e-3)
    for of_weight, of_bias in ((False, True), (True, False)):
        alone = implicit.filter_gradient(
            last(x), last(dout), out if rectify else None, weight_shape[2:], *options, of_weight, of_bias
        )
        for one, both, wanted in zip(alone, (found, found_bias), (of_weight, of_bias), strict=True):
            assert (one is not None) == wanted
            if wanted:
                np.testing.assert_array_equal(one, both)


FEW_OUTPUTS = [
    ((1, 130, 4, 4), (256, 130, 3, 3), ONES, ONES, ONES),
    ((5, 64, 2, 2), (512, 64, 3, 3), ONES, ONES, ONES),
    ((2, 66, 9, 12), (300, 66, 5, 5), (3, 2), (1, 0), (1, 2)),
    ((1, 600, 1, 1), (450, 600, 1, 1), ONES, (0, 0), ONES),
    ((3, 70, 2, 2), (17, 70, 16, 16), ONES, (8, 7), ONES),  # fewer filters than outputs
]


@pytest.mark.parametrize("case", FEW_OUTPUTS, ids=str)
@pytest.mark.parametrize("rectify", [False, True], ids=["plain", "rectified"])
def test_few_outputs_of_large_filters(monkeypatch: pytest.MonkeyPatch, case: Any, rectify: bool) -> None:
    """The filters are not rearranged; any number of threads gives the same bits."""
    shape, weight_shape, *options = case
    x, weight, bias = draw(*shape), draw(*weight_shape, seed=1), draw(*weight_shape[:1], seed=2)
    expected = ORACLE.conv2d(*(a.astype("float64") for a in (x, weight, bias)), *options)[0]
    monkeypatch.delattr(implicit, "_multiply")  # which would rearrange them
    found = []
    for count in ("1", "2", "5"):
        monkeypatch.setenv("GPUNN_NUM_THREADS", count)
        threads._forget_crew()
        found.append(implicit.convolve(last(x), last(weight), bias, *options, rectify))
        np.testing.assert_array_equal(found[-1], found[0])
    assert_within_budget(first(found[0]), np.maximum(expected, 0) if rectify else expected, weight[0].size, 1, "out")
    without = implicit.convolve(last(x), last(weight), None, *options)
    assert_within_budget(first(without), expected - bias[:, None, None], weight[0].size, 1, "out without a bias")


def test_long_sums_stay_exact() -> None:
    """Sums of numbers of one sign, whose rounding errors do not cancel, are taken in blocks."""
    x, dout = np.full((40, 50, 50, 1), 0.1, "float32"), np.full((40, 50, 50, 1), 0.3, "float32")
    dw, db = implicit.filter_gradient(x, dout, None, ONES, ONES, (0, 0), ONES)
    assert dw.item() == pytest.approx(float(x.astype("float64").ravel() @ dout.astype("float64").ravel()), rel=2e-5)
    assert db.item() == pytest.approx(float(dout.astype("float64").sum()), rel=2e-5)


@pytest.mark.parametrize("groups", [2, 3, 8])
def test_groups(groups: int) -> None:
    x, weight, bias = draw(3, 24, 7, 8), draw(48, 24 // groups, 3, 2), draw(48)
    options = ((2, 1), (1, 0), (1, 2), groups)
    expected, oracle_saved = ORACLE.conv2d(*(a.astype("float64") for a in (x, weight, bias)), *options)
    out, saved = CPU.conv2d(x, weight, bias, *options)
    assert saved[0] == "groups"
    assert [part[0] for part in saved[1]] == ["implicit"] * groups
    assert_within_budget(out, expected, weight[0].size, 1, "out")
    dout = draw(*out.shape, seed=3)
    wanted = ORACLE.conv2d_backward(oracle_saved, dout.astype("float64"))
    for needs in [(True, True, True), (True, False, False), (False, True, False), (False, False, True)]:
        found = CPU.conv2d_backward(saved, dout, needs)
        for actual, oracle, needed in zip(found, wanted, needs, strict=True):
            assert (actual is not None) == needed
            if needed:
                assert_within_budget(actual, oracle, dout[:, 0].size, 1, "gradient")


@pytest.mark.parametrize("layout", ["channels last", "strided", "reversed", "transposed"])
def test_any_layout_gives_the_same_bits(layout: str) -> None:
    """Also of the output's gradient; and no array is written to."""

    def laid_out(a: np.ndarray) -> np.ndarray:
        if layout == "channels last":
            a = first(last(a))
        elif layout == "strided":
            a = np.repeat(a, 2, axis=-1)[..., ::2]
        elif layout == "reversed":
            a = np.ascontiguousarray(a[:, ::-1])[:, ::-1]
        else:
            a = np.ascontiguousarray(a.T).T
        a.flags.writeable = False
        return a

    x, weight, bias, dout = draw(3, 6, 9, 8), draw(70, 6, 3, 3), draw(70), draw(3, 70, 5, 4)
    found = []
    for change in (lambda a: a, laid_out):
        out, saved = CPU.conv2d(change(x), change(weight), bias, (2, 2), ONES)
        assert saved[0] == "implicit"
        rectified, kept = CPU.conv2d_relu(change(x), change(weight), bias, (2, 2), ONES)
        found.append(
            [out, *CPU.conv2d_backward(saved, change(dout)), rectified, *CPU.conv2d_relu_backward(kept, change(dout))]
        )
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("stride", [ONES, (2, 3)], ids=str)
def test_special_values_as_the_reference(value: float, stride: Any) -> None:
    """Everything is exact, in whole numbers. The zeros around the images are not multiplied, which the reference does."""
    rng = np.random.default_rng(0)
    x, weight, bias = (rng.integers(-3, 4, shape).astype("float32") for shape in ((2, 5, 9, 9), (7, 5, 3, 3), 7))
    out = ORACLE.conv2d(x, weight, bias, stride, ONES)[0]
    dout = rng.integers(-3, 4, out.shape).astype("float32")

    def results(masked: bool) -> list[Any]:
        out, saved = ORACLE.conv2d(x, weight, bias, stride, ONES)
        passed = np.where(out <= 0, np.float32(0), dout) if masked else dout
        return [np.maximum(out, 0) if masked else out, *ORACLE.conv2d_backward(saved, passed)]

    with np.errstate(invalid="ignore"):
        for array, place in ((x, (0, 2, 4, 4)), (weight, (3, 1, 1, 2)), (bias, (5,)), (dout, (1, 2, 0, 1))):
            for masked in (False, True):
                kept, array[place] = array[place], 0
                without = results(masked)
                array[place] = value
                expected = results(masked)
                # Where nothing but padding meets the value, it counts as 0.
                one = np.zeros_like(array)
                one[place] = 1
                if array is weight:
                    meets = ORACLE.conv2d(np.ones_like(x), one, None, stride, ONES)[0] > 0
                    expected[0] = np.where(meets, expected[0], without[0])
                elif array is dout:
                    saved = ORACLE.conv2d(np.ones_like(x), weight, bias, stride, ONES)[1]
                    meets = ORACLE.conv2d_backward(saved, one)[1] > 0
                    assert 0 < meets[2].sum() < meets[2].size
                    expected[2] = np.where(meets, expected[2], without[2])
                run, back = (CPU.conv2d_relu, CPU.conv2d_relu_backward) if masked else (CPU.conv2d, CPU.conv2d_backward)
                actual, ours = run(x, weight, bias, stride, ONES)
                assert ours[0] == "implicit"
                found = [actual, *back(ours, dout)]
                compared = 1 if masked and array is weight else 4  # gradients pass where outputs differ at the border
                for one_found, oracle in zip(found[:compared], expected[:compared], strict=True):
                    np.testing.assert_array_equal(one_found, oracle)
                array[place] = kept


@pytest.mark.parametrize("large", [False, True], ids=["small filters", "large filters"])
def test_bit_for_bit_on_any_number_of_threads(monkeypatch: pytest.MonkeyPatch, large: bool) -> None:
    monkeypatch.setattr(implicit, "IMAGE_BYTES", 1 << 14)
    monkeypatch.setattr(implicit, "MANY_PLACES", 64)
    if large:
        monkeypatch.setattr(implicit, "LARGE_FILTERS", 1)
    x, weight, bias, found = draw(33, 14, 15, 6), draw(70, 3, 3, 6), draw(70), []
    for count in ("1", "2", "5"):
        monkeypatch.setenv("GPUNN_NUM_THREADS", count)
        threads._forget_crew()
        for options in ((ONES, ONES, ONES), ((2, 3), ONES, ONES)):
            out = implicit.convolve(x, weight, bias, *options, rectify=True)
            dout = np.sin(np.arange(out.size, dtype="float32")).reshape(out.shape)
            dx = implicit.input_gradient(dout, weight, x.shape, *options)
            dw, db = implicit.filter_gradient(x, dout, out, (3, 3), *options)
            found.append([a.tobytes() for a in (out, dx, dw, db)])
    assert found[:2] == found[2:4] == found[4:]
