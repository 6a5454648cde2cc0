"""Norms of many arrays, their scaling and clamping, on the emulator."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from cuda.kernel_cases import DTYPES, ORACLE, assert_close, numbers, rounded, wide

from backends.cuda import array_lists

CHUNK = 512
SIZES = (0, 1, 3, 5, 7, 9, 31, 32, 33, 255, 257, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 1)
EPS = float(np.finfo(np.float64).eps)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(array_lists, "CHUNK", CHUNK)


def arrays_of(dtype: str, sizes: Any = SIZES) -> list[Any]:
    return [rounded(numbers(size, seed=i, scale=2), dtype) for i, size in enumerate(sizes)]


def exact_sum_of_squares(arrays: Any) -> float:
    return math.fsum(float(v) ** 2 for array in arrays for v in wide(array).reshape(-1))


def sum_of_squares(backend: Any, arrays: Any) -> float:
    with backend.scope():
        total = backend.sum_of_squares(arrays)
    assert (total.shape, total.dtype) == ((), np.float64)
    return float(total)


def views(dtype: str) -> dict[str, np.ndarray]:
    whole = rounded(numbers(4, 6, 5, 3, seed=9), dtype)
    return {
        "unaligned": whole.reshape(-1)[1:],
        "gaps": whole[:, ::2, 1:],
        "backwards": whole[::-1],
        "transposed": whole.transpose(2, 0, 1, 3),
        "one number": whole[0, 0, 0, 0:1].reshape(()),
    }


@pytest.mark.parametrize("dtype", DTYPES)
def test_sum_of_squares(emulated: Any, dtype: str) -> None:
    """As near to the exact sum as float64 gets, for every dtype: one array at a time, and all together."""
    arrays = arrays_of(dtype)
    for chosen in (*([array] for array in arrays), arrays, list(views(dtype).values())):
        exact = exact_sum_of_squares(chosen)
        terms = sum(array.size for array in chosen)
        assert abs(sum_of_squares(emulated, chosen) - exact) <= 4 * EPS * math.sqrt(max(terms, 1)) * exact


def test_sum_of_squares_of_several_dtypes_and_of_nothing(emulated: Any) -> None:
    mixed = [*arrays_of("float32", (5, 600)), *arrays_of("float16", (33,)), *arrays_of("float64", (7,))]
    mixed += [np.arange(4), np.broadcast_to(np.float32(3), (2, 5))]
    exact = exact_sum_of_squares(mixed)
    assert abs(sum_of_squares(emulated, mixed) - exact) <= 100 * EPS * exact
    assert sum_of_squares(emulated, []) == sum_of_squares(emulated, [np.empty((0, 3), "float32")]) == 0


def test_sum_of_squares_neither_overflows_nor_drops_small_numbers(emulated: Any) -> None:
    assert sum_of_squares(emulated, [np.full(8, 1e30, "float32")]) == pytest.approx(8e60)
    assert sum_of_squares(emulated, [np.full(4, 60000, "float16")]) == 4 * 60_000.0**2
    lots = np.full(3 * CHUNK, 2.0**-13, "float32")
    assert sum_of_squares(emulated, [np.ones(1, "float32"), lots]) == 1 + 3 * CHUNK * 2.0**-26


def test_sum_of_squares_has_a_fixed_order(in_every_order: Any, emulated: Any) -> None:
    arrays = arrays_of("float32")
    found = {sum_of_squares(backend, arrays) for backend in (in_every_order, emulated, in_every_order)}
    assert len(found) == 1


def test_a_launch_a_stage(emulated: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    launched = []
    launch = type(emulated).launch

    def spy(self: Any, file: str, kernel: str, *rest: Any, **more: Any) -> None:
        launched.append(kernel)
        launch(self, file, kernel, *rest, **more)

    monkeypatch.setattr(type(emulated), "launch", spy)
    tiny = [np.ones(3, "float32") for _ in range(1100)]  # more chunks than the last block has threads
    assert sum_of_squares(emulated, tiny) == 3300
    with emulated.scope():
        emulated.scale_(tiny, 2.0)
        emulated.clamp_(tiny, -1.0, 1.0)
    assert launched == ["sum_of_squares", "sum_of_chunks", "scale", "clamp"]


@pytest.mark.parametrize("order", [0.5, 1.0, 2.0, 3.0, math.inf])
@pytest.mark.parametrize("dtype", DTYPES)
def test_total_norm(emulated: Any, order: float, dtype: str) -> None:
    arrays = [*arrays_of(dtype, (0, 1, 33, 600)), *views(dtype).values()]
    with emulated.scope():
        norm = emulated.total_norm(arrays, order)
        nothing = emulated.total_norm([], order), emulated.total_norm(arrays[:1], order)
    assert (norm.shape, norm.dtype) == ((), np.float64)
    exact = float(ORACLE.total_norm([wide(array) for array in arrays], order))
    assert float(norm) == pytest.approx(exact, rel=1e-13)
    assert [float(n) for n in nothing] == [0, 0]


@pytest.mark.parametrize("order", [1.0, 2.0, math.inf])
def test_a_norm_of_nan_is_nan(emulated: Any, order: float) -> None:
    for place in (0, 40, 599):
        array = np.ones(600, "float32")
        array[place] = np.nan
        with emulated.scope():
            assert math.isnan(float(emulated.total_norm([array, np.full(5, 7, "float32")], order)))
            array[place] = -np.inf
            assert float(emulated.total_norm([np.full(5, 7, "float32"), array], order)) == math.inf


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("on_device", [False, True])
def test_scale(emulated: Any, dtype: str, on_device: bool) -> None:
    arrays = [*arrays_of(dtype), *views(dtype).values()]
    wanted = [wide(array) * 0.3 for array in arrays]
    arrays = [np.array(array, order="K", subok=False, copy=True) for array in arrays]
    with emulated.scope():
        emulated.scale_(arrays, np.asarray(0.3) if on_device else 0.3)
    for array, product in zip(arrays, wanted, strict=True):
        assert_close(array, product)


def test_scaling_in_place(emulated: Any) -> None:
    """A view changes what it is a view of, and nothing else; an array that is there twice is scaled twice."""
    whole = np.ones((4, 6), "float32")
    with emulated.scope():
        emulated.scale_([whole[:, ::2], whole[:1].T[1:2]], 3.0)
        np.testing.assert_array_equal(whole[:, ::2], 3)
        np.testing.assert_array_equal(whole[:, 1], [3, 1, 1, 1])
        np.testing.assert_array_equal(whole[:, 3::2], 1)
        twice = np.ones(5, "float32")
        emulated.scale_([twice, twice], 2.0)
        np.testing.assert_array_equal(twice, 4)
        emulated.scale_([], 2.0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_clamp(emulated: Any, dtype: str) -> None:
    arrays = arrays_of(dtype)
    arrays.append(rounded(np.array([np.nan, np.inf, -np.inf, 0.25, -0.25]), dtype))
    wanted = [np.clip(wide(array), -0.25, 1.0) for array in arrays]
    with emulated.scope():
        emulated.clamp_(arrays, -0.25, 1.0)
    for array, limited in zip(arrays, wanted, strict=True):
        np.testing.assert_array_equal(wide(array), limited)


def test_clamp_to_limits_the_wrong_way_round_is_as_in_array_code(emulated: Any) -> None:
    array = np.array([-2.0, 0.0, 2.0], "float32")
    wanted = np.clip(array, 1.0, -1.0)
    with emulated.scope():
        emulated.clamp_([array], 1.0, -1.0)
    np.testing.assert_array_equal(array, wanted)
