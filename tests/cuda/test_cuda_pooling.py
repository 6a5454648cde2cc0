"""Kernels of pooling, on the emulator, against the reference in float64."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from cuda.kernel_cases import DTYPES, ORACLE, assert_close, numbers, rounded, wide

from backends import emulator
from backends.cuda import layout
from backends.cuda.windows import Windows
from backends.geometry import output_size

# Packs with and without a rest for each dtype, no image, one, one pixel, one row, more outputs than a block has threads.
SHAPES: list[tuple[Any, ...]] = [
    (2, 3, 7, 6),
    (1, 8, 5, 6),
    (2, 16, 4, 3),
    (1, 33, 3, 3),
    (1, 1, 1, 1),
    (3, 5, 1, 13),
    (0, 2, 5, 4),
    (1, 2, 19, 17),
]
# Kernel, stride, padding, dilation, ceil_mode: apart, overlapping, with gaps, wider than the image, dilated.
WINDOWS: list[tuple[Any, ...]] = [
    ((2, 2), (2, 2), (0, 0), (1, 1), False),
    ((2, 2), (2, 2), (1, 1), (1, 1), True),
    ((3, 3), (2, 2), (1, 1), (1, 1), False),
    ((3, 2), (1, 1), (1, 0), (1, 1), False),
    ((1, 1), (3, 2), (0, 0), (1, 1), True),
    ((2, 3), (3, 5), (1, 1), (1, 1), True),
    ((7, 7), (2, 3), (3, 3), (1, 1), False),
    ((3, 2), (2, 1), (1, 1), (1, 3), False),
    ((2, 3), (1, 3), (1, 1), (3, 2), True),
]  # fmt: skip
CASES = [
    (shape, window) for shape, window in itertools.product(SHAPES, WINDOWS)
    if min(output_size(shape[2:], *window)) > 0
]  # fmt: skip
CELLS = [(1, 1), (2, 3), (7, 4), (3, 20)]
BOTH = pytest.mark.parametrize("last", [False, True], ids=["channels first", "channels last"])


def laid_out(values: np.ndarray, dtype: str, last: bool) -> np.ndarray:
    x = rounded(values, dtype)
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2) if last else x


def assert_same_order(result: np.ndarray, last: bool) -> None:
    assert not result.size or (layout.is_channels_last(result) if last else result.flags.c_contiguous)


def levels(*shape: int) -> np.ndarray:
    """Few distinct numbers, so that there are ties."""
    return np.round(numbers(*shape, seed=11))


def compare_max(backend: Any, x: Any, dout_seed: int, window: tuple[Any, ...], what: str) -> None:
    """Maxima, indices and both gradients, of which the sums have as many terms as the kernel elements."""
    kernel, stride, padding, dilation, ceil_mode = window
    (best, winners), kept = ORACLE.max_pool2d_with_indices(wide(x), kernel, stride, padding, dilation, ceil_mode)
    (found, indices), with_indices = backend.max_pool2d_with_indices(x, kernel, stride, padding, dilation, ceil_mode)
    out, saved = backend.max_pool2d(x, kernel, stride, padding, dilation, ceil_mode)
    for result in (found, out):
        assert result.dtype == x.dtype
        np.testing.assert_array_equal(wide(result), best, err_msg=what)
    np.testing.assert_array_equal(indices, winners, err_msg=what)
    assert indices.dtype == np.int64
    dout = rounded(numbers(*best.shape, seed=dout_seed), x.dtype.name)
    (wanted,) = ORACLE.max_pool2d_backward(kept, wide(dout))
    for (dx,) in (
        backend.max_pool2d_with_indices_backward(with_indices, dout),
        backend.max_pool2d_backward(saved, dout),
    ):
        assert dx.dtype == x.dtype
        assert_close(dx, wanted, terms=kernel[0] * kernel[1], what=f"{what}, gradient")


@BOTH
@pytest.mark.parametrize("dtype", DTYPES)
def test_max_pooling(emulated: Any, dtype: str, last: bool) -> None:
    with emulated.scope():
        for shape, window in CASES:
            compare_max(emulated, laid_out(levels(*shape), dtype, last), 1, window, f"{shape} {window}")


@BOTH
def test_max_pooling_of_special_numbers(emulated: Any, last: bool) -> None:
    """NaN wins and stays; of a window of -inf the first element wins; the first of equal ones."""
    x = levels(2, 4, 6, 7)
    x[0, 0, 1, 1] = x[0, 0, 1, 2] = x[1, 3, 5, 6] = np.nan
    x[0, 1] = -np.inf
    x[1, 0, 2, 2] = np.inf
    with emulated.scope():
        for dtype, window in itertools.product(DTYPES, WINDOWS):
            compare_max(emulated, laid_out(x, dtype, last), 2, window, f"{dtype} {window}")


def test_a_window_in_the_padding(emulated: Any) -> None:
    """Dilation may leave a window without one element: -inf, and no gradient."""
    x = np.ones((1, 1, 1, 1), "float32")
    with emulated.scope():
        out, saved = emulated.max_pool2d(x, (2, 2), (1, 1), (1, 1), (2, 2))
        assert out.tolist() == [[[[-np.inf]]]]
        assert emulated.max_pool2d_backward(saved, np.ones_like(out))[0].tolist() == [[[[0]]]]


@pytest.mark.parametrize(("kernel", "numbers_type"), [((15, 17), "uint8"), ((16, 16), "int64"), ((300, 1), "int64")])
def test_large_kernels(emulated: Any, kernel: tuple[int, int], numbers_type: str) -> None:
    """Up to 255 elements are numbered by a byte; the last of them wins here somewhere."""
    x = np.zeros((1, 2, kernel[0] + 2, kernel[1] + 1), "float32")
    x[0, 0, kernel[0], kernel[1]] = x[0, 1, kernel[0] - 1, kernel[1] - 1] = 1
    with emulated.scope():
        compare_max(emulated, x, 3, (kernel, (1, 1), (0, 0), (1, 1), False), str(kernel))
        assert emulated.max_pool2d(x, kernel, (1, 1))[1].winners.dtype == numbers_type


@BOTH
@pytest.mark.parametrize("dtype", DTYPES)
def test_average_pooling(emulated: Any, dtype: str, last: bool) -> None:
    with emulated.scope():
        for number, (shape, window) in enumerate(CASES):
            kernel, stride, padding, dilation, ceil_mode = window
            if dilation != (1, 1):
                continue
            # (True, None) is the default; each case has one of the others too
            for options in ((True, None), [(False, None), (True, 7), (False, -3)][number % 3]):
                x, arguments = laid_out(numbers(*shape), dtype, last), (kernel, stride, padding, ceil_mode, *options)
                out, saved = emulated.avg_pool2d(x, *arguments)
                wanted, kept = ORACLE.avg_pool2d(wide(x), *arguments)
                dout = rounded(numbers(*wanted.shape, seed=4), dtype)
                (dx,), (wanted_dx,) = (
                    emulated.avg_pool2d_backward(saved, dout),
                    ORACLE.avg_pool2d_backward(kept, wide(dout)),
                )
                assert out.dtype == dx.dtype == x.dtype
                for result, oracle in ((out, wanted), (dx, wanted_dx)):
                    assert_same_order(result, last)
                    assert_close(result, oracle, terms=kernel[0] * kernel[1], what=f"{shape} {window} {options}")


@BOTH
@pytest.mark.parametrize("dtype", DTYPES)
def test_adaptive_average_pooling(emulated: Any, dtype: str, last: bool) -> None:
    """Cells that divide the plane, that overlap, that are fewer and more than its elements; and cells of a warp or more."""
    with emulated.scope():
        for shape, cells in [*itertools.product(SHAPES, CELLS), ((2, 3, 9, 8), (1, 2)), ((1, 2, 13, 11), (2, 2))]:
            x = laid_out(numbers(*shape), dtype, last)
            out, saved = emulated.adaptive_avg_pool2d(x, cells)
            wanted, kept = ORACLE.adaptive_avg_pool2d(wide(x), cells)
            dout = rounded(numbers(*wanted.shape, seed=5), dtype)
            (dx,) = emulated.adaptive_avg_pool2d_backward(saved, dout)
            (wanted_dx,) = ORACLE.adaptive_avg_pool2d_backward(kept, wide(dout))
            terms = shape[2] * shape[3]
            for result, oracle in ((out, wanted), (dx, wanted_dx)):
                assert result.dtype == x.dtype
                assert_same_order(result, last)
                assert_close(result, oracle, terms=terms, what=f"{shape} {cells}")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_added_up_in_float32(emulated: Any, dtype: str) -> None:
    """In half precision a sum of ones ends at 2048, or at 256."""
    side = 47
    with emulated.scope():
        for channels in (1, 8):
            ones = laid_out(np.ones((1, channels, side, side)), dtype, last=True)
            for out in (
                emulated.adaptive_avg_pool2d(ones, (1, 1))[0],
                emulated.avg_pool2d(ones, (side, side), (1, 1))[0],
            ):
                assert (wide(out) == 1).all()
        # One element wins all windows.
        x = np.zeros((1, 1, 2 * side - 1, 2 * side - 1))
        x[..., side - 1, side - 1] = 1
        _, saved = emulated.max_pool2d_with_indices(rounded(x, dtype), (side, side), (1, 1))
        (dx,) = emulated.max_pool2d_with_indices_backward(saved, ones[:, :1])
        assert_close(dx, side * side * x)


def test_results_keep_the_memory_order(emulated: Any) -> None:
    with emulated.scope():
        for last in (False, True):
            x = laid_out(numbers(2, 3, 6, 8), "float32", last)
            out, saved = emulated.max_pool2d(x, (2, 2), (2, 2))
            (_, indices), _ = emulated.max_pool2d_with_indices(x, (2, 2), (2, 2))
            # a gradient in the other order
            (dx,) = emulated.max_pool2d_backward(saved, laid_out(numbers(2, 3, 3, 4), "float32", not last))
            for result in (out, indices, dx):
                assert_same_order(result, last)


def test_any_place_in_memory(emulated: Any) -> None:
    """Four channels fill a pack of float32; here no pack starts at a multiple of 16 bytes. And views with gaps."""
    memory = numbers(2 * 6 * 7 * 4 + 1).astype("float32")
    unaligned = memory[1:].reshape(2, 6, 7, 4).transpose(0, 3, 1, 2)
    assert unaligned.ctypes.data % 16
    views = [unaligned, unaligned[:, ::2], unaligned[:, :, ::-1], unaligned.transpose(1, 0, 3, 2), unaligned[..., 1:]]
    with emulated.scope():
        for x, window in itertools.product(views, WINDOWS[:3]):
            compare_max(emulated, x, 6, window, f"{x.strides}")
            for name, arguments in (("avg_pool2d", window[:3]), ("adaptive_avg_pool2d", ((2, 3),))):
                out, saved = getattr(emulated, name)(x, *arguments)
                wanted, kept = getattr(ORACLE, name)(wide(x), *arguments)
                assert_close(out, wanted, terms=42)
                (dx,) = getattr(emulated, f"{name}_backward")(saved, wanted.astype("float32"))
                (wanted,) = getattr(ORACLE, f"{name}_backward")(kept, wide(wanted.astype("float32")))
                assert_close(dx, wanted, terms=42)


def everything(backend: Any, last: bool) -> list[np.ndarray]:
    """Results and gradients of all kinds of pooling."""
    x, results = laid_out(numbers(2, 8, 21, 19), "float32", last), []
    with backend.scope():
        for name, arguments in (
            ("max_pool2d", WINDOWS[2][:3]),
            ("avg_pool2d", WINDOWS[2][:3]),
            ("adaptive_avg_pool2d", ((2, 3),)),
            ("adaptive_avg_pool2d", ((8, 7),)),
        ):
            out, saved = getattr(backend, name)(x, *arguments)
            results += [out, *getattr(backend, f"{name}_backward")(saved, out)]
        (out, indices), saved = backend.max_pool2d_with_indices(x, *WINDOWS[2][:3])
        results += [out, indices, *backend.max_pool2d_with_indices_backward(saved, out)]
    return results


@BOTH
def test_threads_in_any_order(in_every_order: Any, emulated: Any, last: bool) -> None:
    """Bit for bit, also a second time."""
    runs = everything(emulated, last), everything(in_every_order, last), everything(in_every_order, last)
    for one, two, three in zip(*runs, strict=True):
        assert one.tobytes() == two.tobytes() == three.tobytes()


@BOTH
def test_more_elements_than_threads(emulated: Any, last: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a grid of one block each thread goes around several times."""
    wanted = everything(emulated, last)
    monkeypatch.setattr(layout, "MOST_BLOCKS", 1)
    for one, two in zip(everything(emulated, last), wanted, strict=True):
        assert one.tobytes() == two.tobytes()


