"""Optimizer steps on the CPU without compiled kernels: in pieces, on any number of threads, the bits are the reference's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import backends
from backends.cpu import optimizer, threads

CPU, ORACLE = backends.get("cpu"), backends.get("reference")
SGD = {"lr": 0.1, "weight_decay": 0.01, "maximize": False}
MOMENTUM = {"momentum": 0.9, "dampening": 0.1, "nesterov": True}
ADAM = SGD | {"beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "decoupled": True, "step": 3}


@pytest.fixture(autouse=True, params=["1", "3"], ids="{} threads".format)
def _pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("GPUNN_COMPILED", "0")
    monkeypatch.setenv("GPUNN_NUM_THREADS", request.param)
    monkeypatch.setattr(optimizer, "CACHE_BYTES", 256)
    threads._forget_crew()
    yield
    threads._forget_crew()


def draw(lists: int) -> list[list[Any]]:
    """Lists of arrays of all kinds: long, empty, of one element, channels last, with gaps, in half precision."""
    generator = np.random.default_rng(0)

    def some() -> list[Any]:
        return [
            generator.random((7, 50), np.float32),
            generator.random((0, 3), np.float32),
            generator.random((), np.float32),
            generator.random((4, 3, 5, 6), np.float32).transpose(0, 3, 1, 2),
            generator.random((8, 40), np.float32)[:, ::2],
            generator.random(300),
            generator.random(300).astype("float16"),
        ]

    return [some() for _ in range(lists)]


def in_other_order(lists: list[list[Any]]) -> list[list[Any]]:
    """The first array's gradient runs through memory in another order than the array."""
    lists[1][0] = np.asfortranarray(lists[1][0])
    return lists


def check(name: str, lists: list[list[Any]], absent: int, **options: Any) -> None:
    expected = [[array.copy() for array in arrays] for arrays in lists]
    missing = [None] * absent
    getattr(CPU, name)(*lists, *missing, **options)
    getattr(ORACLE, name)(*expected, *missing, **options)
    for arrays, wanted in zip(lists, expected, strict=True):
        for array, other in zip(arrays, wanted, strict=True):
            np.testing.assert_array_equal(array, other)


def test_sgd() -> None:
    check("sgd_", in_other_order(draw(2)), 1, **SGD, momentum=0.0, dampening=0.0, nesterov=False, first_step=False)


@pytest.mark.parametrize("first_step", [True, False])
def test_sgd_with_momentum(first_step: bool) -> None:
    check("sgd_", in_other_order(draw(3)), 0, **SGD, **MOMENTUM, first_step=first_step)


@pytest.mark.parametrize("largest", [True, False], ids=["largest average", "plain"])
def test_adam(largest: bool) -> None:
    check("adam_", in_other_order(draw(5 if largest else 4)), 0 if largest else 1, **ADAM)


def test_a_long_array_is_cut() -> None:
    lists = draw(3)
    pieces = optimizer.in_cache(lists, [0, 5])
    assert [len(piece[0]) for piece in pieces] == [42] * 8 + [14] + [21] * 14 + [6]
    pieces[0][0][:] = 7
    assert (lists[0][0].ravel()[:42] == 7).all()
