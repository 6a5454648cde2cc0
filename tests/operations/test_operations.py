"""Every row of the table, on every device at hand: values, gradients, layouts, purity, repetition, edges, misuse."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from operations.harness import (
    LAYOUTS,
    Run,
    as_tensor,
    assert_within_budget,
    expected,
    expected_gradients,
)
from operations.specification import Edge, Misuse, Operation
from operations.table import TABLE

import backends
from gpunn import functional as F
from gpunn.checks import gradcheck

DTYPES = ("float32", "float64")
EDGES = [(row, edge) for row in TABLE for edge in row.edges]
MISUSES = [(row, misuse) for row in TABLE for misuse in row.misuses]
OF_SEVERAL = [
    row for row in TABLE
    if any(sum(x is not None and x.dtype.kind == "f" for x in s.inputs) - len(row.constants) > 1 for s in row.samples)
]  # fmt: skip

every_row = pytest.mark.parametrize("row", TABLE, ids=str)


def of_each(pairs: list[Any]) -> list[str]:
    return [row.name for row, _ in pairs]


@every_row
def test_values(device: str, row: Operation) -> None:
    """Against the oracle, within the budget of roundings; the result has the dtype of the inputs."""
    for dtype, (number, sample) in itertools.product(DTYPES, enumerate(row.samples)):
        run = Run(row, sample, device, dtype, backward=False)
        wanted = expected(row, number, dtype)
        assert len(run.results) == len(wanted)
        assert run.results[0].dtype == dtype
        for result, oracle in zip(run.results, wanted, strict=True):
            assert_within_budget(result, oracle, sample.terms, row.rounding, f"{row}: {sample}", row.scale)


@every_row
def test_gradients_by_differences(device: str, row: Operation) -> None:
    """In float64, against central differences."""
    backend = backends.get(device)
    for sample in row.samples:
        tensors = [
            as_tensor(x, backend, "float64", differentiable=i not in row.constants) for i, x in enumerate(sample.inputs)
        ]

        def first(*arguments: Any, options: dict[str, Any] = sample.options) -> Any:
            result = row.call(*arguments, **options)
            return result[0] if isinstance(result, tuple) else result

        assert gradcheck(first, tensors), f"{row}: {sample}"


@every_row
def test_gradients_of_every_device(device: str, row: Operation) -> None:
    """Against the reference in float64; a gradient has the shape and dtype of its input, also where it was broadcast."""
    for dtype, (number, sample) in itertools.product(DTYPES, enumerate(row.samples)):
        run = Run(row, sample, device, dtype)
        # Each element of the result adds one term to an element of a gradient.
        terms = max(run.results[0].size, sample.terms)
        for place, (tensor, gradient, wanted) in enumerate(
            zip(run.inputs, run.gradients, expected_gradients(row, number, dtype), strict=True)
        ):
            what = f"{row}: {sample}: gradient of input {place}"
            if wanted is None:
                assert gradient is None, what
                continue
            assert gradient.shape == tensor.shape, what
            assert gradient.dtype == dtype, what
            assert_within_budget(gradient, wanted, terms, row.gradient_rounding, what, row.scale)


@every_row
def test_layouts(device: str, row: Operation) -> None:
    """Views that are not contiguous give the same values and gradients, and are not written to."""
    for layout, (number, sample) in itertools.product(LAYOUTS, enumerate(row.samples)):
        run = Run(row, sample, device, "float32", layout)
        for result, oracle in zip(run.results, expected(row, number, "float32"), strict=True):
            assert_within_budget(result, oracle, sample.terms, row.rounding, f"{row}: {sample}", row.scale)
        terms = max(run.results[0].size, sample.terms)
        for gradient, wanted in zip(run.gradients, expected_gradients(row, number, "float32"), strict=True):
            if wanted is not None:
                assert_within_budget(
                    gradient, wanted, terms, row.gradient_rounding, f"{row}: {sample}: gradient", row.scale
                )


@every_row
def test_twice_bit_for_bit(device: str, row: Operation) -> None:
    for sample in row.samples:
        one, two = Run(row, sample, device, "float32"), Run(row, sample, device, "float32")
        for a, b in zip(one.results + one.gradients, two.results + two.gradients, strict=True):
            assert (a is None and b is None) or a.tobytes() == b.tobytes(), f"{row}: {sample}"


@pytest.mark.parametrize("row", OF_SEVERAL, ids=str)
def test_gradient_of_one_input_alone(device: str, row: Operation) -> None:
    """An input that needs no gradient does not change those of the others."""
    for sample in row.samples:
        together = Run(row, sample, device, "float32").gradients
        for place, gradient in enumerate(together):
            if gradient is None:
                continue
            alone = Run(row, sample, device, "float32", only=place).gradients
            assert [g is not None for g in alone] == [i == place for i in range(len(alone))], f"{row}: {sample}"
            assert alone[place].tobytes() == gradient.tobytes(), f"{row}: {sample}: input {place}"


@pytest.mark.parametrize(("row", "edge"), EDGES, ids=of_each(EDGES))
def test_edges(device: str, row: Operation, edge: Edge) -> None:
    """NaN, infinities, zeros, ties: as the table says, or as the formula says in float64. Nothing warns."""
    for dtype in DTYPES:
        assert_edge(backends.get(device), row, edge, dtype)


def assert_edge(backend: backends.Backend, row: Operation, edge: Edge, dtype: str) -> None:
    result = row.call(*(as_tensor(x, backend, dtype) for x in edge.inputs), **edge.options)
    results = [t.numpy() for t in (result if isinstance(result, tuple) else (result,))]
    if edge.expected is not None:
        wanted: Any = [np.asarray(edge.expected, dtype=np.float64)]
    else:
        inputs = [x.astype(dtype).astype(np.float64) if x.dtype.kind == "f" else x for x in edge.inputs]
        with np.errstate(all="ignore"):
            wanted = row.oracle(*inputs, **edge.options)
            wanted = [np.asarray(w) for w in (wanted if isinstance(wanted, tuple) else (wanted,))]
            wanted = [
                w.astype(dtype).astype(np.float64) if w.dtype.kind == "f" else w for w in wanted
            ]  # overflow is inf
    for result, oracle in zip(results, wanted, strict=True):
        assert result.dtype == dtype or oracle.dtype.kind != "f"
        # Each element by itself: a large neighbour excuses nothing, infinities and NaN must be where they belong.
        rtol = 8 * row.rounding * float(np.finfo(dtype).eps)
        np.testing.assert_allclose(result, oracle, rtol=rtol, atol=rtol, equal_nan=True, err_msg=str(edge))
        if edge.signed:
            np.testing.assert_array_equal(np.signbit(result[result == 0]), np.signbit(oracle[oracle == 0]))


@pytest.mark.parametrize(("row", "edge"), EDGES, ids=of_each(EDGES))
def test_edges_like_the_reference(device: str, row: Operation, edge: Edge) -> None:
    """Bit for bit where the value is special: the same NaN, infinities and zeros on every device."""
    found = []
    for name in ("reference", device):
        result = row.call(*(as_tensor(x, backends.get(name), "float32") for x in edge.inputs), **edge.options)
        found.append(np.array((result[0] if isinstance(result, tuple) else result).numpy()))
    reference, other = found
    for special in (np.isnan, np.isposinf, np.isneginf, lambda v: v == 0):
        np.testing.assert_array_equal(special(other), special(reference), err_msg=str(edge))


@pytest.mark.parametrize(("row", "misuse"), MISUSES, ids=of_each(MISUSES))
def test_misuse(device: str, row: Operation, misuse: Misuse) -> None:
    """Wrong arguments raise the error of the table, in one line."""
    backend = backends.get(device)
    inputs = [as_tensor(x, backend, "float32") for x in misuse.inputs]
    with pytest.raises(misuse.error, match=misuse.message) as caught:
        result = row.call(*inputs, **misuse.options)
        (result[0] if isinstance(result, tuple) else result).numpy()  # a GPU reports what it finds when it is read
    assert "\n" not in str(caught.value)


class Recorder(backends.Backend):
    """The reference, which notes the primitives that are called."""

    def __init__(self) -> None:
        super().__init__(np, "recorder")
        self.called: set[str] = set()

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_") and name not in ("called", "xp", "device"):
            self.called.add(name)
        return super().__getattribute__(name)


def test_the_table_is_whole() -> None:
    """Each differentiable primitive is called by a row, and each function of `gpunn.functional` is named by one."""
    recorder = Recorder()
    for row in TABLE:
        for sample in row.samples:
            result = row.call(*(as_tensor(x, recorder, "float32") for x in sample.inputs), **sample.options)
            assert (result[0] if isinstance(result, tuple) else result).backend is recorder
    differentiable = {name.removesuffix("_backward") for name in dir(backends.Backend) if name.endswith("_backward")}
    assert differentiable <= recorder.called, f"no row calls {sorted(differentiable - recorder.called)}"
    names = {
        row.name.replace("log softmax", "log_softmax").replace("leaky relu", "leaky_relu").split(" ")[0]
        for row in TABLE
    }
    assert set(F.__all__) <= names, f"no row for {sorted(set(F.__all__) - names)}"


def test_names_are_unique() -> None:
    assert len({row.name for row in TABLE}) == len(TABLE)
