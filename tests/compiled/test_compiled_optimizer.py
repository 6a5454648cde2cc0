"""Compiled optimizer steps against the reference in float64, several steps one after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from operations.harness import assert_within_budget

import backends
from backends.cpu import optimizer, threads

pytest.importorskip("numba")
SHAPES = [(1,), (65,), (7, 3, 2, 2), (0, 4), (40, 30), ()]
SGD = [
    {"lr": 0.1, "momentum": 0.0, "dampening": 0.0, "weight_decay": 0.0, "nesterov": False, "maximize": False},
    {"lr": 0.1, "momentum": 0.0, "dampening": 0.0, "weight_decay": 0.2, "nesterov": False, "maximize": True},
    {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.2, "nesterov": False, "maximize": False},
    {"lr": 0.1, "momentum": 0.9, "dampening": 0.0, "weight_decay": 0.0, "nesterov": True, "maximize": True},
]
ADAM = [
    {"lr": 0.1, "beta1": 0.9, "beta2": 0.99, "eps": 1e-3, "weight_decay": 0.0, "decoupled": False, "maximize": False},
    {"lr": 0.1, "beta1": 0.9, "beta2": 0.99, "eps": 1e-3, "weight_decay": 0.2, "decoupled": False, "maximize": True},
    {"lr": 0.1, "beta1": 0.9, "beta2": 0.99, "eps": 1e-3, "weight_decay": 0.2, "decoupled": True, "maximize": False},
]


@pytest.fixture(autouse=True)
def on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUNN_COMPILED", "1")
    monkeypatch.setattr(optimizer, "CACHE_BYTES", 1000)  # several pieces of small arrays


def lists(dtype: str, count: int, order: str = "C") -> list[list[np.ndarray]]:
    random = np.random.default_rng(2)
    made = [[np.asarray(random.normal(size=shape)) for shape in SHAPES] for _ in range(count)]
    made[-1] = [np.abs(a) for a in made[-1]]  # average squares are not negative
    # Through the narrow type, so that the oracle starts from the same numbers.
    return [[np.array(a.astype("float32"), dtype, order=order) for a in column] for column in made]


def steps(device: str, name: str, columns: list[Any], options: dict[str, Any]) -> list[list[np.ndarray]]:
    backend = backends.get(device)
    for step in (1, 2, 3):
        if name == "sgd":
            buffers = columns[2] if options["momentum"] else None
            backend.sgd_(*columns[:2], buffers, **options, first_step=step == 1)
        else:
            backend.adam_(*columns[:4], columns[4] if len(columns) > 4 else None, **options, step=step)
    return columns


CASES = [*(("sgd", 3, o) for o in SGD), *(("adam", 4, o) for o in ADAM), ("adam", 5, ADAM[1])]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "count", "options"), CASES, ids=str)
def test_agrees_with_the_reference(name: str, count: int, options: dict[str, Any], dtype: str) -> None:
    found = steps("cpu", name, lists(dtype, count), options)
    expected = steps("reference", name, lists("float64", count), options)
    for column, oracles in zip(found, expected, strict=True):
        for actual, oracle in zip(column, oracles, strict=True):
            assert actual.dtype == np.dtype(dtype)
            assert_within_budget(actual, oracle, 9, 2, name, 1.0)
    gradients = lists(dtype, count)[1]
    assert all(np.array_equal(one, other) for one, other in zip(found[1], gradients, strict=True))


@pytest.mark.parametrize(("name", "count", "options"), [("sgd", 3, SGD[2]), ("adam", 4, ADAM[1])], ids=str)
def test_any_memory_order(name: str, count: int, options: dict[str, Any]) -> None:
    usual = steps("cpu", name, lists("float32", count), options)
    turned = steps("cpu", name, lists("float32", count, "F"), options)
    mixed = lists("float32", count, "F")
    mixed[1] = lists("float32", count)[1]
    gaps = [[np.repeat(a, 2, axis=-1)[..., ::2] if a.ndim else a for a in column] for column in lists("float32", count)]
    for other in (turned, steps("cpu", name, mixed, options), steps("cpu", name, gaps, options)):
        for one, two in zip(usual, other, strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


def test_the_first_step_does_not_look_at_the_momentum_buffer() -> None:
    columns = lists("float32", 3)
    for buffer in columns[2]:
        buffer[...] = np.nan
    assert all(np.isfinite(a).all() for column in steps("cpu", "sgd", columns, SGD[2]) for a in column)


def test_the_number_of_threads_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for cores in ("1", "2"):
        monkeypatch.setenv("GPUNN_NUM_THREADS", cores)
        monkeypatch.setattr(threads, "_crew", None)
        results.append(steps("cpu", "adam", lists("float32", 4), ADAM[1]))
    for one, two in zip(*results, strict=True):
        assert all(a.tobytes() == b.tobytes() for a, b in zip(one, two, strict=True))
