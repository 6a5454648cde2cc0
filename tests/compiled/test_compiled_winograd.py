"""Winograd's convolution per size of tile and kernel against the reference in float64, within its own budget."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from operations.harness import assert_within_budget

import backends
from backends.cpu import threads, winograd
from gpunn import functional, nn, optim
from gpunn.random import manual_seed
from gpunn.tensor import Tensor

pytest.importorskip("numba")
ORACLE = backends.get("reference")
SIZES = list(winograd.BUDGET)  # of tile and kernel
SHAPES = [
    # images, channels, height, width, channels out, padding of a 3x3 kernel; a 5x5 one has one more, so the same outputs
    (1, 1, 1, 1, 1, (1, 1)),
    (2, 3, 7, 5, 4, (0, 0)),
    (3, 65, 9, 6, 70, (1, 1)),  # channels in two groups, filters in two blocks
    (1, 130, 3, 3, 5, (0, 0)),  # more than are summed at a time
    (2, 17, 11, 13, 33, (2, 0)),
    (2, 64, 8, 8, 64, (1, 1)),  # whole groups
    (2, 8, 30, 67, 8, (1, 2)),  # an image in several pieces
    (4, 512, 4, 4, 64, (1, 1)),
    (40, 16, 16, 13, 16, (1, 1)),  # more tiles than are summed at a time
    (1, 5, 300, 12, 7, (1, 1)),
    (3, 4, 5, 6, 130, (5, 3)),  # more padding than the kernel reaches
    (7, 65, 13, 5, 70, (1, 0)),  # mosaics, the last with fewer images
    (11, 8, 3, 9, 8, (0, 2)),
]


@pytest.fixture(autouse=True)
def _own_crew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("GPUNN_COMPILED", "1")
    yield
    threads._forget_crew()


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def last(x: Any) -> np.ndarray:
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1))


def check(actual: np.ndarray, oracle: np.ndarray, operands: Any, terms: int, size: tuple[int, int]) -> None:
    eps, scale = float(np.finfo("float32").eps), math.prod(float(np.abs(operand).max()) for operand in operands)
    assert actual.dtype == np.float32
    np.testing.assert_allclose(
        actual, last(oracle), rtol=0, atol=winograd.BUDGET[size] * eps * math.sqrt(terms) * scale
    )


def share_out_images(monkeypatch: pytest.MonkeyPatch, images: bool) -> None:
    """Or channels, whatever the shape."""
    monkeypatch.setattr(winograd.Grid, "by_images", images)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("case", SHAPES, ids=str)
@pytest.mark.parametrize("rectify", [False, True], ids=["plain", "rectified"])
def test_forward_and_gradients(monkeypatch: pytest.MonkeyPatch, case: Any, size: Any, rectify: bool) -> None:
    n, channels, height, width, outs, padding = case
    tile, kernel = size
    padding = tuple(p + (kernel - 3) // 2 for p in padding)
    x, weight = draw(n, channels, height, width), draw(outs, channels, kernel, kernel, seed=1)
    wide = [a.astype("float64") for a in (x, weight)]
    expected, saved = ORACLE.conv2d(*wide, None, (1, 1), padding)
    dout = draw(*expected.shape, seed=3)
    for images in (True, False):
        share_out_images(monkeypatch, images)
        out = winograd.convolve(last(x), last(weight), None, padding, tile, rectify)
        check(out, np.maximum(expected, 0) if rectify else expected, (x, weight), kernel**2 * channels, size)
        let_through = np.where(out.transpose(0, 3, 1, 2) <= 0, 0, dout) if rectify else dout
        dx, dw, db = ORACLE.conv2d_backward((*saved[:2], True, *saved[3:]), let_through.astype("float64"))
        for needs in [(True, True, True), (True, False, False), (False, True, False), (False, False, True)]:
            found = winograd.differentiate(
                last(x), last(weight), last(dout), out if rectify else None, padding, tile, *needs
            )
            assert [g is not None for g in (found.x, found.weight, found.bias)] == list(needs)
            if needs[0]:
                check(found.x, dx, (dout, weight), kernel**2 * outs, size)
            if needs[1]:
                check(found.weight, dw, (x, dout), dout[:, 0].size, size)
            if needs[2]:
                assert_within_budget(found.bias, db, dout[:, 0].size, 1, "bias", scale=1.0)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_mosaics(size: Any) -> None:
    """Images that share tiles with others and images that are alone have the same results, up to rounding."""
    tile, kernel = size
    side = 2 * (tile - kernel + 1) + 1
    padding = (kernel // 2, kernel // 2)
    x, weight, bias = draw(9, side, side, 70), draw(66, kernel, kernel, 70, seed=1), draw(66, seed=2)
    dout = draw(9, side, side, 66, seed=3)
    grid = winograd.grid_of(x.shape, 66, kernel, padding, tile)
    alone = winograd.grid_of((1, side, side, 70), 66, kernel, padding, tile)
    assert alone.sides == (1, 1)
    assert grid.sides != (1, 1) or tile == 4  # zeros between images take as much as what overhangs with F(2x2, 3x3)
    assert grid.tiles <= 9 * alone.tiles
    out = winograd.convolve(x, weight, bias, padding, tile, rectify=True)
    found = winograd.differentiate(x, weight, dout, out, padding, tile, True, False, False)
    for n in range(9):
        one = slice(n, n + 1)
        expected = winograd.convolve(x[one], weight, bias, padding, tile, rectify=True)
        gradients = winograd.differentiate(x[one], weight, dout[one], out[one], padding, tile, True, False, False)
        for made, wanted in ((out, expected), (found.x, gradients.x)):
            np.testing.assert_allclose(made[one], wanted, rtol=0, atol=2e-5 * float(np.abs(wanted).max()))
    x[0], dout[0] = np.nan, np.inf
    spoiled = winograd.convolve(x, weight, bias, padding, tile, rectify=True)
    gradients = winograd.differentiate(x, weight, dout, out, padding, tile, True, False, False)
    assert np.isnan(spoiled[0]).all()
    for made, wanted in ((spoiled, out), (gradients.x, found.x)):
        np.testing.assert_allclose(made[1:], wanted[1:], rtol=0, atol=2e-5 * float(np.abs(wanted).max()))


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_bias_and_relu_in_the_same_pass(size: Any) -> None:
    """The same bits as one after the other."""
    tile, kernel = size
    x, weight, bias = draw(3, 9, 10, 67), draw(70, kernel, kernel, 67, seed=1), draw(140, seed=2)[::2]
    out = winograd.convolve(x, weight, None, (1, 2), tile)
    np.testing.assert_array_equal(winograd.convolve(x, weight, bias, (1, 2), tile), out + bias)
    np.testing.assert_array_equal(
        winograd.convolve(x, weight, bias, (1, 2), tile, rectify=True), np.maximum(out + bias, 0)
    )


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("images", [True, False], ids=["images", "channels"])
def test_bit_for_bit_on_any_number_of_threads(monkeypatch: pytest.MonkeyPatch, images: bool, size: Any) -> None:
    share_out_images(monkeypatch, images)
    tile, kernel = size
    x, weight, bias, found = draw(11, 19, 17, 70), draw(73, kernel, kernel, 70), draw(73), []
    for count in ("1", "2", "5"):
        monkeypatch.setenv("GPUNN_NUM_THREADS", count)
        threads._forget_crew()
        out = winograd.convolve(x, weight, bias, (1, 1), tile, rectify=True)
        dout = np.sin(np.arange(out.size, dtype="float32")).reshape(out.shape)
        gradients = winograd.differentiate(x, weight, dout, out, (1, 1), tile, True, True, True)
        found.append([a.tobytes() for a in (out, gradients.x, gradients.weight, gradients.bias)])
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("images", [True, False], ids=["images", "channels"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_a_number_stays_in_its_tile(monkeypatch: pytest.MonkeyPatch, value: float, images: bool, size: Any) -> None:
    """It reaches all that sees it, and nothing of a tile that does not overlap its own."""
    share_out_images(monkeypatch, images)
    tile, kernel = size
    reach, padding = kernel // 2, (kernel // 2, kernel // 2)
    weight, dout = draw(4, kernel, kernel, 6), draw(2, 20, 20, 4)
    x, spoiled = draw(2, 20, 20, 6), dout.copy()
    spoiled[0, 8, 8, 0] = value
    found = winograd.differentiate(x, weight, spoiled, None, padding, tile, True, True, True)
    x[0, 8, 8, 0] = value
    plain = winograd.convolve(x, weight, None, padding, tile)
    for made in (plain, found.x):
        seen = slice(8 - reach, 9 + reach)
        assert not np.isfinite(made[0, seen, seen]).any()
        for far in (made[0, :2], made[0, 15:], made[0, :, :2], made[0, :, 15:], made[1]):
            assert np.isfinite(far).all()
    assert not np.isfinite(found.weight[0]).any()
    assert np.isfinite(found.weight[1:]).all()
    assert np.flatnonzero(~np.isfinite(found.bias)).tolist() == [0]
    rectified = winograd.convolve(x, weight, None, padding, tile, rectify=True)
    np.testing.assert_array_equal(rectified, np.maximum(plain, 0))  # NaN stays NaN


def losses(monkeypatch: pytest.MonkeyPatch, algorithm: str, kernel: int) -> list[float]:
    """Of 20 steps of a small network whose second convolution is computed by ``algorithm``."""
    monkeypatch.setattr(
        "backends.cpu.convolution.choose", lambda shape, *rest: algorithm if shape[1] == 12 else "im2col"
    )
    manual_seed(3)
    net = nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 16, kernel, padding=kernel // 2), nn.BatchNorm2d(16),
        nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16 * 36, 5),
    )  # fmt: skip
    optimizer, cpu = optim.SGD(net.parameters(), lr=0.02, momentum=0.9), backends.get("cpu")
    images, labels = Tensor(draw(16, 3, 12, 12), cpu), Tensor(np.arange(16) % 5, cpu)
    found = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = functional.cross_entropy(net(images), labels)
        loss.backward()
        optimizer.step()
        found.append(float(loss.item()))
    return found


@pytest.mark.parametrize("kernel", [3, 5])
def test_training_agrees_with_direct_convolution(monkeypatch: pytest.MonkeyPatch, kernel: int) -> None:
    expected = losses(monkeypatch, "implicit", kernel)
    assert expected[-1] < 0.7 * expected[0]
    for tile, extent in SIZES:
        if extent == kernel:
            found = losses(monkeypatch, f"winograd {tile}", kernel)
            assert found != expected  # it was another algorithm
            np.testing.assert_allclose(found, expected, atol=1e-3)
