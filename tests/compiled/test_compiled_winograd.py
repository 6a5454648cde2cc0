"""Winograd's convolution per size of tile against the reference in float64, within its own budget."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import backends
from backends.cpu import threads, winograd
from gpunn import functional, nn, optim
from gpunn.random import manual_seed
from gpunn.tensor import Tensor

pytest.importorskip("numba")
ORACLE = backends.get("reference")
SHAPES = [
    # images, channels, height, width, channels out, padding
    (1, 1, 1, 1, 1, (1, 1)),
    (2, 3, 7, 5, 4, (0, 0)),
    (3, 65, 9, 6, 70, (1, 1)),  # channels in two runs
    (1, 130, 3, 3, 5, (0, 0)),
    (2, 17, 11, 13, 33, (2, 0)),
    (2, 8, 30, 67, 8, (1, 2)),  # an image in several pieces
    (4, 512, 4, 4, 64, (1, 1)),
    (40, 16, 16, 13, 16, (1, 1)),  # many tiles: products by pieces
    (1, 5, 300, 12, 7, (1, 1)),
]


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def last(x: Any) -> np.ndarray:
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1))


def assert_within_budget(actual: np.ndarray, oracle: np.ndarray, operands: Any, terms: int, size: int) -> None:
    scale = math.prod(float(np.abs(operand).max()) for operand in operands)
    limit = winograd.BUDGET[size] * float(np.finfo("float32").eps) * math.sqrt(terms) * scale
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, last(oracle), rtol=0, atol=limit)


@pytest.mark.parametrize("size", [4, 6])
@pytest.mark.parametrize("case", SHAPES, ids=str)
@pytest.mark.parametrize("few", [0, 10**6], ids=["by pieces", "by places"])
def test_forward_and_gradients(monkeypatch: pytest.MonkeyPatch, case: Any, size: int, few: int) -> None:
    monkeypatch.setattr(winograd, "FEW_TILES", few)
    n, channels, height, width, outs, padding = case
    x, weight, bias = draw(n, channels, height, width), draw(outs, channels, 3, 3, seed=1), draw(outs, seed=2)
    wide = [a.astype("float64") for a in (x, weight, bias)]
    expected, saved = ORACLE.conv2d(*wide, (1, 1), padding)
    out, kept = winograd.convolve(last(x), last(weight), bias, padding, size)
    assert_within_budget(out, expected, (x, weight), 9 * channels, size)
    gradient = draw(*expected.shape, seed=3)
    grad_x, grad_weight, _ = ORACLE.conv2d_backward(saved, gradient.astype("float64"))
    for of_input, of_weight in [(True, True), (True, False), (False, True), (False, False)]:
        dx, dw = winograd.gradients(kept, last(gradient), of_input, of_weight)
        assert (dx is None, dw is None) == (not of_input, not of_weight)
        if of_input:
            assert_within_budget(dx, grad_x, (gradient, weight), 9 * outs, size)
        if of_weight:
            assert_within_budget(dw, grad_weight, (x, gradient), gradient[:, 0].size, size)


@pytest.mark.parametrize("size", [4, 6])
def test_bit_for_bit_on_any_number_of_threads(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    found = []
    for count, few in [("1", 0), ("3", 0), ("1", 10**6), ("3", 10**6)]:
        monkeypatch.setenv("GPUNN_NUM_THREADS", count)
        monkeypatch.setattr(winograd, "FEW_TILES", few)
        threads._forget_crew()
        x, weight = draw(5, 19, 18, 11), draw(23, 3, 3, 19)
        out, kept = winograd.convolve(last(x), weight, None, (1, 1), size)
        found.append([a.tobytes() for a in (out, *winograd.gradients(kept, out, True, True))])
    threads._forget_crew()
    assert found[0] == found[1]
    assert found[2] == found[3]


@pytest.mark.parametrize("size", [4, 6])
def test_not_a_number_stays_in_its_tile(size: int) -> None:
    """It reaches every output that sees it, and none of another tile that does not overlap it."""
    for value in (np.nan, np.inf):
        x = draw(1, 20, 20, 6)
        x[0, 8, 8, 0] = value
        out, _ = winograd.convolve(x, draw(4, 3, 3, 6), None, (1, 1), size)
        assert not np.isfinite(out[0, 7:10, 7:10]).any()
        assert np.isfinite(out[0, :4]).all()
        assert np.isfinite(out[0, :, 14:]).all()


def losses(monkeypatch: pytest.MonkeyPatch, algorithm: str) -> list[float]:
    """Of 20 steps of a small network whose second convolution is computed by ``algorithm``."""
    monkeypatch.setattr(
        "backends.cpu.convolution.choose", lambda shape, *rest: algorithm if shape[1] == 12 else "im2col"
    )
    manual_seed(3)
    net = nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16 * 36, 5),
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


def test_training_agrees_with_direct_convolution(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = losses(monkeypatch, "im2col")
    assert expected[-1] < 0.7 * expected[0]
    for algorithm in ("winograd 4", "winograd 6"):
        found = losses(monkeypatch, algorithm)
        assert found != expected  # it was another algorithm
        np.testing.assert_allclose(found, expected, atol=1e-3)
