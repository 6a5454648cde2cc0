"""Kernels of batch normalization, alone and with ReLU, on the emulator, against the reference in float64."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cuda.kernel_cases import DTYPES, ORACLE, assert_close, numbers, rounded, wide

from backends.cuda import normalization
from backends.cuda.normalization import divide

# Around a pack, a warp and a block, in the number of channels and in that of a channel's elements; 1,000 channels.
ROWS = [(2, 1), (31, 3), (32, 4), (33, 5), (3, 33), (257, 1), (2, 1000), (70, 9)]
IMAGES = [(2, 3, 31), (3, 2, 4, 8), (1, 2, 3, 11), (5, 9, 2, 2), (2, 8, 1, 1), (1, 1, 257), (4, 33, 3, 1)]
TRAINING, EVALUATION = ("batch_norm", "batch_norm_relu"), ("batch_norm_inference", "batch_norm_inference_relu")


def in_channels_last(x: Any) -> Any:
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)


def parameters(channels: int, dtype: str, seed: int = 0) -> tuple[Any, Any]:
    """Weight and bias in the dtype that the kernels take them in."""
    dtype = "float64" if dtype == "float64" else "float32"
    return tuple(numbers(channels, seed=seed + i).astype(dtype) for i in (3, 4))  # type: ignore[return-value]


def both(backend: Any, name: str, x: Any, dout: Any, *rest: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """The results and the gradients of one primitive."""
    out, saved = getattr(backend, name)(x, *rest)
    return out if isinstance(out, tuple) else (out,), getattr(backend, f"{name}_backward")(saved, dout)


def reach(x: Any, dout: Any, weight: Any, variance: Any) -> tuple[float, ...]:
    """How large the terms are that may cancel: of y, dx, and the gradients of weight and bias.

    x - mean is as wrong as x is large, and is then multiplied by 1 / sqrt(variance + eps).
    """
    rows, dy = (np.moveaxis(wide(v), 1, -1).reshape(-1, x.shape[1]) for v in (x, dout))
    scale = 1 / np.sqrt(wide(variance) + 1e-5)
    factor = scale if weight is None else scale * np.abs(wide(weight))
    z, total = np.abs(rows).max(axis=0) * scale, np.sqrt((dy * dy).sum(axis=0))
    scales = z * factor / scale, factor * np.abs(dy).max(axis=0) * (1 + z), z * total, total
    return tuple(float(np.max(v, initial=0.0)) for v in scales)


def compare(backend: Any, name: str, x: Any, dout: Any, *rest: Any, what: str = "") -> None:
    """Results and gradients against the oracle on the very same numbers, and that inputs are left alone."""
    before = x.copy(), dout.copy()
    with backend.scope():
        outs, gradients = both(backend, name, x, dout, *rest)
    exact = tuple(None if v is None else wide(v) for v in rest)
    (y, *statistics), wanted = both(ORACLE, name, wide(x), wide(dout), *exact)
    count = x.size // x.shape[1]
    scales = reach(x, dout, rest[0], statistics[1] if statistics else rest[3])
    assert outs[0].dtype == x.dtype
    assert_close(outs[0], y, count, what=what, scale=scales[0])
    for mine, theirs in zip(outs[1:], statistics, strict=True):
        assert_close(mine, theirs, count, what=f"{what}, statistics")
    for place, (mine, theirs, given) in enumerate(zip(gradients, wanted, (x, *rest), strict=True)):
        assert (mine is None) == (theirs is None), what
        if mine is not None:
            assert mine.dtype == given.dtype, what
            assert_close(mine, theirs, count, what=f"{what}, gradient {place}", scale=scales[place + 1])
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(before, (x, dout), strict=True))


@pytest.mark.parametrize("name", TRAINING)
@pytest.mark.parametrize("dtype", DTYPES)
def test_tails(emulated: Any, dtype: str, name: str) -> None:
    for shape, last in [*((s, False) for s in ROWS), *itertools.product(IMAGES, (False, True))]:
        x, dout = (rounded(numbers(*shape, seed=seed), dtype) for seed in (1, 2))
        weight, bias = parameters(shape[1], dtype)
        if last:
            x, dout = in_channels_last(x), in_channels_last(dout)
        compare(emulated, name, x, dout, weight, bias, what=f"{name} of {shape} {dtype}, channels last: {last}")


@pytest.mark.parametrize("name", EVALUATION)
@pytest.mark.parametrize("dtype", DTYPES)
def test_evaluation(emulated: Any, dtype: str, name: str) -> None:
    for shape, last in [*((s, False) for s in ROWS), *itertools.product(IMAGES[:4], (False, True))]:
        x, dout = (rounded(numbers(*shape, seed=seed), dtype) for seed in (1, 2))
        mean, variance = parameters(shape[1], dtype, seed=2)
        if last:
            x, dout = in_channels_last(x), in_channels_last(dout)
        rest = (*parameters(shape[1], dtype), mean, np.abs(variance))
        compare(emulated, name, x, dout, *rest, what=f"{name} of {shape} {dtype}, channels last: {last}")


@pytest.mark.parametrize("shape", [(40, 5), (40, 3, 7, 5), (3, 2, 40, 9)])
@pytest.mark.parametrize("last", [False, True])
def test_many_parts(
    in_every_order: Any, emulated: Any, monkeypatch: pytest.MonkeyPatch, shape: Any, last: bool
) -> None:
    """A channel that many blocks have: the oracle's result, and the same bits in every order of threads."""
    for constant, small in (("THREADS", 8), ("AT_ONCE", 1), ("BLOCKS_OF_SUMS", 300), ("BLOCKS_OF_MAPS", 7)):
        monkeypatch.setattr(normalization, constant, small)
    x, dout = (numbers(*shape, seed=seed).astype("float32") for seed in (5, 6))
    x = in_channels_last(x) if last else x
    assert divide(x).parts(300)[0] > 4
    assert divide(x).parts(7)[0] > 1
    weight, bias = parameters(shape[1], "float32")
    compare(in_every_order, "batch_norm_relu", x, dout, weight, bias)
    compare(in_every_order, "batch_norm", x, dout, weight, bias)
    with emulated.scope():
        runs = [both(backend, "batch_norm_relu", x, dout, weight, bias) for backend in (emulated, in_every_order)]
    for one, two in zip(runs[0][0] + runs[0][1], runs[1][0] + runs[1][1], strict=True):
        assert one.tobytes() == two.tobytes()


