"""Kernels of the activation functions, on the emulator, against the reference in float64."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from cuda.kernel_cases import DTYPES, ORACLE, SIZES, assert_close, numbers, rounded, wide

from backends.cuda import layout

FUNCTIONS = {
    "relu": (),
    "leaky_relu": (0.1,),
    "elu": (1.5,),
    "sigmoid": (),
    "tanh": (),
    "softplus": (2.0, 3.0),
}
SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 88.0, -88.0, 1e-30, -1e-30])


def compare(backend: Any, name: str, x: Any, dout: Any, what: str) -> None:
    """Forward and backward of one function against the oracle on the very same numbers."""
    constants = FUNCTIONS[name]
    out, saved = getattr(backend, name)(x, *constants)
    oracle, kept = getattr(ORACLE, name)(wide(x), *constants)
    assert out.dtype == x.dtype
    assert_close(out, oracle, what=what)
    (dx,) = getattr(backend, f"{name}_backward")(saved, dout)
    # Where the slope is told from the result, the rounded result is what the oracle must be given too.
    kept = wide(saved) if name in ("relu", "sigmoid", "tanh") else kept
    (wanted,) = getattr(ORACLE, f"{name}_backward")(kept, wide(dout))
    assert dx.dtype == x.dtype
    assert_close(dx, wanted, what=f"{what}, gradient")


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_tails(emulated: Any, name: str, dtype: str) -> None:
    with emulated.scope():
        for size in SIZES:
            x, dout = (rounded(numbers(size, seed=seed, scale=2), dtype) for seed in (1, 2))
            compare(emulated, name, x, dout, f"{name} of {size} {dtype}")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_nan_infinities_and_zeros(emulated: Any, name: str) -> None:
    for dtype in ("float32", "float64"):
        x = SPECIAL.astype(dtype)
        with emulated.scope(), np.errstate(all="ignore"):
            compare(emulated, name, x, np.ones_like(x), f"{name} {dtype}")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_any_place_in_memory(emulated: Any, name: str) -> None:
    """Unaligned memory takes the way without packs, gaps that of the ElementwiseKernel; axes in any order stay so."""
    whole = numbers(4, 6, 10, seed=3).astype("float32")
    views = {
        "unaligned": whole.reshape(-1)[1:],
        "gaps": whole[:, ::2, 1:],
        "backwards": whole[:, ::-1],
        "spread": np.broadcast_to(whole[:1], (3, 6, 10)),
        "transposed": whole.transpose(2, 0, 1),
        "one number": whole[0, 0, 0].reshape(()),
    }
    with emulated.scope():
        for (what, x), other in itertools.product(views.items(), (False, True)):
            dout = numbers(*x.shape, seed=4).astype("float32")
            if not other:
                dout = dout + np.zeros_like(x)  # in the order of x
            compare(emulated, name, x, np.asarray(dout), f"{name}, {what}")


def test_a_transposed_result_keeps_its_order(emulated: Any) -> None:
    x = numbers(3, 4, 5, 6).astype("float32").transpose(0, 3, 1, 2)
    with emulated.scope():
        assert emulated.relu(x)[0].strides == x.strides


def test_more_elements_than_threads(emulated: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a grid of two blocks each thread goes around several times."""
    monkeypatch.setattr(layout, "MOST_BLOCKS", 2)
    with emulated.scope():
        for size in (2 * 256 * 4, 2 * 256 * 4 + 1, 5003):
            x, dout = (numbers(size, seed=seed).astype("float32") for seed in (5, 6))
            compare(emulated, "elu", x, dout, f"{size} elements")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(5, 3), (2, 3, 4), (2, 1, 3, 3), (0, 3), (40, 33)])
@pytest.mark.parametrize("by_channel", [True, False])
def test_prelu(emulated: Any, dtype: str, shape: tuple[int, ...], by_channel: bool) -> None:
    x, dout = (rounded(numbers(*shape, seed=seed), dtype) for seed in (7, 8))
    weight = rounded(np.abs(numbers(shape[1] if by_channel else 1, seed=9)), dtype)
    with emulated.scope():
        out, saved = emulated.prelu(x, weight)
        dx, dweight = emulated.prelu_backward(saved, dout)
    oracle, kept = ORACLE.prelu(wide(x), wide(weight))
    wanted_dx, wanted_dweight = ORACLE.prelu_backward(kept, wide(dout))
    assert (out.dtype, dx.dtype, dweight.dtype) == (x.dtype,) * 3
    assert_close(out, oracle)
    assert_close(dx, wanted_dx)
    assert_close(dweight, wanted_dweight, terms=max(x.size, 1))


def test_whole_numbers_are_left_to_array_code(emulated: Any) -> None:
    x = np.array([-2, 0, 3])
    with emulated.scope():
        assert emulated.relu(x)[0].tolist() == [0, 0, 3]
