"""Winograd's convolution without compiled kernels, per size of tile and kernel, against the reference in float64."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import backends
from backends.cpu import algorithms, threads, winograd_by_blas
from backends.cpu.winograd import BUDGET, Grid

CPU, ORACLE = backends.get("cpu"), backends.get("reference")
SIZES = list(BUDGET)  # of tile and kernel
SHAPES = [
    # images, channels, height, width, channels out, padding of a 3x3 kernel; a 5x5 one has one more, so the same outputs
    (1, 1, 1, 1, 1, (1, 1)),
    (2, 3, 7, 5, 4, (0, 0)),
    (3, 65, 9, 6, 7, (1, 1)),
    (1, 130, 3, 3, 5, (0, 0)),
    (2, 17, 11, 13, 33, (2, 0)),
    (2, 64, 8, 8, 64, (1, 1)),  # whole tiles
    (2, 8, 30, 67, 8, (1, 2)),
    (20, 16, 16, 13, 16, (1, 1)),
    (1, 5, 300, 12, 7, (1, 1)),  # an image in several parts
    (3, 4, 5, 6, 130, (5, 3)),  # more padding than the kernel reaches
]


@pytest.fixture(autouse=True)
def _own_crew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("GPUNN_COMPILED", "0")
    yield
    threads._forget_crew()


@pytest.fixture(params=["large parts", "small parts"])
def parts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the work fits into a few parts, or a row of tiles is a part already."""
    if request.param == "small parts":
        for name in ("COLUMNS", "TILES", "MANY_TILES"):
            monkeypatch.setattr(winograd_by_blas, name, 1)


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def last(x: Any) -> np.ndarray:
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1))


def check(actual: np.ndarray, oracle: np.ndarray, operands: Any, terms: int, size: tuple[int, int]) -> None:
    eps, scale = float(np.finfo("float32").eps), math.prod(float(np.abs(operand).max()) for operand in operands)
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, last(oracle), rtol=0, atol=BUDGET[size] * eps * math.sqrt(terms) * scale)


