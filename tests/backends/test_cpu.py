"""The CPU's own convolution, pooling, normalization and rectifier against the reference in float64, through every branch."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import backends
from backends.cpu import layout, masking, memory, scratch, threads, windows
from backends.cpu.numpy_backend import NumpyBackend

CPU, ORACLE = backends.get("cpu"), backends.get("reference")
LAYOUTS = ("contiguous", "channels last", "strided", "reversed", "broadcast")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    threads._forget_crew()  # a test may have made one of another size


@pytest.fixture(params=[1, 3], ids="{} cores".format)
def cores(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("GPUNN_NUM_THREADS", str(request.param))
    threads._forget_crew()
    return int(request.param)


@pytest.fixture(params=["large pieces", "small pieces"])
def pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whether the work fits into one piece, or one image is a piece already."""
    if request.param == "small pieces":
        monkeypatch.setattr(windows, "COLUMN_BYTES", 1)
        monkeypatch.setattr("backends.cpu.winograd.TILES", 1)
        monkeypatch.setattr(layout, "CACHE_BYTES", 1)
        monkeypatch.setattr("backends.cpu.normalization.CACHE_BYTES", 64)
    return str(request.param)


def draw(*shape: int, kind: str = "contiguous") -> np.ndarray:
    """Numbers in float64, placed in memory as ``kind`` says."""
    x = np.random.default_rng(len(shape) + sum(shape)).uniform(-2, 2, shape)
    if kind == "channels last":
        return np.ascontiguousarray(np.moveaxis(x, 1, -1)).swapaxes(1, -1).swapaxes(2, -1) if x.ndim == 4 else x
    if kind == "strided":
        return np.repeat(x, 2, axis=-1)[..., ::2]
    if kind == "reversed":
        return x[..., ::-1]
    if kind == "broadcast":
        return np.broadcast_to(x[:1], shape)
    return x


