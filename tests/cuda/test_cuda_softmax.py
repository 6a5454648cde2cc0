"""Kernels of softmax and log-softmax, on the emulator, against the reference in float64."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from cuda.kernel_cases import DTYPES, ORACLE, assert_close, numbers, rounded, wide

from backends import emulator
from backends.cuda import layout, softmax

OPERATIONS = ("softmax", "log_softmax")
# Around a warp, around the longest row that a few lanes hold, and rows for a block, in whole packs and not.
LENGTHS = (1, 2, 7, 31, 32, 33, 255, 256, 257, 1000, 1023)
INF, NAN = np.inf, np.nan


def compare(backend: Any, name: str, x: Any, dout: Any, axis: int, what: str) -> tuple[Any, Any]:
    """Forward and backward against the oracle on the very same numbers; returns both results."""
    out, saved = getattr(backend, name)(x, axis)
    oracle, _ = getattr(ORACLE, name)(wide(x), axis)
    terms = max(x.shape[axis], 1) if x.ndim else 1
    assert out.dtype == x.dtype
    assert_close(out, oracle, terms=terms, what=what)
    (dx,) = getattr(backend, f"{name}_backward")(saved, dout)
    (wanted,) = getattr(ORACLE, f"{name}_backward")((wide(out), axis), wide(dout))
    assert dx.dtype == x.dtype
    largest = float(np.abs(wide(dout)).max(initial=0))  # of two terms that cancel where one probability is almost 1
    assert_close(dx, wanted, terms=terms, what=f"{what}, gradient", scale=largest)
    return out, dx


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_tails(emulated: Any, name: str, dtype: str) -> None:
    with emulated.scope():
        for length, rows in [*((length, 5) for length in LENGTHS), (33, 0), (0, 3), (10, 1), (10, 33), (16, 33)]:
            x, dout = (rounded(numbers(rows, length, seed=seed, scale=3), dtype) for seed in (1, 2))
            compare(emulated, name, x, dout, 1, f"{name} of {rows} rows of {length} {dtype}")


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_long_rows(name: str, dtype: str, emulated: Any) -> None:
    """Kept in shared memory, too long for that, and longer than a float16 counts; in fast mode."""
    fast = emulator.backend(checked=False)
    with fast.scope():
        for length in (5000, 12_288, 20_001, 100_003):
            x, dout = (rounded(numbers(2, length, seed=seed, scale=3), dtype) for seed in (1, 2))
            compare(fast, name, x, dout, 1, f"{name} of {length} {dtype}")


@pytest.mark.parametrize("name", OPERATIONS)
def test_rows_that_shared_memory_does_not_hold(emulated: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(softmax, "MOST_KEPT_BYTES", 0)
    with emulated.scope():
        for length in (300, 301):
            x, dout = (numbers(3, length, seed=seed).astype("float32") for seed in (1, 2))
            compare(emulated, name, x, dout, 1, f"{name} of {length}")


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("axis", [0, 1, 2, 3, -1, -3])
def test_every_axis_in_every_order_of_memory(emulated: Any, name: str, axis: int) -> None:
    whole = numbers(4, 6, 10, 2, seed=3).astype("float32")
    views = {
        "contiguous": whole,
        "channels last": whole.transpose(0, 3, 1, 2),
        "transposed": whole.transpose(3, 1, 0, 2),
        "gaps": whole[:, ::2, 1:],
        "backwards": whole[:, ::-1],
        "spread": np.broadcast_to(whole[:1], (3, 6, 10, 2)),
    }
    with emulated.scope():
        for what, x in views.items():
            for dout in (np.array(numbers(*x.shape, seed=4), "float32"), np.array(x, order="K") * 2):
                compare(emulated, name, x, dout, axis, f"{name} along {axis}, {what}")


@pytest.mark.parametrize("name", OPERATIONS)
def test_memory_that_is_not_aligned(emulated: Any, name: str) -> None:
    """A view that begins between two packs of 16 bytes is moved element by element."""
    with emulated.scope():
        for length in (8, 1028):
            x, dout = (numbers(3 * length + 1, seed=s).astype("float32")[1:].reshape(3, length) for s in (1, 2))
            compare(emulated, name, x, dout, 1, f"{name} of {length}")


def test_the_channels_of_an_image_are_not_moved(emulated: Any) -> None:
    """In channels-last memory the classes of each pixel are a row already; the result lies as the input does."""
    x = numbers(2, 4, 5, 3).astype("float32").transpose(0, 3, 1, 2)
    with emulated.scope():
        out, saved = emulated.softmax(x, 1)
        (dx,) = emulated.softmax_backward(saved, out)
    assert out.strides == x.strides
    assert dx.strides == x.strides


@pytest.mark.parametrize("length", [6, 256, 400])
@pytest.mark.parametrize("name", OPERATIONS)
def test_infinities_and_nan(emulated: Any, name: str, length: int) -> None:
    """A score of -inf is a probability of 0; a row of nothing else, and one with inf or NaN, is NaN; other rows are not."""
    x = numbers(6, length, seed=5)
    x[0, [0, length // 2, length - 1]] = -INF
    x[1] = -INF
    x[2, length // 3] = NAN
    x[3, length - 1] = INF
    x[4, 1:] = -INF
    dout = numbers(6, length, seed=6)
    for dtype in ("float32", "float64"):
        with emulated.scope():
            out, dx = compare(emulated, name, x.astype(dtype), dout.astype(dtype), 1, f"{name} {dtype}")
        assert np.isnan(out[1:4]).all()
        assert out[0, 0] == (0 if name == "softmax" else -INF)
        assert np.isfinite(dx[5]).all()


@pytest.mark.parametrize("length", [5, 300])
def test_large_scores_do_not_overflow(emulated: Any, length: int) -> None:
    for dtype, large in (("float32", 1e30), ("float16", 60_000.0)):
        x = rounded(np.linspace(-large, large, 2 * length).reshape(2, length), dtype)
        with emulated.scope():
            for name in OPERATIONS:
                out, _ = getattr(emulated, name)(x, 1)
                assert not np.isnan(wide(out)).any()
                assert out[1, -1] == (1 if name == "softmax" else 0)


@pytest.mark.parametrize("name", OPERATIONS)
def test_more_rows_than_a_grid_holds(emulated: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "MOST_BLOCKS", 2)
    with emulated.scope():
        for rows, length in ((75, 7), (16, 33), (7, 260)):
            x, dout = (numbers(rows, length, seed=seed).astype("float32") for seed in (5, 6))
            compare(emulated, name, x, dout, 1, f"{rows} rows of {length}")


def test_the_same_bits_in_every_order_of_threads(in_every_order: Any, emulated: Any) -> None:
    for name, length in itertools.product(OPERATIONS, (10, 257, 1000)):
        x, dout = (numbers(5, length, seed=seed, scale=3).astype("float32") for seed in (1, 2))
        found = []
        for backend in (emulated, in_every_order, in_every_order):
            with backend.scope():
                out, saved = getattr(backend, name)(x, 1)
                found.append(out.tobytes() + getattr(backend, f"{name}_backward")(saved, dout)[0].tobytes())
        assert found[0] == found[1] == found[2]


def test_probabilities_add_up_to_one(emulated: Any) -> None:
    with emulated.scope():
        for length in (3, 256, 1000):
            out, _ = emulated.softmax(numbers(4, length, scale=5).astype("float32"), 1)
            np.testing.assert_allclose(out.astype("float64").sum(axis=1), 1, rtol=1e-6)


def test_what_the_kernels_do_not_serve(emulated: Any) -> None:
    with emulated.scope():
        assert emulated.softmax(np.array([[0, 0], [0, 0]]), 1)[0].tolist() == [[0.5, 0.5], [0.5, 0.5]]
        assert emulated.softmax(np.array(3.0, "float32"), -1)[0] == 1
        assert emulated.log_softmax(np.array(3.0, "float32"), -1)[0] == 0
        _, saved = emulated.softmax(np.zeros((1, 2), "float32"), 1)
        assert emulated.softmax_backward(saved, np.array([[1.0, 0.0]]))[0].tolist() == [[0.25, -0.25]]


@pytest.mark.parametrize("name", OPERATIONS)
def test_against_torch(emulated: Any, name: str) -> None:
    torch = pytest.importorskip("torch")
    for shape, axis in (((3, 10), 1), ((2, 5, 3, 4), 1), ((4, 1000), -1)):
        x, dout = (numbers(*shape, seed=seed).astype("float32") for seed in (1, 2))
        tensor = torch.tensor(x, requires_grad=True)
        wanted = getattr(torch, name)(tensor, axis)
        wanted.backward(torch.tensor(dout))
        with emulated.scope():
            out, saved = getattr(emulated, name)(x, axis)
            (dx,) = getattr(emulated, f"{name}_backward")(saved, dout)
        assert_close(out, wanted.detach().numpy(), terms=shape[axis])
        assert_close(dx, tensor.grad.numpy(), terms=shape[axis], scale=float(np.abs(dout).max()))