@pytest.mark.usefixtures("parts")
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
        monkeypatch.setattr(Grid, "by_images", images)  # or places, whatever the shape
        out = winograd_by_blas.convolve(last(x), last(weight), None, padding, tile, rectify)
        check(out, np.maximum(expected, 0) if rectify else expected, (x, weight), kernel**2 * channels, size)
        let_through = np.where(out.transpose(0, 3, 1, 2) <= 0, 0, dout) if rectify else dout
        dx, dw, db = ORACLE.conv2d_backward((*saved[:2], True, *saved[3:]), let_through.astype("float64"))
        for needs in [(True, True, True), (True, False, False), (False, True, False), (False, False, True)]:
            found = winograd_by_blas.differentiate(
                last(x), last(weight), last(dout), out if rectify else None, padding, tile, *needs
            )
            assert tuple(gradient is not None for gradient in (found.x, found.weight, found.bias)) == needs
            if needs[0]:
                check(found.x, dx, (dout, weight), kernel**2 * outs, size)
            if needs[1]:
                check(found.weight, dw, (x, dout), dout[:, 0].size, size)
            if needs[2]:
                np.testing.assert_allclose(found.bias, db, rtol=0, atol=1e-5 * dout[:, 0].size)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_bias_and_relu_in_the_same_pass(size: Any) -> None:
    """The same bits as one after the other, forward and backward."""
    tile, kernel = size
    x, weight, bias = draw(3, 9, 10, 17), draw(20, kernel, kernel, 17, seed=1), draw(40, seed=2)[::2]
    out = winograd_by_blas.convolve(x, weight, None, (1, 2), tile)
    np.testing.assert_array_equal(winograd_by_blas.convolve(x, weight, bias, (1, 2), tile), out + bias)
    rectified = winograd_by_blas.convolve(x, weight, bias, (1, 2), tile, rectify=True)
    np.testing.assert_array_equal(rectified, np.maximum(out + bias, 0))
    dout = draw(*out.shape, seed=4)
    together = winograd_by_blas.differentiate(x, weight, dout, rectified, (1, 2), tile, True, True, True)
    dout[rectified <= 0] = 0
    apart = winograd_by_blas.differentiate(x, weight, dout, None, (1, 2), tile, True, True, True)
    for one, other in zip(vars(together).values(), vars(apart).values(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.usefixtures("parts")
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("images", [True, False], ids=["images", "places"])
@pytest.mark.parametrize("batch", [1, 11])
def test_bit_for_bit_on_any_number_of_threads(
    monkeypatch: pytest.MonkeyPatch, batch: int, images: bool, size: Any
) -> None:
    monkeypatch.setattr(Grid, "by_images", images)
    tile, kernel = size
    x, weight, bias, found = draw(batch, 19, 18, 70), draw(73, kernel, kernel, 70), draw(73), []
    for count in ("1", "2", "5"):
        monkeypatch.setenv("GPUNN_NUM_THREADS", count)
        threads._forget_crew()
        out = winograd_by_blas.convolve(x, weight, bias, (1, 1), tile, rectify=True)
        dout = np.sin(np.arange(out.size, dtype="float32")).reshape(out.shape)
        gradients = winograd_by_blas.differentiate(x, weight, dout, out, (1, 1), tile, True, True, True)
        found.append([a.tobytes() for a in (out, gradients.x, gradients.weight, gradients.bias)])
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("images", [True, False], ids=["images", "places"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_a_number_stays_in_its_tile(monkeypatch: pytest.MonkeyPatch, value: float, images: bool, size: Any) -> None:
    """It reaches all that sees it, and nothing of a tile that does not overlap its own; nor does the memory keep it."""
    monkeypatch.setattr(Grid, "by_images", images)
    tile, kernel = size
    reach, padding = kernel // 2, (kernel // 2, kernel // 2)
    weight, dout = draw(4, kernel, kernel, 6), draw(2, 20, 20, 4)
    x, spoiled = draw(2, 20, 20, 6), dout.copy()
    clean = winograd_by_blas.convolve(x, weight, None, padding, tile)
    spoiled[0, 8, 8, 0] = value
    with np.errstate(invalid="ignore"):
        found = winograd_by_blas.differentiate(x, weight, spoiled, None, padding, tile, True, True, True)
        whole, x[0, 8, 8, 0] = x.copy(), value
        plain = winograd_by_blas.convolve(x, weight, None, padding, tile)
        rectified = winograd_by_blas.convolve(x, weight, None, padding, tile, rectify=True)
    for made in (plain, found.x):
        seen = slice(8 - reach, 9 + reach)
        assert not np.isfinite(made[0, seen, seen]).any()
        for far in (made[0, :2], made[0, 15:], made[0, :, :2], made[0, :, 15:], made[1]):
            assert np.isfinite(far).all()
    assert not np.isfinite(found.weight[0]).any()
    assert np.isfinite(found.weight[1:]).all()
    np.testing.assert_array_equal(rectified, np.maximum(plain, 0))  # NaN stays NaN
    np.testing.assert_array_equal(winograd_by_blas.convolve(whole, weight, None, padding, tile), clean)


def test_the_backend_takes_it_where_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same algorithm in both directions, with and without the ReLU; GPUNN_CONV=direct rules it out."""
    calls = []
    for name in ("convolve", "differentiate"):
        work = getattr(winograd_by_blas, name)
        monkeypatch.setattr(winograd_by_blas, name, lambda *a, name=name, work=work: (calls.append(name), work(*a))[1])
    x, weight, bias = draw(16, 128, 8, 8), draw(256, 128, 3, 3, seed=1), draw(256, seed=2)
    results = {}
    for allowed in ("auto", "direct"):
        monkeypatch.setenv("GPUNN_CONV", allowed)
        out, saved = CPU.conv2d(x, weight, bias, (1, 1), (1, 1))
        dout = draw(*out.shape, seed=3)
        fused, saved_fused = CPU.conv2d_relu(x, weight, bias, (1, 1), (1, 1))
        gradients = CPU.conv2d_backward(saved, dout)
        of_fused = CPU.conv2d_relu_backward(saved_fused, dout)
        np.testing.assert_array_equal(fused, np.maximum(out, 0))
        masked = CPU.conv2d_backward(saved, np.where(out <= 0, np.float32(0), dout))
        for one, other in zip(of_fused, masked, strict=True):
            np.testing.assert_array_equal(one, other)
        results[allowed] = [out, *gradients]
        assert calls == (["convolve"] * 2 + ["differentiate"] * 3 if allowed == "auto" else [])
        calls.clear()
    for one, other in zip(*results.values(), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-3 * float(np.abs(other).max()))


@pytest.mark.parametrize(
    ("shape", "filters", "stride", "expected"),
    [
        ((64, 512, 4, 4), (512, 512, 3, 3), 1, "winograd 6"),
        ((64, 512, 2, 2), (512, 512, 3, 3), 1, "winograd 4"),
        ((16, 64, 27, 27), (192, 64, 5, 5), 1, "winograd 8"),
        ((8, 192, 7, 7), (64, 192, 5, 5), 1, "im2col"),  # few tiles for the filters' transforms
        ((64, 3, 32, 32), (64, 3, 3, 3), 1, "im2col"),  # few channels
        ((64, 512, 4, 4), (512, 512, 3, 3), 2, "im2col"),
        ((64, 512, 4, 4), (512, 512, 1, 1), 1, "im2col"),
        ((1, 16, 4, 4), (16, 16, 3, 3), 1, "im2col"),  # too little work
        ((2, 64, 512, 512), (64, 64, 3, 3), 1, "im2col"),  # too large matrices
    ],
    ids=str,
)
def test_choice(shape: Any, filters: Any, stride: int, expected: str) -> None:
    window = ((stride, stride), (filters[2] // 2,) * 2, (1, 1))
    assert algorithms.choose_by_blas(shape, filters, *window, "float32") == expected
    assert algorithms.choose_by_blas(shape, filters, *window, "float64") == "im2col"


def test_without_numba() -> None:
    """A network trains, though Numba cannot be imported."""
    code = """
import sys
sys.modules["numba"] = sys.modules["llvmlite"] = None
import numpy as np
import gpunn
from backends.cpu import algorithms, compiled
assert not compiled.is_available()
assert algorithms.choose_by_blas((16, 128, 8, 8), (256, 128, 3, 3), (1, 1), (1, 1), (1, 1), "float32").startswith("winograd")
gpunn.manual_seed(1)
nn = gpunn.nn
net = nn.Sequential(nn.Conv2d(128, 256, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256 * 64, 2))
optimizer = gpunn.optim.SGD(net.parameters(), lr=5e-3)
x, y = gpunn.tensor(np.random.default_rng(0).standard_normal((16, 128, 8, 8)).astype("float32")), gpunn.tensor(np.arange(16) % 2)
losses = []
for _ in range(6):
    optimizer.zero_grad()
    loss = gpunn.functional.cross_entropy(net(x), y)
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
assert losses[-1] < 0.5 * losses[0], losses
"""
    root = Path(__file__).parents[2]
    environment = {k: v for k, v in os.environ.items() if k not in ("GPUNN_COMPILED", "GPUNN_CONV")}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root, env=environment)
