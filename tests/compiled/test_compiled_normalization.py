"""Compiled batch normalization against the reference in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from operations.harness import assert_within_budget

import backends
from backends.cpu import normalization, threads

pytest.importorskip("numba")
SHAPES = [(1, 1), (2, 1), (1, 3, 1, 1), (7, 3), (65, 17), (5, 19, 3, 4), (4, 64, 9, 7), (3, 33, 1, 1)]


@pytest.fixture(autouse=True)
def on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUNN_COMPILED", "1")
    monkeypatch.setattr(normalization, "CACHE_BYTES", 4000)  # several pieces of small arrays


def sample(shape: tuple[int, ...], offset: float = 3.0) -> list[np.ndarray]:
    random = np.random.default_rng(7)
    x, dout = random.normal(offset, 2, shape), random.normal(0.3, 1, shape)
    weight, bias = random.normal(1, 1, shape[1]), random.normal(0, 1, shape[1])
    return [x, weight, bias, dout]


def in_memory(values: list[np.ndarray], order: str) -> list[np.ndarray]:
    """x and dout, the first and the last, in that order of memory."""
    if order == "batch last" and values[0].ndim == 4:
        return [
            np.asarray(v.transpose(1, 2, 3, 0), order="C").transpose(3, 0, 1, 2) if v.ndim == 4 else v for v in values
        ]
    return values


def run(device: str, values: list[Any], rectify: bool) -> list[np.ndarray]:
    backend = backends.get(device)
    *inputs, dout = values
    forward = backend.batch_norm_relu if rectify else backend.batch_norm
    backward = backend.batch_norm_relu_backward if rectify else backend.batch_norm_backward
    (y, mean, variance), saved = forward(*inputs, eps=1e-3)
    gradients = backward(saved, dout)
    return [y, mean, variance, *gradients]


@pytest.mark.parametrize("order", ["channels first", "batch last"])
@pytest.mark.parametrize("rectify", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [*SHAPES, (40, 3, 13, 11)], ids=str)
def test_agrees_with_the_reference(shape: tuple[int, ...], dtype: str, rectify: bool, order: str) -> None:
    values = in_memory([value.astype(dtype) for value in sample(shape)], order)
    found = run("cpu", values, rectify)
    expected = run("reference", [value.astype(np.float64) for value in values], rectify)
    terms = values[0].size // shape[1]
    for name, actual, oracle in zip(("y", "mean", "variance", "dx", "dweight", "dbias"), found, expected, strict=True):
        assert actual.dtype == np.dtype(dtype) and actual.shape == oracle.shape
        scale = 1e-3**-0.5 * float(np.abs(values[3]).max()) if terms < 3 else 10.0
        assert_within_budget(actual, oracle, terms, 4, name, scale)


@pytest.mark.parametrize("order", ["channels first", "batch last"])
@pytest.mark.parametrize("rectify", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_given_statistics(shape: tuple[int, ...], dtype: str, rectify: bool, order: str) -> None:
    x, weight, bias, dout = in_memory([value.astype(dtype) for value in sample(shape)], order)
    mean, variance = np.linspace(1, 4, shape[1]).astype(dtype), np.linspace(0.5, 3, shape[1]).astype(dtype)
    results = []
    for device, as_type in (("cpu", dtype), ("reference", "float64")):
        backend = backends.get(device)
        name = "batch_norm_inference_relu" if rectify else "batch_norm_inference"
        values = [value.astype(as_type) for value in (x, weight, bias, mean, variance)]
        out, saved = getattr(backend, name)(*values)
        absent = getattr(backend, name)(values[0], None, None, *values[3:])[0]
        gradients = getattr(backend, f"{name}_backward")(saved, dout.astype(as_type))
        results.append([out, absent, *gradients[:3]])
    for actual, oracle in zip(*results, strict=True):
        assert actual.dtype == np.dtype(dtype)
        assert_within_budget(actual, oracle, x.size // shape[1], 4, "given statistics", 10.0)


@pytest.mark.parametrize("order", ["channels first", "batch last"])
@pytest.mark.parametrize("rectify", [False, True])
def test_a_distant_mean_does_not_cancel(rectify: bool, order: str) -> None:
    values = in_memory([value.astype(np.float32) for value in sample((64, 5, 4, 4), offset=1000.0)], order)
    expected = run("reference", [value.astype(np.float64) for value in values], rectify)
    found = run("cpu", values, rectify)
    np.testing.assert_allclose(found[2], expected[2], rtol=1e-4)
    np.testing.assert_allclose(found[0], expected[0], atol=1e-3)


@pytest.mark.parametrize("rectify", [False, True])
def test_memory_order_and_absent_parameters(rectify: bool) -> None:
    x, weight, bias, dout = (value.astype(np.float32) for value in sample((4, 6, 5, 8)))
    strided = [np.repeat(value, 2, axis=-1)[..., ::2] for value in (x, dout)]
    usual = run("cpu", [x, weight, bias, dout], rectify)
    for actual, other in zip(run("cpu", [strided[0], weight, bias, strided[1]], rectify), usual, strict=True):
        np.testing.assert_array_equal(actual, other)
    wide = [x.astype(np.float64), None, None, dout.astype(np.float64)]
    found, expected = run("cpu", [x, None, None, dout], rectify), run("reference", wide, rectify)
    assert found[4] is None and found[5] is None
    for actual, oracle in zip(found[:4], expected[:4], strict=True):
        assert_within_budget(actual, oracle, 160, 4, "without parameters", 4.0)


@pytest.mark.parametrize("order", ["channels first", "batch last"])
@pytest.mark.parametrize("rectify", [False, True])
@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_stay_in_their_channel(special: float, rectify: bool, order: str) -> None:
    values = in_memory([value.astype(np.float32) for value in sample((8, 4, 5, 5))], order)
    usual = run("cpu", values, rectify)
    values[0][3, 2, 1, 1] = special
    with np.errstate(invalid="ignore"):
        found, expected = run("cpu", values, rectify), run("reference", values, rectify)
    for actual, oracle, before in zip(found, expected, usual, strict=True):
        np.testing.assert_array_equal(np.isnan(actual), np.isnan(oracle))
        axis = 1 if actual.ndim > 1 else 0
        for part, other in ((np.take(a, [0, 1, 3], axis), np.take(b, [0, 1, 3], axis)) for a, b in [(actual, before)]):
            np.testing.assert_array_equal(part, other)


@pytest.mark.parametrize("order", ["channels first", "batch last"])
def test_the_number_of_threads_changes_no_bit(order: str, monkeypatch: pytest.MonkeyPatch) -> None:
    values = in_memory([value.astype(np.float32) for value in sample((16, 24, 9, 9))], order)
    results = []
    for cores in ("1", "2"):
        monkeypatch.setenv("GPUNN_NUM_THREADS", cores)
        monkeypatch.setattr(threads, "_crew", None)
        results.append(run("cpu", values, True))
    for one, two in zip(*results, strict=True):
        assert one.tobytes() == two.tobytes()
