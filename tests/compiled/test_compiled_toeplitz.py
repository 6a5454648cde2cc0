"""Convolutions of 2x2 images by Toeplitz products against the reference in float64, within their own budget."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from operations.harness import ROUNDINGS, assert_within_budget

import backends
from backends.cpu import algorithms, threads, toeplitz
from gpunn import functional, nn, optim
from gpunn.random import manual_seed
from gpunn.tensor import Tensor

pytest.importorskip("numba")
CPU, ORACLE = backends.get("cpu"), backends.get("reference")
ONES = (1, 1)
SHAPES = [
    # images, channels, channels out
    (1, 1, 1),
    (2, 3, 4),
    (1, 130, 70),  # channels in three groups, filters in three pieces
    (64, 64, 64),  # whole groups
    (65, 65, 33),  # one more than whole groups
    (16, 128, 32),  # whole vectors
    (49, 17, 16),  # a vector and more, but less than a group
    (130, 20, 40),  # images in two pieces, and more than are summed at a time
    (200, 6, 9),
    (5, 256, 200),
]


@pytest.fixture(autouse=True)
def _compiled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("GPUNN_COMPILED", "1")
    monkeypatch.delenv("GPUNN_CONV", raising=False)
    yield
    threads._forget_crew()


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def last(x: Any) -> np.ndarray:
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1))


def check(actual: np.ndarray, oracle: np.ndarray, operands: Any, terms: int) -> None:
    eps, scale = float(np.finfo("float32").eps), math.prod(float(np.abs(operand).max()) for operand in operands)
    assert actual.dtype == np.float32
    atol = toeplitz.BUDGET * eps * math.sqrt(terms) * scale
    np.testing.assert_allclose(actual, last(oracle), rtol=0, atol=atol)


@pytest.mark.parametrize("case", SHAPES, ids=str)
@pytest.mark.parametrize("rectify", [False, True], ids=["plain", "rectified"])
@pytest.mark.parametrize("large", [1, 1 << 22], ids=["beside the caches", "small"])
def test_forward_and_gradients(monkeypatch: pytest.MonkeyPatch, case: Any, rectify: bool, large: int) -> None:
    monkeypatch.setattr(toeplitz, "LARGE", large)
    n, channels, outs = case
    x, weight = draw(n, channels, 2, 2), draw(outs, channels, 3, 3, seed=1)
    expected, saved = ORACLE.conv2d(x.astype("float64"), weight.astype("float64"), None, ONES, ONES)
    dout = draw(*expected.shape, seed=3)
    out = toeplitz.convolve(last(x), last(weight), None, rectify)
    check(out, np.maximum(expected, 0) if rectify else expected, (x, weight), 9 * channels)
    let_through = np.where(out.transpose(0, 3, 1, 2) <= 0, 0, dout) if rectify else dout
    dx, dw, db = ORACLE.conv2d_backward((*saved[:2], True, *saved[3:]), let_through.astype("float64"))
    for needs in [(True, True, True), (True, False, False), (False, True, False), (False, False, True)]:
        found = toeplitz.differentiate(last(x), last(weight), last(dout), out if rectify else None, *needs)
        assert [g is not None for g in (found.x, found.weight, found.bias)] == list(needs)
        if needs[0]:
            check(found.x, dx, (dout, weight), 9 * outs)
        if needs[1]:
            check(found.weight, dw, (x, dout), 4 * n)
        if needs[2]:
            assert_within_budget(found.bias, db, 4 * n, 1, "bias", scale=1.0)


def test_bias_and_relu_in_the_same_pass() -> None:
    """The same bits as one after the other."""
    x, weight, bias = draw(67, 2, 2, 70), draw(41, 3, 3, 70, seed=1), draw(82, seed=2)[::2]
    out = toeplitz.convolve(x, weight, None)
    np.testing.assert_array_equal(toeplitz.convolve(x, weight, bias), out + bias)
    np.testing.assert_array_equal(toeplitz.convolve(x, weight, bias, rectify=True), np.maximum(out + bias, 0))


@pytest.mark.parametrize("layout", ["contiguous", "channels last", "strided"])
def test_through_the_backend(layout: str) -> None:
    """A convolution and its ReLU, together or one after the other: the same bits, whatever lies between the elements."""
    x, weight, bias = draw(20, 24, 2, 2), draw(36, 24, 3, 3, seed=1), draw(36, seed=2)
    wide_x, wide_weight, wide_bias = (a.astype("float64") for a in (x, weight, bias))
    if layout == "channels last":
        x, weight = last(x).transpose(0, 3, 1, 2), last(weight).transpose(0, 3, 1, 2)
    elif layout == "strided":
        x, bias = np.repeat(x, 2, axis=-1)[..., ::2], np.repeat(bias, 2)[::2]
    x.flags.writeable = False
    expected, oracle_saved = ORACLE.conv2d(wide_x, wide_weight, wide_bias, ONES, ONES)
    convolved, saved = CPU.conv2d(x, weight, bias, ONES, ONES)
    assert saved[0] == "toeplitz"
    rounding = toeplitz.BUDGET / ROUNDINGS
    assert_within_budget(convolved, expected, weight[0].size, rounding, "out")
    rectified, positive = CPU.relu(convolved)
    out, kept = CPU.conv2d_relu(x, weight, bias, ONES, ONES)
    np.testing.assert_array_equal(out, rectified)
    dout = draw(*out.shape, seed=3)
    (let_through,) = CPU.relu_backward(positive, dout)
    wanted = CPU.conv2d_backward(saved, let_through)
    oracle = ORACLE.conv2d_backward(oracle_saved, let_through.astype("float64"))
    for actual, exact, terms in zip(wanted, oracle, (9 * 36, 80, 80), strict=True):
        assert_within_budget(actual, exact, terms, rounding, "gradient")
    for bits in range(1, 8):
        needs = tuple(bool(bits & bit) for bit in (1, 2, 4))
        for found in (CPU.conv2d_backward(saved, let_through, needs), CPU.conv2d_relu_backward(kept, dout, needs)):
            for actual, same, needed in zip(found, wanted, needs, strict=True):
                assert (actual is not None) == needed
                if needed:
                    np.testing.assert_array_equal(actual, same)


def test_bit_for_bit_on_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight, bias, found = draw(150, 2, 2, 70), draw(73, 3, 3, 70), draw(73), []
    for count in ("1", "2", "5"):
        monkeypatch.setenv("GPUNN_NUM_THREADS", count)
        threads._forget_crew()
        out = toeplitz.convolve(x, weight, bias, rectify=True)
        dout = np.sin(np.arange(out.size, dtype="float32")).reshape(out.shape)
        gradients = toeplitz.differentiate(x, weight, dout, out, True, True, True)
        found.append([a.tobytes() for a in (out, gradients.x, gradients.weight, gradients.bias)])
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_a_number_stays_in_its_image(value: float) -> None:
    """It reaches the whole image, all of whose outputs see it, and the gradients of the filters that do; nothing else."""
    x, weight, dout = draw(21, 2, 2, 20), draw(18, 3, 3, 20, seed=1), draw(21, 2, 2, 18, seed=2)
    spoiled = dout.copy()
    spoiled[17, 1, 0, 5] = value
    found = toeplitz.differentiate(x, weight, spoiled, None, True, True, True)
    x[17, 0, 1, 19] = value
    out = toeplitz.convolve(x, weight, None)
    for made in (out, found.x):
        assert not np.isfinite(made[17]).any()
        assert np.isfinite(np.delete(made, 17, axis=0)).all()
    assert not np.isfinite(found.weight[5, :2, 1:]).any()  # the elements that meet this pixel
    assert np.isfinite(np.delete(found.weight, 5, axis=0)).all()
    assert np.flatnonzero(~np.isfinite(found.bias)).tolist() == [5]
    of_x = toeplitz.differentiate(x, weight, dout, None, False, True, False).weight
    assert np.isfinite(of_x[..., :19]).all() and not np.isfinite(of_x[:, :2, 1:, 19]).any()
    rectified = toeplitz.convolve(x, weight, None, rectify=True)
    np.testing.assert_array_equal(rectified, np.maximum(out, 0))  # NaN stays NaN


def test_choice() -> None:
    def choose(shape: tuple[int, ...], weight: tuple[int, ...], padding: Any = ONES, **changes: Any) -> str:
        options = {"stride": ONES, "dilation": ONES, "dtype": "float32"} | changes
        return algorithms.choose(shape, weight, padding=padding, **options)

    images, filters = (64, 512, 2, 2), (512, 512, 3, 3)
    assert choose(images, filters) == choose((8, 512, 2, 2), filters) == "toeplitz"
    others = [
        choose((7, 512, 2, 2), filters),
        choose(images, filters, padding=(2, 2)),
        choose(images, filters, padding=(0, 1)),
        choose((64, 512, 2, 3), filters),
        choose((64, 512, 4, 4), filters),
        choose(images, (512, 512, 5, 5), padding=(2, 2)),
        choose(images, filters, stride=(2, 2)),
        choose(images, filters, dilation=(1, 2)),
        choose(images, filters, dtype="float64"),
    ]
    assert "toeplitz" not in [*others, choose(images, filters, allowed="direct")]


def losses(algorithm: str, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Of 20 steps of a small network whose last convolution is of 2x2 images, by that algorithm."""
    monkeypatch.setattr(
        "backends.cpu.convolution.choose", lambda shape, *_: algorithm if shape[2:] == (2, 2) else "implicit"
    )
    manual_seed(3)
    net = nn.Sequential(
        nn.Conv2d(3, 24, 3, padding=1), nn.ReLU(), nn.MaxPool2d(4), nn.Conv2d(24, 20, 3, padding=1), nn.BatchNorm2d(20),
        nn.ReLU(), nn.Flatten(), nn.Linear(80, 5),
    )  # fmt: skip
    optimizer, images = optim.SGD(net.parameters(), lr=0.02, momentum=0.9), Tensor(draw(16, 3, 8, 8), CPU)
    labels, found = Tensor(np.arange(16) % 5, CPU), []
    for _ in range(20):
        optimizer.zero_grad()
        loss = functional.cross_entropy(net(images), labels)
        loss.backward()
        optimizer.step()
        found.append(float(loss.item()))
    return found


def test_training_agrees_with_direct_convolution(monkeypatch: pytest.MonkeyPatch) -> None:
    found, expected = losses("toeplitz", monkeypatch), losses("implicit", monkeypatch)
    assert expected[-1] < 0.7 * expected[0]
    assert found != expected  # it was another algorithm
    np.testing.assert_allclose(found, expected, atol=1e-3)
