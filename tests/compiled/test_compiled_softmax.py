"""Compiled cross-entropy against the reference in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from operations.harness import assert_within_budget

import backends
from backends.cpu import softmax, threads

pytest.importorskip("numba")
SHAPES = [(1, 1), (1, 10), (7, 2), (64, 10), (33, 257)]


@pytest.fixture(autouse=True)
def on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUNN_COMPILED", "1")
    monkeypatch.setattr(softmax, "CACHE_BYTES", 4000)  # several pieces of small arrays


def sample(shape: tuple[int, int], dtype: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(4)
    logits, weight = random.normal(0, 5, shape), random.uniform(0, 2, shape[1])
    weight[shape[1] // 2] = 0 if shape[1] > 1 else 1
    return logits.astype(dtype), random.integers(0, shape[1], shape[0]), weight.astype(dtype)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_agrees_with_the_reference(
    shape: tuple[int, int], dtype: str, weighted: bool, smoothing: float, reduction: str
) -> None:
    logits, labels, weight = sample(shape, dtype)
    options: dict[str, Any] = {"label_smoothing": smoothing, "reduction": reduction, "ignore_index": 1}
    both = []
    for device, as_type in (("cpu", dtype), ("reference", "float64")):
        given = weight.astype(as_type) if weighted else None
        with np.errstate(invalid="ignore"):  # a mean of no rows
            both.append(backends.get(device).cross_entropy(logits.astype(as_type), labels, given, **options))
    (loss, gradient), (oracle, oracle_gradient) = both
    assert loss.dtype == gradient.dtype == np.dtype(dtype)
    assert_within_budget(np.asarray(loss), np.asarray(oracle), logits.size, 2, "loss", 10.0)
    assert_within_budget(gradient, oracle_gradient, shape[1], 4, "gradient", 2.0)


@pytest.mark.parametrize("values", [[-np.inf, 0, 1], [np.inf, 0, 1], [np.nan, 0, 1], [-np.inf] * 3, [1e4, -1e4, 0]])
def test_special_logits(values: list[float]) -> None:
    logits = np.array([values, [0, 1, 2]], np.float32)
    for labels in ([0, 1], [1, 2], [-100, 0], [-100, -100]):
        with np.errstate(invalid="ignore", divide="ignore"):
            loss, gradient = backends.get("cpu").cross_entropy(logits, np.array(labels))
            expected, oracle = backends.get("reference").cross_entropy(logits, np.array(labels))
        np.testing.assert_allclose(loss, expected, rtol=1e-6)
        np.testing.assert_allclose(gradient, oracle, atol=1e-6)


def test_memory_order_and_small_integers() -> None:
    logits, labels, _ = sample((64, 10), "float32")
    expected = backends.get("cpu").cross_entropy(logits, labels)
    for other in (np.asfortranarray(logits), np.repeat(logits, 2, axis=1)[:, ::2]):
        found = backends.get("cpu").cross_entropy(other, labels.astype(np.int8))
        assert found[0] == expected[0] and np.array_equal(found[1], expected[1])


def test_the_number_of_threads_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, labels, _ = sample((333, 17), "float32")
    results = []
    for cores in ("1", "2"):
        monkeypatch.setenv("GPUNN_NUM_THREADS", cores)
        monkeypatch.setattr(threads, "_crew", None)
        results.append(backends.get("cpu").cross_entropy(logits, labels))
    assert results[0][0] == results[1][0] and np.array_equal(results[0][1], results[1][1])
