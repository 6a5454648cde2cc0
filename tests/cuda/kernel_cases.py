"""What the tests of the kernels share: sizes that exercise tails, the dtypes, and the comparison with the oracle."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
from operations.harness import ROUNDINGS

import backends

DTYPES = ("float32", "float64", "float16", "bfloat16")
# Nothing, one, around a warp, around a pack and a block of 256, and more than one block.
SIZES = (0, 1, 7, 31, 32, 33, 255, 257, 1023, 2049)
ORACLE = backends.get("reference")


def numbers(*shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    """Normal float64 numbers, the same in every run."""
    return np.random.default_rng([seed, *shape]).normal(scale=scale, size=shape)


def rounded(values: np.ndarray, dtype: str) -> np.ndarray:
    """``values`` as an array of ``dtype``; "bfloat16" is ml_dtypes' type."""
    return values.astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)


def wide(values: Any) -> np.ndarray:
    """The very same numbers in float64, as the oracle is given them."""
    return np.asarray(values).astype(np.float64)


def assert_close(
    actual: Any, oracle: Any, terms: int = 1, rounding: float = 1.0, what: str = "", scale: float = 0.0
) -> None:
    """|actual - oracle| <= atol + rtol |oracle|, rtol = c eps(dtype) sqrt(terms), atol the same times the largest |oracle|.

    ``scale`` is the least that counts as largest: the size of the terms of a sum that may cancel.

    NaN and infinities must be where the oracle has them.
    """
    actual, oracle = np.asarray(actual), wide(oracle)
    assert actual.shape == oracle.shape, f"{what}: expected shape {oracle.shape}, got {actual.shape}"
    rtol = rounding * ROUNDINGS * float(ml_dtypes.finfo(actual.dtype).eps) * terms**0.5
    finite = np.abs(oracle[np.isfinite(oracle)])
    np.testing.assert_allclose(
        wide(actual), oracle, rtol=rtol, atol=rtol * float(finite.max(initial=scale)), equal_nan=True, err_msg=what
    )
