"""The compiled rectifier and its gradients: exactly NumPy's results, save the rounding of the bias's gradient."""

from __future__ import annotations

import numpy as np
import pytest
from operations.harness import assert_within_budget

import backends
from backends.cpu import activation, threads

pytest.importorskip("numba")
SPECIAL = [np.nan, np.inf, -np.inf, -0.0, 0.0, 1e-40]
SHAPES = [(1, 1), (3, 17), (2, 1, 3, 5), (4, 33, 5, 7)]


@pytest.fixture(autouse=True)
def on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUNN_COMPILED", "1")
    monkeypatch.setattr(activation, "CACHE_BYTES", 1000)  # several pieces of small arrays


def sample(shape: tuple[int, ...], dtype: str, layout: str) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(1)
    arrays = [random.normal(size=shape).astype(dtype), random.normal(size=shape).astype(dtype)]
    arrays[0].flat[: len(SPECIAL)] = SPECIAL[: arrays[0].size]
    if layout == "channels last":
        arrays = [np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1) for a in arrays]
    if layout == "strided":
        arrays = [np.repeat(a, 2, axis=-1)[..., ::2] for a in arrays]
    return arrays[0], arrays[1]


@pytest.mark.parametrize("layout", ["contiguous", "channels last", "strided"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_agrees_with_the_reference(shape: tuple[int, ...], dtype: str, layout: str) -> None:
    x, dout = sample(shape, dtype, layout)
    bias = np.linspace(-1, 1, shape[1]).astype(dtype)
    cpu, reference = backends.get("cpu"), backends.get("reference")
    out, saved = cpu.bias_relu(x, bias)
    expected, expected_saved = reference.bias_relu(x, bias)
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(cpu.relu_backward(saved, dout)[0], reference.relu_backward(expected_saved, dout)[0])
    dx, dbias = cpu.bias_relu_backward(saved, dout)
    oracle_dx, oracle_dbias = reference.bias_relu_backward(expected_saved, dout.astype(np.float64))
    np.testing.assert_array_equal(dx, oracle_dx)
    assert_within_budget(dbias, oracle_dbias, x.size // shape[1], 1, "the bias's gradient", 1.0)


def test_two_memory_orders_together() -> None:
    x, _ = sample((4, 33, 5, 7), "float32", "contiguous")
    _, dout = sample((4, 33, 5, 7), "float32", "channels last")
    cpu, reference = backends.get("cpu"), backends.get("reference")
    np.testing.assert_array_equal(cpu.relu_backward(x, dout)[0], reference.relu_backward(x, dout)[0])
    np.testing.assert_array_equal(cpu.bias_relu_backward(x, dout)[0], reference.bias_relu_backward(x, dout)[0])


def test_the_number_of_threads_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    x, dout = sample((16, 24, 9, 9), "float32", "channels last")
    results = []
    for cores in ("1", "2"):
        monkeypatch.setenv("GPUNN_NUM_THREADS", cores)
        monkeypatch.setattr(threads, "_crew", None)
        results.append(backends.get("cpu").bias_relu_backward(x, dout))
    for one, two in zip(*results, strict=True):
        assert one.tobytes() == two.tobytes()
