"""Compiled max-pooling: exactly the reference's results, since nothing is rounded but sums where windows overlap."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import backends
from backends.cpu import threads

pytest.importorskip("numba")
WINDOWS: list[dict[str, Any]] = [
    {"kernel": (2, 2), "stride": (2, 2)},
    {"kernel": (2, 2), "stride": (2, 2), "ceil_mode": True},
    {"kernel": (3, 3), "stride": (2, 2)},
    {"kernel": (3, 2), "stride": (1, 3), "padding": (1, 1)},
    {"kernel": (2, 3), "stride": (2, 1), "dilation": (2, 1)},
    {"kernel": (3, 3), "stride": (2, 2), "padding": (1, 1), "ceil_mode": True},
    {"kernel": (1, 1), "stride": (1, 1)},
]
SHAPES = [(1, 1, 3, 5), (3, 17, 6, 8), (2, 5, 7, 9)]


@pytest.fixture(autouse=True)
def on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUNN_COMPILED", "1")


def run(device: str, x: np.ndarray, windows: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    backend = backends.get(device)
    out, saved = backend.max_pool2d(x, **windows)
    assert device != "cpu" or saved[0] == "compiled"
    dout = np.cos(np.arange(out.size)).reshape(out.shape).astype(x.dtype)
    (dx,) = backend.max_pool2d_backward(saved, dout)
    return out, dx


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("windows", WINDOWS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_agrees_with_the_reference_at_ties_too(shape: tuple[int, ...], windows: dict[str, Any], dtype: str) -> None:
    x = np.random.default_rng(3).integers(-2, 3, shape).astype(dtype)
    (out, dx), (expected, expected_dx) = run("cpu", x, windows), run("reference", x, windows)
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_allclose(dx, expected_dx, atol=8 * np.finfo(dtype).eps)
    for other in (np.asfortranarray(x), np.repeat(x, 2, axis=-1)[..., ::2]):
        np.testing.assert_array_equal(run("cpu", other, windows)[1], dx)


@pytest.mark.parametrize("windows", WINDOWS, ids=str)
def test_special_values(windows: dict[str, Any]) -> None:
    random = np.random.default_rng(5)
    x = random.choice(np.array([np.nan, np.inf, -np.inf, -0.0, 0.0, 1.0], np.float32), (4, 19, 7, 9))
    (out, dx), (expected, expected_dx) = run("cpu", x, windows), run("reference", x, windows)
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_allclose(dx, expected_dx, atol=1e-6)


def test_windows_of_minus_infinity_give_it_to_their_first_element() -> None:
    x = np.full((1, 3, 4, 4), -np.inf, np.float32)
    out, dx = run("cpu", x, {"kernel": (2, 2), "stride": (2, 2)})
    assert np.all(out == -np.inf)
    assert np.all(dx[:, :, ::2, ::2] != 0) and np.count_nonzero(dx) == 12


@pytest.mark.parametrize("windows", WINDOWS[:3], ids=str)
def test_the_number_of_threads_changes_no_bit(windows: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backends.cpu.layout.CACHE_BYTES", 2000)
    x = np.random.default_rng(3).normal(size=(8, 6, 9, 9)).astype(np.float32)
    results = []
    for cores in ("1", "2"):
        monkeypatch.setenv("GPUNN_NUM_THREADS", cores)
        monkeypatch.setattr(threads, "_crew", None)
        results.append(run("cpu", x, windows))
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)
