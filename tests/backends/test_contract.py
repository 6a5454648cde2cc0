"""What every backend promises: the same methods, whole pairs, and results that are not None."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

import backends
from backends import Backend
from backends.cpu import NumpyBackend
from backends.cuda.cuda_backend import CudaBackend  # does not import cupy
from backends.reference.dropout import Dropout
from backends.reference.optimizer import Optimizers

BACKENDS = [NumpyBackend, CudaBackend]
METHODS = [name for name, _ in inspect.getmembers(Backend, inspect.isfunction) if not name.startswith("_")]
# What the families of one backend call, and nobody else.
MACHINERY = {CudaBackend: {"launch", "rates", "stream_base"}}
# Not operations on arrays that are differentiated: arrays, the device, checks, conversion, steps in place.
HOUSEKEEPING = {
    "asarray", "to_numpy", "empty", "zeros", "zero_filters", "ones", "synchronize", "memory_used", "check_labels", "scope",
    *(name for name in METHODS if hasattr(Optimizers, name)),
}  # fmt: skip


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", METHODS)
def test_signatures_and_defaults_are_those_of_the_reference(backend: type[Backend], name: str) -> None:
    assert inspect.signature(getattr(backend, name)) == inspect.signature(getattr(Backend, name))


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_backend_has_a_method_of_its_own(backend: type[Backend]) -> None:
    public = {name for name, _ in inspect.getmembers(backend, inspect.isfunction) if not name.startswith("_")}
    assert public - set(METHODS) == MACHINERY.get(backend, set())
    assert set(METHODS) <= public


@pytest.mark.parametrize(
    "name", [name for name in METHODS if name not in HOUSEKEEPING and not name.endswith("_backward")]
)
def test_every_primitive_is_a_pair(name: str) -> None:
    backward = inspect.signature(getattr(Backend, f"{name}_backward"))
    # saved and dout, and for some which of the inputs need a gradient
    assert list(backward.parameters)[3:] in ([], ["needs"])


def test_every_backward_has_its_forward() -> None:
    for name in METHODS:
        if name.endswith("_backward"):
            assert name.removesuffix("_backward") in METHODS


def test_methods_in_place_say_so() -> None:
    """Optimizer steps end in an underscore and return None; what returns something does not end in one."""
    for name in METHODS:
        returns_nothing = inspect.signature(getattr(Backend, name)).return_annotation in (None, "None")
        assert name.endswith("_") == (returns_nothing and hasattr(Optimizers, name)), name


def test_no_result_is_none(device: str) -> None:
    """Results of the methods that the table of operations does not call; those that it calls are compared there."""
    be = backends.get(device)
    x = be.asarray(np.ones((2, 3), np.float32))
    for made in (be.asarray([1.0]), be.empty((2,), "float32"), be.zeros((2,), "float32"), be.ones((2,), "float64"),
                 be.to_numpy(x), be.sum_of_squares([x]), be.total_norm([x], 3.0), be.scope()):  # fmt: skip
        assert made is not None
    assert be.sum_of_squares([x, x]) == 12
    assert be.total_norm([x], 2.0) == pytest.approx(6**0.5)


def test_arrays(device: str) -> None:
    be = backends.get(device)
    ones = be.ones((2, 3), "float32")
    assert be.to_numpy(ones).tolist() == [[1, 1, 1], [1, 1, 1]]
    assert be.asarray(ones) is ones
    assert be.asarray([1, 2], dtype="float32").dtype == "float32"
    assert be.zeros((0, 2), "int64").shape == (0, 2)
    be.synchronize()
    assert (be.memory_used() is None) == (not device.startswith("cuda:"))
    assert device in repr(be)


def test_pairs_work_without_a_tape(device: str) -> None:
    """out, saved = op(...); gradients = op_backward(saved, dout): one entry for each array input."""
    be = backends.get(device)
    a, b = be.asarray(np.array([1.0, 2.0])), be.asarray(np.array([[3.0], [4.0]]))
    out, saved = be.mul(a, b)
    assert be.to_numpy(out).tolist() == [[3, 6], [4, 8]]
    grad_a, grad_b = be.mul_backward(saved, be.ones((2, 2), "float64"))
    assert be.to_numpy(grad_a).tolist() == [7, 7]
    assert be.to_numpy(grad_b).tolist() == [[3], [3]]
    out, saved = be.mul(a, 3)
    assert be.mul_backward(saved, a)[1] is None


def test_dropout_counts_in_the_order_of_the_shape(device: str) -> None:
    """The same mask for the same seed and stream on every device and for every memory order."""
    assert issubclass(Backend, Dropout)
    be = backends.get(device)
    x = be.ones((3, 4, 5, 6), "float32")
    last = be.xp.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    one, two = (be.to_numpy(be.dropout(v, 0.4, 11, 3)[0]) for v in (x, last))
    reference: Any = backends.get("reference").dropout(np.ones((3, 4, 5, 6), np.float32), 0.4, 11, 3)[0]
    np.testing.assert_array_equal(one, reference)
    np.testing.assert_array_equal(two, reference)
    assert abs((one > 0).mean() - 0.6) < 0.15


@pytest.mark.parametrize("backend", BACKENDS)
def test_families_do_not_share_private_names(backend: type[Backend]) -> None:
    """A helper of one family must not take the place of another family's."""
    owners: dict[str, list[str]] = {}
    for family in backend.__mro__:
        if family.__module__.startswith(backend.__module__.rpartition(".")[0]):
            for name in vars(family):
                if name.startswith("_") and not name.startswith("__"):
                    owners.setdefault(name, []).append(family.__name__)
    assert not {name: families for name, families in owners.items() if len(families) > 1}
