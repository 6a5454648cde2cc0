"""Convolution by im2col and matrix products, on the emulator, against the reference in float64."""

from __future__ import annotations

import itertools
import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from cuda.kernel_cases import DTYPES, ORACLE, assert_close, numbers, rounded, wide

from backends import emulator
from backends.cuda import layout
from backends.cuda.cudnn import Unsupported
from backends.cuda.im2col import images_at_a_time
from backends.cuda.options import options
from backends.cuda.windows import Windows

# x, weight, stride, padding, dilation, groups
CASES: list[tuple[Any, ...]] = [
    ((2, 3, 7, 6), (4, 3, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((2, 8, 5, 6), (5, 8, 3, 2), (2, 1), (1, 0), (1, 1), 1),
    ((1, 16, 6, 7), (3, 16, 2, 3), (2, 3), (1, 2), (3, 1), 1),
    ((3, 5, 4, 4), (7, 5, 1, 1), (1, 1), (0, 0), (1, 1), 1),  # pixels as they lie there
    ((3, 5, 5, 4), (7, 5, 1, 1), (2, 3), (0, 0), (1, 1), 1),  # elements that no window has
    ((3, 5, 4, 4), (2, 5, 1, 1), (1, 1), (1, 1), (1, 1), 1),
    ((2, 16, 4, 5), (4, 8, 3, 3), (1, 1), (1, 1), (1, 1), 2),
    ((2, 6, 4, 4), (6, 1, 3, 3), (1, 1), (1, 1), (1, 1), 6),  # by depth
    ((2, 6, 5, 5), (3, 2, 1, 1), (1, 1), (0, 0), (1, 1), 3),
    ((1, 1, 1, 1), (1, 1, 1, 1), (1, 1), (0, 0), (1, 1), 1),
    ((1, 6, 1, 1), (2, 6, 3, 3), (1, 1), (1, 1), (1, 1), 1),  # wider than the image
    ((1, 2, 5, 5), (2, 2, 5, 5), (4, 4), (4, 4), (1, 1), 1),  # windows in the padding
    ((0, 3, 4, 4), (2, 3, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((2, 5, 9, 1), (2, 5, 4, 1), (3, 1), (0, 0), (1, 1), 1),
    ((1, 33, 6, 6), (2, 33, 3, 3), (1, 1), (1, 1), (1, 1), 1),  # rows of more elements than a block has threads
    ((5, 1, 9, 9), (3, 1, 2, 2), (1, 1), (0, 0), (2, 2), 1),
]  # fmt: skip


def in_order(values: np.ndarray, dtype: str, last: bool) -> np.ndarray:
    x = rounded(values, dtype)
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2) if last else x


def compare(backend: Any, case: tuple[Any, ...], dtype: str, last: bool, bias: bool = True) -> list[np.ndarray]:
    """Result and gradients against the oracle on the very same numbers."""
    shape, filters, *geometry = case
    x, weight = in_order(numbers(*shape), dtype, last), in_order(numbers(*filters, seed=1), dtype, last)
    added = rounded(numbers(filters[0], seed=2), dtype) if bias else None
    with backend.scope():
        out, saved = backend.conv2d(x, weight, added, *geometry)
        wanted, kept = ORACLE.conv2d(wide(x), wide(weight), None if added is None else wide(added), *geometry)
        dout = in_order(numbers(*wanted.shape, seed=3), dtype, not last)
        gradients = backend.conv2d_backward(saved, dout)
    oracles = ORACLE.conv2d_backward(kept, wide(dout))
    assert out.dtype == x.dtype
    assert layout.is_channels_last(out) or not out.size
    assert_close(out, wanted, terms=math.prod(filters[1:]) + 1, what=f"{case}")
    results = [out]
    # A gradient of x is added up from products that were rounded: an element has one for each place of the kernel.
    terms = (filters[0] * filters[2] * filters[3], max(1, wanted.size // filters[0]), max(1, wanted.size // filters[0]))
    for gradient, oracle, count, what in zip(gradients, oracles, terms, ("x", "weight", "bias"), strict=True):
        if oracle is None:
            assert gradient is None
            continue
        assert gradient.dtype == x.dtype
        assert_close(gradient, oracle, terms=count, what=f"{case}, gradient of {what}")
        results.append(gradient)
    return results


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("last", [False, True], ids=["channels first", "channels last"])
def test_convolution(emulated: Any, dtype: str, last: bool) -> None:
    for number, case in enumerate(CASES):
        compare(emulated, case, dtype, last, bias=number % 2 == 0)


def test_only_the_gradients_that_are_needed(emulated: Any) -> None:
    x, weight, bias = (rounded(numbers(*shape), "float32") for shape in ((2, 4, 5, 5), (3, 4, 3, 3), (3,)))
    with emulated.scope():
        out, saved = emulated.conv2d(x, weight, bias)
        whole = emulated.conv2d_backward(saved, out)
        for needs in itertools.product((False, True), repeat=3):
            gradients = emulated.conv2d_backward(saved, out, needs)
            assert tuple(g is not None for g in gradients) == needs
            assert all(g is None or g.tobytes() == w.tobytes() for g, w in zip(gradients, whole, strict=True))


def test_filters_start_in_the_order_that_is_read(emulated: Any) -> None:
    filters = emulated.zero_filters((4, 3, 2, 5), "float32")
    assert filters.shape == (4, 3, 2, 5)
    assert layout.is_channels_last(filters)
    assert not filters.any()


# The workspace


@pytest.mark.parametrize(("images", "wanted"), [(1, [1]), (3, [3]), (4, [3, 1]), (8, [3, 3, 2])])
def test_images_at_a_time(images: int, wanted: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    windows = Windows(images, 5, (6, 7), (4, 5), (3, 3), (1, 1), (0, 0), (1, 1))
    of_one = 4 * 5 * 9 * 5 * 4
    monkeypatch.setattr(options, "workspace_limit", 4 * of_one - 1)
    assert [part.stop - part.start for part in images_at_a_time(windows, 4)] == wanted
    monkeypatch.setattr(options, "workspace_limit", of_one - 1)  # one image is the least
    assert [part.stop - part.start for part in images_at_a_time(windows, 4)] == [1] * images


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_small_workspace(emulated: Any, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five images, two at a time: the same as at once but for the order in which the filters' gradient is added up."""
    for shape, filters, groups in [
        ((5, 8, 5, 6), (4, 8, 3, 3), 1),
        ((5, 6, 4, 4), (4, 3, 2, 3), 2),
        ((5, 4, 3, 3), (2, 4, 1, 1), 1),
    ]:
        case = shape, filters, (1, 1), (0, 0), (1, 1), groups
        monkeypatch.setattr(options, "workspace_limit", 1 << 30)
        whole = compare(emulated, case, dtype, last=True)
        columns = math.prod(whole[0].shape[2:]) * math.prod(filters[1:]) * groups * np.dtype(whole[0].dtype).itemsize
        monkeypatch.setattr(options, "workspace_limit", 2 * columns)
        for one, two in zip(whole, compare(emulated, case, dtype, last=True), strict=True):
            assert_close(one, wide(two), terms=100)


def test_the_sum_of_several_parts_is_float32(emulated: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of 24 images adds 16 to the 4,096 of the first, which in bfloat16 is 4,096 again."""
    monkeypatch.setattr(options, "workspace_limit", 1)
    x = np.ones((25, 1, 5, 5))
    dout = np.ones((25, 1, 4, 4))
    dout[0] = 256
    x, dout, weight = (rounded(values, "bfloat16") for values in (x, dout, np.ones((1, 1, 2, 2))))
    with emulated.scope():
        _, saved = emulated.conv2d(x, weight, None)
        (_, grad_weight, _) = emulated.conv2d_backward(saved, dout, (False, True, False))
    assert_close(grad_weight, np.full((1, 1, 2, 2), 4096 + 24 * 16), rounding=0.25)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_parts_are_rounded_once(emulated: Any, dtype: str, groups: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether 16 images are one part, 4 or 16: the sum of half precision has float32's error, and that of one rounding."""
    x, weight = (rounded(numbers(*shape), dtype) for shape in ((16, 4, 4, 5), (2, 4 // groups, 3, 2)))
    dout = rounded(numbers(16, 2, 2, 4, seed=1), dtype)
    with emulated.scope():
        _, saved = emulated.conv2d(x, weight, None, groups=groups)
        _, kept = ORACLE.conv2d(wide(x), wide(weight), None, groups=groups)
        _, wanted, _ = ORACLE.conv2d_backward(kept, wide(dout))
        columns = 2 * 4 * 3 * 2 * 4 * x.itemsize  # bytes of one image's
        for images in (16, 4, 1):
            monkeypatch.setattr(options, "workspace_limit", images * columns)
            _, gradient, _ = emulated.conv2d_backward(saved, dout, (False, True, False))
            assert gradient.dtype == x.dtype
            half = float(ml_dtypes.finfo(x.dtype).eps) / 2
            np.testing.assert_allclose(
                wide(gradient), wanted, rtol=half, atol=1e-5, err_msg=f"{images} images at a time"
            )


# Which way is taken


@pytest.fixture
def fresh() -> Any:
    """A backend of this test's own, and the kernels that it launches."""
    missing = emulator.missing()
    if missing:
        pytest.skip(missing)
    backend, launched = emulator.backend(), []
    launch = backend.launch

    def watched(file: str, kernel: str, *arguments: Any, **more: Any) -> None:
        launched.append(kernel)
        launch(file, kernel, *arguments, **more)

    backend.launch = watched
    return backend, launched


def test_a_kernel_of_one_element_needs_no_columns(fresh: Any) -> None:
    backend, launched = fresh
    compare(backend, CASES[3], "float32", last=True)
    assert launched == ["bias_forward", "row_sums"]
    launched.clear()
    compare(backend, CASES[0], "float32", last=True)
    assert launched == ["im2col", "bias_forward", "col2im", "im2col", "row_sums"]


class HalfOfCudnn:
    """Serves forward alone."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def forward(self, x: Any, weight: Any, *geometry: Any) -> Any:
        self.asked.append("forward")
        out, _ = ORACLE.conv2d(x.transpose(0, 3, 1, 2), weight.transpose(0, 3, 1, 2), None, *geometry)
        return np.ascontiguousarray(out.transpose(0, 2, 3, 1))

    def input_gradient(self, *arguments: Any) -> Any:
        self.asked.append("input gradient")
        raise Unsupported("no plan")

    def weight_gradient(self, *arguments: Any) -> Any:
        self.asked.append("weight gradient")
        raise Unsupported("no plan")


def test_cudnn_is_asked_first(fresh: Any) -> None:
    backend, launched = fresh
    assert backend.cudnn is None  # the emulator has none
    backend.cudnn = HalfOfCudnn()
    compare(backend, CASES[0], "float64", last=False)
    assert backend.cudnn.asked == ["forward", "input gradient", "weight gradient"]
    assert launched == ["bias_forward", "col2im", "im2col", "row_sums"]


def test_other_dtypes_are_left_to_array_code(fresh: Any) -> None:
    backend, launched = fresh
    x, weight = np.arange(18).reshape(1, 2, 3, 3), np.ones((1, 2, 3, 3), int)
    out, saved = backend.conv2d(x, weight, None)
    assert out.tolist() == [[[[153]]]]
    assert backend.conv2d_backward(saved, out)[0].tolist() == [[[[153] * 3] * 3] * 2]
    assert launched == []


# Threads


def everything(backend: Any) -> list[np.ndarray]:
    return [
        result for case in (CASES[1], CASES[6], CASES[14]) for result in compare(backend, case, "float32", last=True)
    ]


def test_threads_in_any_order(in_every_order: Any, emulated: Any) -> None:
    """Bit for bit, also a second time."""
    runs = everything(emulated), everything(in_every_order), everything(in_every_order)
    for one, two, three in zip(*runs, strict=True):
        assert one.tobytes() == two.tobytes() == three.tobytes()


def test_more_elements_than_threads(emulated: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = everything(emulated)
    monkeypatch.setattr(layout, "MOST_BLOCKS", 1)
    monkeypatch.setattr("backends.cuda.im2col.MOST_BLOCKS_DOWN", 1)
    for one, two in zip(everything(emulated), wanted, strict=True):
        assert one.tobytes() == two.tobytes()


def test_more_elements_than_32_bits_count() -> None:
    """The last element of this image is number 2**31 + ...; almost none of its pages is ever touched."""
    missing = emulator.missing()
    if missing:
        pytest.skip(missing)
    backend = emulator.backend(checked=False)
    side = 46_400
    x = np.zeros((1, 1, side, side), "float16")
    assert x.size > 2**31
    x[0, 0, 1, 0], x[0, 0, -1, -1], x[0, 0, -2, 1] = 1, 4, 8
    with backend.scope():
        out, _ = backend.conv2d(x, rounded(np.array([[[[1, 2], [3, 4]]]]), "float16"), None, (side - 2, side - 2))
    assert out.tolist() == [[[[3, 0], [16, 16]]]]