def test_more_elements_than_32_bits_count() -> None:
    """The last element of this plane is number 2**31 + ...; almost none of its pages is ever touched."""
    missing = emulator.missing()
    if missing:
        pytest.skip(missing)
    backend = emulator.backend(checked=False)
    side = 46_400
    x = np.zeros((1, 1, side, side), "float16")
    assert x.size > 2**31
    x[0, 0, 1, 0], x[0, 0, -1, -1], x[0, 0, -2, 1] = 1, 4, 8
    window = (2, 2), (side - 2, side - 2)
    with backend.scope():
        (out, indices), _ = backend.max_pool2d_with_indices(x, *window)
        assert out.tolist() == [[[[1, 0], [8, 4]]]]
        assert indices.tolist() == [[[[side, side - 2], [(side - 2) * side + 1, side * side - 1]]]]
        assert backend.max_pool2d(x, *window)[0].tolist() == out.tolist()
        assert backend.avg_pool2d(x, *window)[0].tolist() == [[[[0.25, 0], [2, 1]]]]


def test_what_int_does_not_count_is_left_to_array_code(emulated: Any) -> None:
    windows = Windows(1, 1, (5, 5), (5, 5), (1, 1), (1, 1), (0, 0), (1, 1))
    assert windows.fit_in_int()
    for large in ({"size": (5, 2**31)}, {"channels": 2**31}, {"stride": (2**31, 1)}, {"kernel": (2**16, 2**16)},
                  {"padding": (0, 2**30)}, {"kernel": (2, 2), "dilation": (2**31, 1)}):  # fmt: skip
        assert not windows._replace(**large).fit_in_int()
    x = np.ones((1, 1, 5, 5), "float32")
    with emulated.scope():
        assert emulated.max_pool2d(x, (1, 1), (2**31, 2**31))[0].tolist() == [[[[1]]]]
        assert emulated.avg_pool2d(x, (1, 1), (2**31, 2**31))[0].tolist() == [[[[1]]]]


def test_whole_numbers_are_left_to_array_code(emulated: Any) -> None:
    x = np.arange(16).reshape(1, 1, 4, 4)
    with emulated.scope():
        assert emulated.avg_pool2d(x, (2, 2), (2, 2))[0].tolist() == [[[[2.5, 4.5], [10.5, 12.5]]]]
        assert emulated.adaptive_avg_pool2d(x, (1, 1))[0].tolist() == [[[[7.5]]]]