def test_more_than_a_warp_of_parts(emulated: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the second step a lane then has several parts."""
    monkeypatch.setattr(normalization, "THREADS", 1)
    monkeypatch.setattr(normalization, "AT_ONCE", 1)
    for shape in [(300, 2), (4, 2, 5, 33)]:
        x, dout = (numbers(*shape, seed=seed).astype("float32") + 3 for seed in (7, 8))
        assert divide(x).parts(normalization.BLOCKS_OF_SUMS)[0] > 33
        compare(emulated, "batch_norm", x, dout, *parameters(2, "float32"))


@pytest.mark.parametrize("absent", ["weight", "bias", "both"])
def test_without_weight_or_bias(emulated: Any, absent: str) -> None:
    x, dout = (numbers(6, 5, 3, 2, seed=seed).astype("float32") for seed in (1, 2))
    weight, bias = parameters(5, "float32")
    weight, bias = None if absent != "bias" else weight, None if absent != "weight" else bias
    mean, variance = parameters(5, "float32", seed=2)
    for name in TRAINING:
        compare(emulated, name, x, dout, weight, bias, what=name)
    for name in EVALUATION:
        compare(emulated, name, x, dout, weight, bias, mean, np.abs(variance), what=name)


@pytest.mark.parametrize("name", TRAINING)
def test_any_place_in_memory(emulated: Any, name: str) -> None:
    """Memory that is not aligned, gaps, and gradients that lie otherwise than the input."""
    whole = numbers(5, 8, 6, 4, seed=3).astype("float32")
    flat = np.concatenate([np.zeros(1, "float32"), whole.reshape(-1)])[1:]
    views = {
        "unaligned": flat.reshape(whole.shape),
        "unaligned rows": flat.reshape(-1, 8),
        "gaps": whole[:, ::2, 1:],
        "backwards": whole[:, ::-1],
        "transposed": whole.transpose(2, 3, 0, 1),
        "columns": whole.reshape(8, -1).T,
        "channels last": in_channels_last(whole),
        "images of channels last": in_channels_last(whole)[1:4],
        "one channel": whole[:, :1],
    }
    for what, x in views.items():
        dout = numbers(*x.shape, seed=4).astype("float32")
        weight, bias = parameters(x.shape[1], "float32")
        others = dout, dout + np.zeros_like(x), in_channels_last(dout), np.broadcast_to(dout[:1], x.shape)
        for other in others:
            compare(emulated, name, x, other, weight, bias, what=f"{name}, {what}")


def test_the_result_keeps_the_order_of_memory(emulated: Any) -> None:
    x = in_channels_last(numbers(3, 4, 5, 6).astype("float32"))
    for given in (x, np.ascontiguousarray(x)):
        with emulated.scope():
            (y, _, _), saved = emulated.batch_norm(given, None, None)
            dx = emulated.batch_norm_backward(saved, np.ones_like(x))[0]
        assert y.strides == dx.strides == given.strides


@pytest.mark.parametrize("shape", [(4096, 2), (4, 2, 32, 32)])
@pytest.mark.parametrize("last", [False, True])
def test_a_mean_far_from_zero(emulated: Any, shape: tuple[int, ...], last: bool) -> None:
    """Mean 10,000 and deviation 1: E[x^2] - E[x]^2 would have a variance of 0, 8 or -8."""
    x = (1e4 + numbers(*shape, seed=9)).astype("float32")
    x = in_channels_last(x) if last else x
    with emulated.scope():
        (y, mean, variance), _ = emulated.batch_norm(x, None, None)
    (exact, exact_mean, exact_variance), _ = ORACLE.batch_norm(wide(x), None, None)
    unit = float(np.spacing(np.float32(1e4)))  # the mean is rounded to it
    np.testing.assert_allclose(variance, exact_variance, rtol=64 * np.finfo("float32").eps)
    np.testing.assert_allclose(mean, exact_mean, rtol=0, atol=2 * unit)
    np.testing.assert_allclose(y, exact, rtol=0, atol=3 * unit)


def test_the_variance_is_never_negative(emulated: Any) -> None:
    """Equal numbers have none, bit for bit; neighbours in float32 a tiny one."""
    for value, shape in itertools.product((0.1, -1e4, 3e8), ((37, 3), (5, 3, 7, 4), (1, 3))):
        x = np.full(shape, value, "float32")
        bias = numbers(3, seed=1).astype("float32")
        with emulated.scope():
            (y, mean, variance), _ = emulated.batch_norm(x, None, bias)
        assert variance.tolist() == [0, 0, 0]
        assert mean.tolist() == [np.float32(value)] * 3
        for channel in range(3):
            assert (y[:, channel] == bias[channel]).all()
        x = np.where(numbers(*shape, seed=2) > 0, x, np.nextafter(x, np.float32(np.inf)))
        with emulated.scope():
            assert (emulated.batch_norm(x, None, None)[0][2] >= 0).all()


@pytest.mark.parametrize("name", (*TRAINING, *EVALUATION))
@pytest.mark.parametrize("last", [False, True])
def test_nan_and_infinities(emulated: Any, name: str, last: bool) -> None:
    """They spoil the statistics of their own channel, or in evaluation themselves; ReLU of NaN is NaN, of -inf 0."""
    x = numbers(4, 6, 3, 5, seed=1).astype("float32")
    x[1, 1, 2, 3], x[2, 3, 0, 0], x[0, 4, 1, 1] = np.nan, np.inf, -np.inf
    x = in_channels_last(x) if last else x
    dout = numbers(*x.shape, seed=2).astype("float32")
    rest = parameters(6, "float32")
    if name in EVALUATION:
        rest = (*rest, *(np.abs(v) for v in parameters(6, "float32", seed=2)))  # type: ignore[assignment]
    with emulated.scope():
        (y, *_), (dx, dweight, dbias, *_) = both(emulated, name, x, dout, *rest)
        (exact, *_), (exact_dx, exact_dweight, exact_dbias, *_) = both(
            ORACLE, name, wide(x), wide(dout), *map(wide, rest)
        )
    for mine, wanted in ((y, exact), (dx, exact_dx), (dweight, exact_dweight), (dbias, exact_dbias)):
        assert_close(mine, wanted, 60, rounding=8)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("last", [False, True])
def test_fused_is_what_the_two_give(emulated: Any, dtype: str, last: bool) -> None:
    """Bit for bit, also where a small positive number becomes 0 in memory: there the gradient is cut off."""
    x, dout = (rounded(numbers(6, 5, 3, 4, seed=seed), dtype) for seed in (1, 2))
    if last:
        x, dout = in_channels_last(x), in_channels_last(dout)
    weight, bias = parameters(5, dtype)
    weight[:2] *= np.float32(1e-7 if dtype != "float64" else 1e-320)  # many results round to 0
    bias[:2] = 0
    statistics = tuple(np.abs(v) for v in parameters(5, dtype, seed=2))
    for plain, fused, rest in ((*TRAINING, ()), (*EVALUATION, statistics)):
        with emulated.scope():
            out, kept = getattr(emulated, plain)(x, weight, bias, *rest)
            z, rectified = emulated.relu(out[0] if isinstance(out, tuple) else out)
            one = getattr(emulated, f"{plain}_backward")(kept, *emulated.relu_backward(rectified, dout))
            y, saved = getattr(emulated, fused)(x, weight, bias, *rest)
            y = y[0] if isinstance(y, tuple) else y
            two = getattr(emulated, f"{fused}_backward")(saved, dout)
        assert y.tobytes() == z.tobytes()
        for a, b in zip(one[:3], two[:3], strict=True):
            np.testing.assert_array_equal(a, b)
        assert (y == 0).any()
        assert (y > 0).any()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_adds_up_in_float32(emulated: Any, dtype: str) -> None:
    """The sums leave the range of float16, and the digits of both; statistics are not rounded to them."""
    x, dout = (rounded(mean + 50 * numbers(700, 3, seed=mean), dtype) for mean in (300, 1))
    weight, bias = (rounded(numbers(3, seed=seed), dtype) for seed in (3, 4))
    compare(emulated, "batch_norm_relu", x, dout, weight, bias)
    compare(emulated, "batch_norm_relu", x, dout, *parameters(3, dtype), what="with float32 parameters")
    with emulated.scope():
        (_, mean, variance), _ = emulated.batch_norm(x, weight, bias)
    assert mean.dtype == variance.dtype == np.float32
    assert not np.array_equal(mean, rounded(mean, dtype).astype(np.float32))


def test_nothing_to_normalize(emulated: Any) -> None:
    for shape in [(0, 3), (0, 3, 4, 4), (2, 3, 0), (2, 0), (0, 0, 5)]:
        x, ones = np.zeros(shape, "float32"), np.ones(shape[1], "float32")
        for name in TRAINING:
            with emulated.scope():
                (y, mean, variance), (dx, dweight, dbias) = both(emulated, name, x, x, ones, ones)
            assert y.shape == dx.shape == shape
            assert mean.shape == variance.shape == dweight.shape == dbias.shape == shape[1:2]
            assert not dweight.any()
        for name in EVALUATION:
            with emulated.scope():
                (y,), (dx, dweight, *_) = both(emulated, name, x, x, ones, ones, ones, ones)
            assert y.shape == dx.shape == shape
            assert dweight.shape == shape[1:2]


@pytest.mark.parametrize("name", TRAINING)
def test_against_torch(emulated: Any, name: str) -> None:
    torch = pytest.importorskip("torch")
    x, dout = (numbers(4, 6, 5, 3, seed=seed) for seed in (1, 2))
    weight, bias = parameters(6, "float64")
    with emulated.scope():
        (y, *_), gradients = both(emulated, name, x, dout, weight, bias)
    given = [torch.tensor(v, requires_grad=True) for v in (x, weight, bias)]
    out = torch.nn.functional.batch_norm(given[0], None, None, *given[1:], training=True)
    out = torch.relu(out) if name == "batch_norm_relu" else out
    out.backward(torch.tensor(dout))
    for mine, theirs in zip((y, *gradients), (out.detach(), *(t.grad for t in given)), strict=True):
        np.testing.assert_allclose(mine, theirs.numpy(), rtol=1e-11, atol=1e-12)


def memory(shape: tuple[int, ...], last: bool, itemsize: int = 4) -> Any:
    """Of an array: what the division looks at, without the memory."""
    order = (1, *range(len(shape) - 1, 1, -1), 0) if last else range(len(shape) - 1, -1, -1)
    strides, step = [0] * len(shape), itemsize
    for axis in order:
        strides[axis], step = step, step * shape[axis]
    return SimpleNamespace(shape=shape, strides=tuple(strides), ndim=len(shape), itemsize=itemsize)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("itemsize", [2, 4, 8])
@pytest.mark.parametrize(
    "shape", [(128, 64, 32, 32), (128, 512, 2, 2), (3_000_000, 2, 3, 3), (1, 1, 70_000, 70_000), (1, 5)]
)
def test_every_item_is_in_one_part(shape: tuple[int, ...], last: bool, itemsize: int) -> None:
    """Parts cover the items without a rest, within the limits of CUDA; blocks are whole."""
    division = divide(memory(shape, last, itemsize))
    for blocks in (1, 1024, 4096, 10**9):
        parts, per_part = division.parts(blocks)
        assert (parts - 1) * per_part < division.items <= parts * per_part
        assert 1 <= parts <= 65_535
        assert per_part % division.block[1] == 0
    columns, sharing = division.block
    assert columns * sharing <= 256
    assert columns & (columns - 1) == sharing & (sharing - 1) == 0
    outer, channels, inner = division.shape
    assert channels == shape[1]
    assert outer * inner == np.prod(shape, dtype=np.int64) // channels


def test_a_gpu_is_filled() -> None:
    """A large layer of VGG makes as many blocks as an H200 has multiprocessors several times over, in both orders of memory."""
    for last in (False, True):
        for shape in [(128, 64, 32, 32), (64, 64, 224, 224), (128, 256, 28, 28)]:
            division = divide(memory(shape, last))
            for blocks in (normalization.BLOCKS_OF_SUMS, normalization.BLOCKS_OF_MAPS):
                assert division.columns * division.parts(blocks)[0] >= 4 * 132
