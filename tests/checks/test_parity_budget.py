"""The budget of one operation: what it lets pass, and that no right operation of the table exceeds it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from operations.specification import Operation
from operations.table import TABLE

import gpunn
from backends import Backend
from backends.cpu import NumpyBackend
from gpunn import nn
from gpunn.checks import parity
from gpunn.checks.budget import EPSILON, Budget, of_dtype

FLOAT32 = np.dtype("float32")


@pytest.mark.parametrize(("actual", "exact", "error"), [
    ([1.0, 2.0], [1.0, 2.0], 0.0),
    ([1.0, 2.5], [1.0, 2.0], 0.5 / 4),  # relative to |exact| and the largest
    ([1.5, 2.0], [1.0, 2.0], 0.5 / 3),
    ([math.nan], [math.nan], 0.0),
    ([0.0], [math.nan], math.inf),
    ([math.nan], [0.0], math.inf),
    ([math.inf], [math.inf], 0.0),
    ([-math.inf], [math.inf], math.inf),
    ([math.inf], [1.0], math.inf),
    ([math.inf], [1e39], 0.0),  # beyond single precision
    ([np.float32(0.1)], [0.1], 0.0),  # the nearest there is
    ([1e-40], [0.0], 0.0),  # may be flushed to zero
    ([1e-30], [0.0], math.inf),  # of zeros alone nothing may be wrong
    ([1.0, 2.0], [[1.0, 2.0]], math.inf),
    ([], [], 0.0),
])  # fmt: skip
def test_error(actual: Any, exact: Any, error: float) -> None:
    budget = Budget(1, 0.0, 1e-6)
    assert budget.error(np.array(actual, np.float32), np.array(exact, np.float64), FLOAT32) == pytest.approx(error)


def test_the_scale_is_what_cancelled() -> None:
    actual, exact = np.array([1e-6]), np.array([0.0])
    assert Budget(1, 0.0, 1e-6).error(actual, exact, FLOAT32) == math.inf
    assert Budget(1, 10.0, 1e-6).error(actual, exact, FLOAT32) == pytest.approx(1e-7)


def test_indices_are_equal_or_not() -> None:
    exact = np.array([1, 2])
    assert Budget(1, 5.0, 1.0).error(exact.copy(), exact, exact.dtype) == 0
    assert Budget(1, 5.0, 1.0).error(exact + 1, exact, exact.dtype) == math.inf


def test_it_grows_like_the_root_of_the_terms() -> None:
    one, many = (of_dtype([FLOAT32], terms, 0.0).rtol for terms in (1, 100))
    assert many == pytest.approx(10 * one)
    assert of_dtype([FLOAT32, np.dtype("float16")], 1, 0.0).rtol == pytest.approx(one * 2**13), "the coarser counts"
    assert all(np.finfo(name).eps == value for name, value in EPSILON.items() if name != "bfloat16")


class Row(nn.Module):
    def __init__(self, row: Operation, options: dict[str, Any]) -> None:
        super().__init__()
        self.row, self.options = row, options

    def forward(self, **inputs: Any) -> gpunn.Tensor:
        out = self.row.call(*inputs.values(), **self.options)
        out = out[0] if isinstance(out, tuple) else out
        return out if out.dtype.kind == "f" and out.numel() else (out * 1.0).sum()


def weighted_sum(out: gpunn.Tensor) -> gpunn.Tensor:
    weights = np.cos(1.0 + np.arange(out.numel())).reshape(out.shape).astype(out.dtype)
    return (out * gpunn.tensor(weights, device=out.device)).sum()


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_no_right_operation_exceeds_it(row: Operation) -> None:
    """Every operation there is, forward and backward, in single precision, on a few of its samples."""
    for sample in row.samples[:: max(len(row.samples) // 3, 1)]:
        batch = {f"x{number}": x for number, x in enumerate(sample.inputs)}
        report = parity(
            Row(row, sample.options), batch, loss=weighted_sum, dtype="float32", devices=["cpu", "reference"]
        )
        assert report, f"{sample}: {report.conclusion()}"


@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_numbers_far_from_zero(offset: float) -> None:
    """What batch normalization subtracts is large, and what is left is small: its error is that of the large numbers."""
    gpunn.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
    x = np.random.default_rng(0).normal(size=(4, 2, 6, 6)) + offset
    report = parity(net, (x, [0, 1, 2, 0]), devices=["cpu", "reference"], dtype="float32")
    assert report, report.conclusion()


def test_a_network_that_is_sure() -> None:
    """Losses near 0, of which little is left behind the subtraction."""
    net = nn.Linear(3, 3)
    with gpunn.no_grad():
        net.weight[...] = gpunn.tensor(np.eye(3, dtype=np.float32) * 14)
    report = parity(net, (np.eye(3), [0, 1, 2]), devices=["cpu", "reference"], dtype="float32")
    assert report.loss < 1e-5
    assert report, report.conclusion()


def test_infinity_among_the_inputs_hides_nothing() -> None:
    """The sum of the row with infinity is infinite; the other row's budget is that of its own numbers."""

    class Off(NumpyBackend):
        def __init__(self) -> None:
            Backend.__init__(self, np, "off")

        def sum(self, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
            out, saved = super().sum(x, axis, keepdims)
            return out * np.float32(1.01), saved

    class Sum(nn.Module):
        def forward(self, x: gpunn.Tensor) -> gpunn.Tensor:
            return x.sum(1)

    report = parity(Sum(), np.array([[np.inf, 1.0], [1.0, 2.0]]), devices=["cpu", Off()])
    assert report.first_operation("cpu") is None
    found = report.first_difference("off")
    assert found is not None
    assert found.startswith("sum, forward, out: error")
