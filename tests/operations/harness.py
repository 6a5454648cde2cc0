"""Carries out the rows of the table: makes tensors on a device, calls, differentiates, and measures the errors."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from operations.specification import Operation, Sample

import backends
from gpunn.tensor import Tensor

# c of the budget c * eps * sqrt(K). An operation of the table rounds about four times one behind the other (a difference,
# an elementary function, a quotient, a scale), each at most one unit in the last place, eps: four in the worst case.
ROUNDINGS = 4
LAYOUTS = ("strided", "reversed", "channels last")


def as_tensor(values: Any, backend: Any, dtype: str, layout: str = "contiguous", differentiable: bool = False) -> Any:
    """A tensor of ``values``: floating-point ones in ``dtype`` and in memory as ``layout`` says; None as it is."""
    if values is None:
        return None
    values = np.asarray(values)
    floating = values.dtype.kind == "f"
    array = backend.asarray(values.astype(dtype) if floating else values.copy())
    if isinstance(array, np.ndarray) and array.dtype.kind == "f":
        array = laid_out(array, layout, backend.xp)
        array.flags.writeable = False  # a primitive that writes to its input fails at once
    elif floating:
        array = laid_out(array, layout, backend.xp)
    return Tensor(array, backend, requires_grad=differentiable and floating)


def laid_out(array: Any, layout: str, xp: Any) -> Any:
    """Equal values, placed in memory otherwise."""
    if layout == "strided" and array.ndim:
        return xp.repeat(array, 2, axis=-1)[..., ::2]
    if layout == "reversed" and array.ndim:
        return xp.ascontiguousarray(array[..., ::-1])[..., ::-1]
    if layout == "channels last" and array.ndim > 1:
        return xp.moveaxis(xp.ascontiguousarray(xp.moveaxis(array, 1, -1)), -1, 1)
    return array


class Run:
    """One call of a row on one device: results and gradients on the host."""

    def __init__(
        self,
        row: Operation,
        sample: Sample,
        device: str,
        dtype: str,
        layout: str = "contiguous",
        only: int | None = None,
        backward: bool = True,
    ) -> None:
        backend = backends.get(device)
        differentiable = [
            row.differentiable and i not in row.constants and (only is None or i == only)
            for i in range(len(sample.inputs))
        ]
        self.inputs = [
            as_tensor(x, backend, dtype, layout, wanted)
            for x, wanted in zip(sample.inputs, differentiable, strict=True)
        ]
        before = [None if t is None else np.array(t.numpy()) for t in self.inputs]
        result = row.call(*self.inputs, **sample.options)
        results = result if isinstance(result, tuple) else (result,)
        self.results = [np.array(t.numpy()) for t in results]
        self.gradients: list[Any] = [None] * len(self.inputs)
        if backward and results[0].requires_grad:
            weights = weights_like(self.results[0])
            kept = weights.copy()
            weights.flags.writeable = False
            results[0].backward(weights)
            assert np.array_equal(weights, kept)
            self.gradients = [None if t is None or t.grad is None else np.array(t.grad.numpy()) for t in self.inputs]
        for values, tensor in zip(before, self.inputs, strict=True):
            if values is not None:
                assert values.tobytes() == np.array(tensor.numpy()).tobytes(), "an input was written to"


def weights_like(values: np.ndarray) -> np.ndarray:
    """A fixed pattern of weights between -1 and 1."""
    return np.cos(1.0 + np.arange(values.size)).reshape(values.shape).astype(values.dtype)


def rounded(values: Any, dtype: str) -> Any:
    """What the device is given, as the oracle sees it: rounded to ``dtype``, in float64."""
    if values is None or values.dtype.kind != "f":
        return values
    return values.astype(dtype).astype(np.float64)


@functools.cache
def expected(row: Operation, number: int, dtype: str) -> list[np.ndarray]:
    """The oracle's results for sample ``number``; the same for all devices and layouts."""
    sample = row.samples[number]
    result = row.oracle(*(rounded(x, dtype) for x in sample.inputs), **sample.options)
    return [np.asarray(r) for r in (result if isinstance(result, tuple) else (result,))]


@functools.cache
def expected_gradients(row: Operation, number: int, dtype: str) -> list[Any]:
    """The gradients of the reference device in float64, at the inputs rounded to ``dtype``."""
    sample = row.samples[number]
    at = Sample(*(rounded(x, dtype) for x in sample.inputs), **sample.options)
    return Run(row, at, "reference", "float64").gradients


def assert_within_budget(
    actual: np.ndarray, oracle: np.ndarray, terms: int, rounding: float, what: str, scale: float = 0.0
) -> None:
    """|actual - oracle| <= atol + rtol |oracle|, rtol = c eps sqrt(K), atol the same times the oracle's largest magnitude.

    K is ``terms``; ``rounding`` multiplies c; ``scale`` is the least that counts as largest magnitude.
    """
    assert actual.shape == oracle.shape, f"{what}: expected shape {oracle.shape}, got {actual.shape}"
    if actual.dtype.kind != "f":
        np.testing.assert_array_equal(actual, oracle, err_msg=what)
        return
    rtol = rounding * ROUNDINGS * float(np.finfo(actual.dtype).eps) * math.sqrt(terms)
    finite = np.abs(oracle[np.isfinite(oracle)])
    np.testing.assert_allclose(
        actual.astype(np.float64),
        oracle,
        rtol=rtol,
        atol=rtol * float(finite.max(initial=scale)),
        equal_nan=True,
        err_msg=what,
    )
