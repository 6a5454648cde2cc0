"""Compiled dropout: the reference's masks and products, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

import backends
from backends.cpu import dropout, threads

pytest.importorskip("numba")
# Tails of a block of four and of a chunk of 1024, and several pieces.
SHAPES = [(1,), (3,), (4, 1), (1023,), (1024,), (1025,), (5, 7, 3, 11), (3, 2001)]
SEED, STREAM = 0xFEDCBA9876543210, (7 << 40) + 3


@pytest.fixture(autouse=True)
def on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUNN_COMPILED", "1")
    monkeypatch.setattr(dropout, "CACHE_BYTES", 8000)


@pytest.mark.parametrize("layout", ["contiguous", "channels last", "strided"])
@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_references_bits(shape: tuple[int, ...], p: float, layout: str) -> None:
    random = np.random.default_rng(0)
    x, dout = (random.normal(size=shape).astype(np.float32) for _ in range(2))
    x.flat[0] = np.inf
    if layout == "channels last" and x.ndim > 1:
        x, dout = (np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1) for a in (x, dout))
    if layout == "strided":
        x = np.repeat(x, 2, axis=-1)[..., ::2]
    cpu, reference = backends.get("cpu"), backends.get("reference")
    with np.errstate(invalid="ignore"):  # inf * 0
        out, saved = cpu.dropout(x, p, SEED, STREAM)
        expected, expected_saved = reference.dropout(x, p, SEED, STREAM)
        assert out.tobytes() == expected.tobytes()
        (dx,), (oracle,) = cpu.dropout_backward(saved, dout), reference.dropout_backward(expected_saved, dout)
        assert dx.tobytes() == oracle.tobytes()


def test_float64_and_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).normal(size=(9, 2001))
    expected = backends.get("reference").dropout(x, 0.3, SEED, STREAM)[0]
    for cores in ("1", "2"):
        monkeypatch.setenv("GPUNN_NUM_THREADS", cores)
        monkeypatch.setattr(threads, "_crew", None)
        assert backends.get("cpu").dropout(x, 0.3, SEED, STREAM)[0].tobytes() == expected.tobytes()
