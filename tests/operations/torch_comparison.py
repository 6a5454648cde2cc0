"""One function under gpunn and under PyTorch: the same values, the same gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import backends
from gpunn.tensor import Tensor

# Relative to the largest number of a result. In float64 what the project promises; in float32 both sides round, each
# up to a few dozen operations one behind the other.
TOLERANCE = {"float64": 1e-9, "float32": 64 * float(np.finfo(np.float32).eps)}


def numbers(*shape: int, seed: int = 0, low: float = -2.0, high: float = 2.0) -> np.ndarray:
    """Uniform float64 numbers."""
    return np.asarray(np.random.default_rng([seed, *shape]).uniform(low, high, shape))


def same_as_torch(
    device: str, ours: Callable[..., Any], theirs: Callable[..., Any], *arrays: Any, gradients: bool = True
) -> None:
    """Assert equal results and gradients, in float64 and in float32.

    Floating-point ``arrays`` require gradients; the functions get those of integers and all other arguments as they are.
    They may return several tensors; the gradient is that of all floating-point ones, weighted with a fixed pattern.
    """
    for dtype in TOLERANCE:
        _same_in(dtype, backends.get(device), ours, theirs, arrays, gradients)


def _same_in(
    dtype: str,
    backend: backends.Backend,
    ours: Callable[..., Any],
    theirs: Callable[..., Any],
    arrays: tuple[Any, ...],
    gradients: bool,
) -> None:
    import torch

    torch.set_num_threads(1)  # the cases are small: threads would wait for each other
    own, other = [], []
    for array in arrays:
        if not isinstance(array, np.ndarray):
            own.append(array)
            other.append(array)
            continue
        differentiable = gradients and array.dtype.kind == "f"
        values = array.astype(dtype) if array.dtype.kind == "f" else array
        own.append(Tensor(backend.asarray(values.copy()), backend, requires_grad=differentiable))
        other.append(torch.tensor(values, requires_grad=differentiable))
    mine, expected = _as_tuple(ours(*own)), _as_tuple(theirs(*other))
    assert len(mine) == len(expected)
    for number, (a, b) in enumerate(zip(mine, expected, strict=True)):
        assert_near(a.numpy(), b.detach().numpy(), dtype, f"result {number}")
    if not gradients:
        return
    pairs = [(a, b) for a, b in zip(mine, expected, strict=True) if b.requires_grad]
    assert pairs, "PyTorch's result requires no gradient: nothing to compare"
    weighted = [(weights_like(b.detach().numpy()), a, b) for a, b in pairs]
    torch.autograd.backward([b for _, _, b in weighted], [torch.tensor(w) for w, _, _ in weighted])
    for weights, a, _ in weighted:
        a.backward(weights, retain_graph=True)
    for number, (a, b) in enumerate(zip(own, other, strict=True)):
        if isinstance(b, torch.Tensor) and b.grad is not None:
            assert a.grad is not None, f"no gradient of input {number}"
            assert_near(a.grad.numpy(), b.grad.numpy(), dtype, f"gradient of input {number}")


def assert_near(actual: np.ndarray, expected: np.ndarray, dtype: str, what: str) -> None:
    """Equal shape and dtype; equal NaN and infinities; else within `TOLERANCE` of the element or of the largest one."""
    assert actual.shape == expected.shape, f"{what}: expected shape {expected.shape}, got {actual.shape}"
    assert actual.dtype == expected.dtype, f"{what}: expected {expected.dtype}, got {actual.dtype}"
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(actual, expected, err_msg=what)
        return
    finite = np.abs(expected[np.isfinite(expected)])
    tolerance = TOLERANCE[dtype]
    np.testing.assert_allclose(
        actual, expected, rtol=tolerance, atol=tolerance * float(finite.max(initial=0)), equal_nan=True, err_msg=what
    )


def weights_like(values: np.ndarray) -> np.ndarray:
    """A fixed pattern of weights between -1 and 1, none of them 0."""
    return np.cos(np.arange(1, values.size + 1)).reshape(values.shape).astype(values.dtype)


def _as_tuple(result: Any) -> tuple[Any, ...]:
    return tuple(result) if isinstance(result, (tuple, list)) else (result,)