def assert_same(actual: Any, expected: Any, dtype: str) -> None:
    """Results of the CPU in ``dtype`` against those of the reference in float64."""
    for a, b in zip(actual, expected, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert a.dtype == dtype
            assert a.shape == b.shape
            limit = 64 * float(np.finfo(dtype).eps)
            np.testing.assert_allclose(a, b, rtol=limit, atol=limit * float(np.abs(b).max(initial=1)))


CONVOLUTIONS = [
    # input, weight, stride, padding, dilation, groups
    ((3, 3, 7, 6), (4, 3, 3, 3), (1, 1), (1, 1), (1, 1), 1),  # few channels: by place
    ((3, 3, 7, 6), (4, 3, 3, 2), (2, 1), (0, 1), (1, 2), 1),
    ((3, 6, 7, 6), (4, 6, 3, 3), (1, 1), (1, 1), (1, 1), 1),  # by row; the gradient as a convolution
    ((3, 6, 7, 6), (4, 6, 3, 3), (2, 3), (1, 2), (1, 1), 1),  # with strides: a scatter
    ((3, 6, 7, 6), (4, 6, 2, 3), (1, 1), (3, 3), (1, 1), 1),  # more padding than the kernel reaches: a scatter
    ((3, 6, 9, 9), (5, 6, 3, 3), (1, 1), (0, 2), (2, 3), 1),
    ((3, 5, 1, 1), (2, 5, 1, 1), (1, 1), (0, 0), (1, 1), 1),
    ((3, 5, 6, 6), (2, 5, 1, 1), (2, 2), (0, 0), (1, 1), 1),
    ((3, 4, 5, 5), (6, 2, 3, 3), (1, 1), (1, 1), (1, 1), 2),  # a few groups, one by one
    ((3, 18, 5, 5), (9, 2, 3, 3), (2, 1), (1, 0), (1, 1), 9),  # many groups: the reference
    ((0, 6, 5, 5), (4, 6, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((2, 6, 5, 5), (0, 6, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((2, 6, 2, 5), (4, 6, 3, 3), (1, 1), (0, 0), (1, 1), 1),  # no place for the kernel
    ((2, 40, 5, 2), (40, 20, 3, 3), (1, 2), (0, 0), (1, 1), 2),
]


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.usefixtures("cores", "pieces")
def test_convolution(case: Any, dtype: str) -> None:
    shape, weight_shape, *options = case
    for kind, with_bias in itertools.product(LAYOUTS, [True, False]):
        if kind == "broadcast" and not shape[0]:
            continue
        x, weight = draw(*shape, kind=kind), draw(*weight_shape, kind="channels last")
        bias = draw(weight_shape[0]) if with_bias else None
        expected, saved = ORACLE.conv2d(x, weight, bias, *options)
        gradient = draw(*expected.shape, kind=kind if kind != "broadcast" else "contiguous")
        arrays = [_cast(a, dtype) for a in (x, weight, bias)]
        out, kept = CPU.conv2d(*arrays, *options)
        assert_same([out], [expected], dtype)
        for needs in [(True, True, True), (True, False, False), (False, True, False), (False, False, True)]:
            wanted = ORACLE.conv2d_backward(saved, gradient, needs)
            assert_same(CPU.conv2d_backward(kept, _cast(gradient, dtype), needs), wanted, dtype)


def test_convolution_with_a_relu_of_an_image_smaller_than_the_kernel() -> None:
    x, weight, bias = (draw(*shape).astype("float32") for shape in [(20, 40, 2, 5), (40, 40, 3, 3), (40,)])
    out, kept = CPU.conv2d_relu(x, weight, bias)
    assert out.shape == (20, 40, 0, 3)
    for gradient, operand in zip(CPU.conv2d_relu_backward(kept, out), (x, weight, bias), strict=True):
        np.testing.assert_array_equal(gradient, np.zeros_like(operand))


def _cast(a: Any, dtype: str) -> Any:
    """In ``dtype``, with the same order in memory."""
    return None if a is None else a.astype(dtype, order="K", copy=False)


POOLINGS = [
    # kernel, stride, padding, dilation, ceil_mode
    ((2, 2), (2, 2), (0, 0), (1, 1), False),  # windows apart
    ((3, 3), (2, 2), (1, 1), (1, 1), False),  # windows overlap
    ((3, 2), (2, 3), (1, 1), (1, 1), True),
    ((2, 2), (1, 1), (1, 0), (3, 2), False),
    ((2, 2), (3, 3), (0, 0), (1, 1), True),  # gaps between windows
    ((1, 1), (1, 1), (0, 0), (1, 1), False),
]


@pytest.mark.parametrize("options", POOLINGS, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("content", ["numbers", "ties", "NaN", "infinite", "-inf"])
@pytest.mark.usefixtures("cores", "pieces")
def test_max_pooling(options: Any, dtype: str, content: str) -> None:
    for shape, kind in itertools.product([(3, 2, 7, 6), (1, 5, 5, 5)], LAYOUTS):
        x = np.array(draw(*shape, kind=kind), order="K").astype(dtype)
        if content == "ties":
            x = np.round(x)
        elif content != "numbers":
            x[..., 1:3, 2] = {"NaN": np.nan, "infinite": np.inf, "-inf": -np.inf}[content]
        out, kept = CPU.max_pool2d(x, *options)
        expected, saved = ORACLE.max_pool2d(x, *options)
        np.testing.assert_array_equal(out, expected)
        gradient = draw(*expected.shape).astype(dtype)
        wanted = ORACLE.max_pool2d_backward(saved, gradient)
        assert_same(CPU.max_pool2d_backward(kept, gradient), [g.astype("float64") for g in wanted], dtype)


def test_max_pooling_of_many_places_and_of_nothing() -> None:
    for shape, kernel in [((2, 2, 17, 17), (16, 16)), ((0, 2, 4, 4), (2, 2))]:
        x = draw(*shape)
        out, kept = CPU.max_pool2d(x, kernel, kernel)
        expected, saved = ORACLE.max_pool2d(x, kernel, kernel)
        np.testing.assert_array_equal(out, expected)
        gradient = np.ones(out.shape)
        np.testing.assert_array_equal(
            CPU.max_pool2d_backward(kept, gradient)[0], ORACLE.max_pool2d_backward(saved, gradient)[0]
        )


def test_a_window_that_sees_only_padding_passes_no_gradient() -> None:
    for be in (CPU, ORACLE):
        x = draw(1, 1, 2, 2)
        out, saved = be.max_pool2d(x, (2, 2), (1, 1), (1, 1), (3, 3))
        assert out.tolist() == [[[[-np.inf]]]]
        assert not be.max_pool2d_backward(saved, np.ones((1, 1, 1, 1)))[0].any()


@pytest.mark.parametrize("shape", [(4, 3), (3, 2, 5), (2, 5, 4, 3), (3, 1, 2, 2), (2, 3, 2, 2, 2), (0, 3, 2)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.usefixtures("cores", "pieces")
def test_batch_normalization(shape: tuple[int, ...], dtype: str, affine: bool) -> None:
    for kind in LAYOUTS[:-1]:
        x = draw(*shape, kind=kind)
        parameters = [draw(shape[1]), draw(shape[1])] if affine else [None, None]
        with ORACLE.scope():
            (y, mean, variance), saved = ORACLE.batch_norm(x, *parameters)
            (out, *statistics), kept = CPU.batch_norm(*(_cast(a, dtype) for a in (x, *parameters)))
            assert_same([out, *statistics], [y, mean, variance], dtype)
            gradient = draw(*shape)
            wanted = ORACLE.batch_norm_backward(saved, gradient)
            assert_same(CPU.batch_norm_backward(kept, _cast(gradient, dtype)), wanted, dtype)


@pytest.mark.parametrize("shape", [(), (5,), (4, 3), (3, 2, 4, 5), (0, 3)], ids=str)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.usefixtures("cores", "pieces")
def test_rectifier(shape: tuple[int, ...], dtype: str) -> None:
    for kind in LAYOUTS[:4] if shape else LAYOUTS[:1]:
        x = np.asarray(draw(*shape, kind=kind)).astype(dtype, order="K")
        if x.size > 4:
            x[(0,) * (x.ndim - 1)][:4] = [np.nan, -np.inf, np.inf, 0][: x.shape[-1]]
        out, kept = CPU.relu(x)
        np.testing.assert_array_equal(out, ORACLE.relu(x)[0])
        assert out.dtype == dtype
        gradient = np.asarray(draw(*shape, kind=kind)).astype(dtype)
        for dout in (gradient, np.ascontiguousarray(gradient), np.asfortranarray(gradient)):
            np.testing.assert_array_equal(CPU.relu_backward(kept, dout)[0], ORACLE.relu_backward(kept, dout)[0])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64"])
def test_masked(dtype: str) -> None:
    values = np.array([[1.5, -2.5, 0.0], [3.0, -0.0, 7.0]]).astype(dtype)
    if values.dtype.kind == "f":
        values[0, 1], values[1, 0] = np.nan, np.inf
    keep = np.array([[True, False, True], [False, True, True]])
    expected = np.where(keep, values, 0).astype(dtype)
    for v, k in [(values, keep), (values.T, keep.T), (values, np.asfortranarray(keep)), (values[:, ::2], keep[:, ::2])]:
        wanted = expected[:, ::2] if v.shape == (2, 2) else expected.T if v.shape == (3, 2) else expected
        result = masking.masked(v, k)
        np.testing.assert_array_equal(result, wanted)
        assert result.dtype == dtype
        out = np.full(v.shape, 9, dtype)
        assert masking.masked(v, k, out=out) is out
        np.testing.assert_array_equal(out, wanted)


def test_results_do_not_depend_on_the_number_of_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit, since the pieces and the order of their sums depend on the shape alone."""
    x, weight = draw(16, 8, 24, 24).astype("float32"), draw(16, 8, 3, 3).astype("float32")
    found = []
    for count in (1, 2, 5):
        monkeypatch.setenv("GPUNN_NUM_THREADS", str(count))
        threads._forget_crew()
        assert threads.core_count() == count
        out, saved = CPU.conv2d(x, weight, None, (1, 1), (1, 1))
        gradients = CPU.conv2d_backward(saved, out)
        pooled, _ = CPU.max_pool2d(out, (2, 2), (2, 2))
        (normal, *_), kept = CPU.batch_norm(out, None, None)
        found.append(
            [a.tobytes() for a in (out, *gradients[:2], pooled, normal, CPU.batch_norm_backward(kept, out)[0])]
        )
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("images", [1, 9])
def test_nor_do_products_by_numpy(monkeypatch: pytest.MonkeyPatch, images: int, dtype: str) -> None:
    monkeypatch.setenv("GPUNN_COMPILED", "0")
    random = np.random.default_rng(0)
    x, weight = (random.standard_normal(shape).astype(dtype) for shape in ((images, 65, 16, 16), (65, 65, 3, 3)))
    found = []
    for count in (1, 2, 4):
        monkeypatch.setenv("GPUNN_NUM_THREADS", str(count))
        threads._forget_crew()
        for stride in (1, 2):
            out, saved = CPU.conv2d(x, weight, None, (stride, stride), (1, 1))
            found.append([a.tobytes() for a in (out, *CPU.conv2d_backward(saved, np.cos(out))[:2])])
    assert found[:2] == found[2:4] == found[4:]


def test_an_infinite_pixel_stays_with_the_places_that_see_it() -> None:
    x, weight = np.array([1, 2, np.inf], "float32").reshape(1, 1, 1, 3), np.ones((1, 1, 1, 2), "float32")
    out, saved = CPU.conv2d(x, weight, None)
    assert CPU.conv2d_backward(saved, np.ones_like(out))[1].tolist() == [[[[3, np.inf]]]]


def test_two_threads_of_the_user_at_once() -> None:
    x, weight = draw(8, 6, 16, 16), draw(4, 6, 3, 3)
    expected = CPU.conv2d(x, weight, None)[0].tobytes()
    results: list[bool] = []

    def compute() -> None:
        results.extend(CPU.conv2d(x, weight, None)[0].tobytes() == expected for _ in range(20))

    users = [threading.Thread(target=compute) for _ in range(3)]
    for user in users:
        user.start()
    for user in users:
        user.join()
    assert results == [True] * 60


@pytest.mark.usefixtures("cores")
def test_for_each_keeps_order_and_raises() -> None:
    assert threads.for_each(lambda i: i * i, range(20)) == [i * i for i in range(20)]
    assert threads.for_each(lambda i: i, []) == []
    # A piece that hands out pieces of its own does them itself.
    assert threads.for_each(lambda i: sum(threads.for_each(lambda j: i * j, range(3))), range(4)) == [0, 3, 6, 9]
    with pytest.raises(ZeroDivisionError):
        threads.for_each(lambda i: 1 // i, range(3))
    assert threads.for_each(lambda i: -i, range(3)) == [0, -1, -2]


@pytest.mark.usefixtures("cores")
def test_error_settings_reach_the_threads() -> None:
    ones, zeros = np.ones(4), np.zeros(4)
    with np.errstate(divide="ignore"):
        assert (
            threads.for_each(lambda part: float((ones[part] / zeros[part]).sum()), threads.slices(4, 1)) == [np.inf] * 4
        )


def test_slices() -> None:
    assert threads.slices(5, 2) == [slice(0, 2), slice(2, 4), slice(4, 5)]
    assert threads.slices(0, 2) == []
    assert threads.slices(2, 0) == [slice(0, 1), slice(1, 2)]


def test_number_of_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in ("0", "-1", "many", ""):
        monkeypatch.setenv("GPUNN_NUM_THREADS", wrong)
        assert threads.core_count() >= 1
    monkeypatch.setenv("GPUNN_NUM_THREADS", "7")
    assert threads.core_count() == 7


def test_memory_is_kept_only_where_nobody_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in [("GPUNN_KEEP_MEMORY", "0"), ("MALLOC_ARENA_MAX", "2")]:
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert memory.keep_freed_memory() is False
    monkeypatch.setattr("sys.platform", "darwin")
    assert memory.keep_freed_memory() is False


def test_results_are_channels_last() -> None:
    """So that the next layer reads windows without a copy."""
    x = draw(2, 6, 8, 8)
    out, _ = NumpyBackend().conv2d(x, draw(4, 6, 3, 3), None)
    for array in (out, CPU.relu(out)[0], CPU.max_pool2d(out, (2, 2), (2, 2))[0], CPU.batch_norm(out, None, None)[0][0]):
        assert array.transpose(0, 2, 3, 1).flags.c_contiguous


def test_images_larger_than_a_piece() -> None:
    """One image of 1.6 MB is a piece of its own."""
    x = draw(2, 8, 224, 224).astype("float32")
    out, saved = CPU.relu(x)
    np.testing.assert_array_equal(out, np.maximum(x, 0))
    np.testing.assert_array_equal(CPU.relu_backward(saved, x)[0], np.where(x > 0, x, 0))
    pooled, kept = CPU.max_pool2d(x, (2, 2), (2, 2))
    np.testing.assert_array_equal(pooled, ORACLE.max_pool2d(x, (2, 2), (2, 2))[0])
    assert CPU.max_pool2d_backward(kept, np.ones_like(pooled))[0].sum() == pooled.size


def test_the_address_of_any_array() -> None:
    protected = draw(4, 3)
    protected.flags.writeable = False
    for array in (
        draw(4, 3),
        draw(4, 3)[1:, ::2],
        draw(4, 3)[::-1],
        draw(4, 3).T,
        protected,
        np.empty((0, 3)),
        draw(4)[2:2],
    ):
        assert scratch.address(array) == array.ctypes.data
