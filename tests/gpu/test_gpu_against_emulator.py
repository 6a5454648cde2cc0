"""The kernels on a GPU give what they give on the emulator: bit for bit where nothing is rounded twice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gpu.gpu_cases import CASES, DTYPES, EXACT, RECORDED, RECORDED_DTYPE, TERMS, results

import backends
from backends import emulator
from gpunn.dtypes import as_dtype

ROUNDINGS = 4  # as in the tests of the operations: four one behind the other
GPU = "cuda:0" in backends.available()
NO_GPU = pytest.mark.skipif(not GPU, reason=f"no GPU: {backends.missing_gpu()}")


def eps(dtype: Any) -> float:
    return float(2.0 ** -{"float16": 10, "bfloat16": 7, "float32": 23, "float64": 52}[np.dtype(dtype).name])


def check(name: str, key: str, found: np.ndarray, expected: np.ndarray, exact: bool) -> None:
    what = f"{name}, {key}"
    assert found.shape == expected.shape, what
    assert found.dtype == expected.dtype, what
    if exact:
        np.testing.assert_array_equal(found, expected, err_msg=what)
        return
    # Each is within its budget of the exact result, so that they are within twice the budget of each other.
    tolerance = 2 * ROUNDINGS * eps(found.dtype) * TERMS.get(name, 1) ** 0.5
    found, expected = found.astype(np.float64), expected.astype(np.float64)
    np.testing.assert_allclose(
        found, expected, rtol=tolerance, atol=tolerance * abs(expected).max(initial=0), err_msg=what
    )


def from_the_emulator(name: str, dtype: Any) -> dict[str, np.ndarray]:
    if emulator.missing() is None:
        return results(backends.get("cuda-emulated"), name, dtype)
    if np.dtype(dtype).name != RECORDED_DTYPE:
        pytest.skip(f"only {RECORDED_DTYPE} is recorded, and {emulator.missing()}")
    return recorded(name)


def recorded(name: str) -> dict[str, np.ndarray]:
    with np.load(RECORDED) as file:
        return {key.removeprefix(f"{name}/"): file[key] for key in file.files if key.startswith(f"{name}/")}


@NO_GPU
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_a_gpu_gives_what_the_emulator_gives(name: str, dtype: str) -> None:
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    expected = from_the_emulator(name, as_dtype(dtype))
    found = results(backends.get("cuda:0"), name, as_dtype(dtype))
    assert found.keys() == expected.keys()
    for key, array in found.items():
        check(name, key, array, expected[key], name in EXACT)


@NO_GPU
@pytest.mark.parametrize("name", CASES)
def test_a_gpu_repeats_itself(name: str) -> None:
    first, second = (results(backends.get("cuda:0"), name, "float32") for _ in range(2))
    for key, array in first.items():
        np.testing.assert_array_equal(array, second[key], err_msg=key)


@pytest.mark.skipif(emulator.missing() is not None, reason=str(emulator.missing()))
@pytest.mark.parametrize("name", CASES)
def test_what_is_recorded_is_what_the_emulator_gives(name: str) -> None:
    """If a kernel was changed on purpose: python tests/gpu/gpu_cases.py"""
    expected = recorded(name)
    found = results(backends.get("cuda-emulated"), name, RECORDED_DTYPE)
    assert found.keys() == expected.keys()
    for key, array in found.items():
        check(name, key, array, expected[key], name in EXACT)


@pytest.mark.parametrize("name", CASES)
def test_what_is_recorded_is_right(name: str) -> None:
    """Against the reference in float64, so that nobody compares a GPU with a mistake."""
    exact = results(backends.get("reference"), name, "float64", rounded_to=RECORDED_DTYPE)
    for key, array in recorded(name).items():
        check(name, key, array.astype("float32"), exact[key].astype("float32"), exact=False)
