"""The tensor as a Python object: making, printing, converting, comparing, indexing, moving, copying."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import gpunn
from gpunn import Tensor
from gpunn import functional as F

VALUES = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]


@pytest.mark.parametrize(
    ("data", "dtype"),
    [(1.5, "float32"), (2, "int64"), (True, "bool"), ([1.0, 2], "float32"), ([[1, 2]], "int64"), ([True], "bool"),
     ([], "float32"),
     (np.ones(2), "float64"), (np.ones(2, np.float16), "float16"), (np.float64(2), "float64"),
     (np.arange(3, dtype=np.uint8), "uint8"), (np.arange(3, dtype=">f4"), "float32"), (np.ones(2, ">i8"), "int64")],
)  # fmt: skip
def test_dtype_of_new_tensors(device: str, data: Any, dtype: str) -> None:
    """NumPy keeps its dtype; Python's floats become float32, its integers int64."""
    t = gpunn.tensor(data, device=device)
    assert t.dtype == dtype and t.dtype.isnative
    assert t.device == device
    assert t.tolist() == np.asarray(data).tolist()
    assert gpunn.tensor(data, dtype="float64", device=device).dtype == "float64"


@pytest.mark.parametrize(
    ("given", "dtype", "error", "message"),
    [
        (
            ["one"],
            "float32",
            ValueError,
            "tensor: expected real numbers in lists of equal lengths: could not convert string",
        ),
        (
            [[1.0, 2.0], [3.0]],
            None,
            ValueError,
            "tensor: expected real numbers in lists of equal lengths: setting an array",
        ),
        (["one"], None, TypeError, "tensor: expected real numbers, got <U3 from list"),
        (np.ones(2, complex), "float32", TypeError, "tensor: expected real numbers, got complex128 from ndarray"),
        (
            [1.0],
            "decimal",
            TypeError,
            "unknown dtype 'decimal'; expected a name such as 'float32', 'float64' or 'int64'",
        ),
    ],
)
def test_what_is_no_array_of_numbers(given: Any, dtype: Any, error: type[Exception], message: str, device: str) -> None:
    with pytest.raises(error, match=message) as caught:
        gpunn.tensor(given, dtype, device)
    assert "\n" not in str(caught.value)


def test_a_new_tensor_is_a_copy() -> None:
    source = np.ones(3)
    t = gpunn.tensor(source)
    source[0] = 5
    again = gpunn.tensor(t)
    t.data[1] = 7
    assert t.tolist() == [1, 7, 1]
    assert again.tolist() == [1, 1, 1]


def test_what_it_is(device: str) -> None:
    t = gpunn.tensor(VALUES, device=device)
    assert t.shape == (2, 3)
    assert t.size() == (2, 3)
    assert t.size(-1) == 3
    assert t.ndim == t.dim() == 2
    assert t.numel() == 6
    assert len(t) == 2
    assert t.device == device
    assert t.is_leaf
    assert t.T.shape == (3, 2)
    assert [row.tolist() for row in t] == VALUES
    with pytest.raises(TypeError, match="no dimensions"):
        len(t.sum())
    with pytest.raises(TypeError):
        iter(t.sum()).__next__()


def test_numbers_from_tensors(device: str) -> None:
    t = gpunn.tensor([[2.5]], device=device)
    assert t.item() == float(t) == 2.5
    assert isinstance(t.item(), float)
    assert int(t) == 2
    assert isinstance(gpunn.tensor([3], device=device).item(), int)
    assert [10, 20, 30][gpunn.tensor(1, device=device)] == 20
    assert bool(gpunn.tensor([1], device=device))
    assert not gpunn.tensor(0.0, device=device)
    assert f"{t.sum():.3f}" == "2.500"
    assert f"{t.sum()}" == str(t.sum())
    with pytest.raises(ValueError, match=r"item: expected a tensor of one element, got shape \(2, 3\); use .numpy\(\)"):
        gpunn.tensor(VALUES, device=device).item()
    with pytest.raises(ValueError, match="one element"):
        bool(gpunn.tensor(VALUES, device=device))
    with pytest.raises(TypeError, match=r"only integer tensors .* got float32"):
        [10, 20][gpunn.tensor(1.0, device=device)]


@pytest.mark.parametrize(
    ("t", "text"),
    [
        (gpunn.tensor([1.0, 2.5]), "tensor([1.  2.5])"),
        (gpunn.tensor([1, 2]), "tensor([1 2])"),
        (gpunn.tensor([1.0], dtype="float64"), "tensor([1.], dtype=float64)"),
        (gpunn.tensor([1.0], requires_grad=True), "tensor([1.], requires_grad=True)"),
        (gpunn.tensor([1.0], requires_grad=True) * 2, "tensor([2.], grad_fn=<mul>)"),
        (gpunn.tensor([1.0], device="reference"), "tensor([1.], device='reference')"),
        (gpunn.tensor([[1], [2]]), "tensor([[1]\n        [2]])"),
        (gpunn.tensor(3.5), "tensor(3.5)"),
    ],
)
def test_repr(t: Tensor, text: str) -> None:
    assert repr(t) == text


def test_numpy_shares_memory_on_the_host() -> None:
    t = gpunn.tensor(VALUES)
    assert t.numpy() is t.data
    assert np.shares_memory(np.asarray(t), t.data)
    assert not np.shares_memory(np.array(t), t.data)
    assert np.asarray(t, dtype="float64").dtype == "float64"
    np.testing.assert_array_equal(np.asarray(gpunn.tensor(VALUES, requires_grad=True)), VALUES)
    assert np.sum(np.asarray(t)) == 21


def test_dlpack_round_trip() -> None:
    t = gpunn.tensor(VALUES)
    array = np.from_dlpack(t)
    np.testing.assert_array_equal(array, VALUES)
    assert np.shares_memory(array, t.data)
    assert t.__dlpack_device__() == t.data.__dlpack_device__()


def test_deepcopy() -> None:
    t = gpunn.tensor(VALUES, requires_grad=True)
    (t * t).sum().backward()
    other = copy.deepcopy({"t": t, "again": t})
    assert other["t"] is other["again"]
    assert other["t"].requires_grad
    assert other["t"].backend is t.backend
    other["t"].data[0, 0] = 9
    other["t"].grad.data[0, 0] = 9
    assert t.tolist() == VALUES
    assert t.grad.numpy()[0, 0] == 2
    with pytest.raises(RuntimeError, match="deepcopy is for leaves"):
        copy.deepcopy(t * 2)


def test_pickle() -> None:
    """Data for a worker process; the device is found again by its name."""
    t = pickle.loads(pickle.dumps(gpunn.tensor(VALUES, requires_grad=True)))
    assert t.tolist() == VALUES
    assert t.requires_grad
    assert t.backend is gpunn.tensor(0).backend


def test_comparisons(device: str) -> None:
    a, b = gpunn.tensor([1.0, 2.0, 3.0], device=device), gpunn.tensor([3.0, 2.0, 1.0], device=device)
    for result, expected in [
        (a == b, [False, True, False]), (a != b, [True, False, True]), (a < b, [True, False, False]),
        (a <= b, [True, True, False]), (a > b, [False, False, True]), (a >= 2, [False, True, True]),
        (np.array([1.0, 2.0, 5.0]) == a, [True, True, False]),
    ]:  # fmt: skip
        assert isinstance(result, Tensor)
        assert result.dtype == "bool"
        assert result.device == device
        assert result.tolist() == expected


def test_hash_is_by_identity() -> None:
    a, b = gpunn.tensor([1.0]), gpunn.tensor([1.0])
    assert len({a, b, a}) == 2


def test_numpy_on_the_left_of_an_operator(device: str) -> None:
    """ndarray + Tensor is a Tensor, and remembers how it was computed."""
    array = np.array([1.0, 2.0], np.float32)
    t = gpunn.tensor([3.0, 5.0], device=device, requires_grad=True)
    for result, expected in [
        (array + t, [4, 7]), (array - t, [-2, -3]), (array * t, [3, 10]), (array / t, [1 / 3, 0.4]), (array**t, [1, 32]),
        (array @ t, 13), (2.0 - t, [-1, -3]), (2 / t, [2 / 3, 0.4]), (2**t, [8, 32]), (np.float32(2) * t, [6, 10]),
        (np.float64(2) * t, [6, 10]), (True + t, [4, 6]), (np.int64(2) * t, [6, 10]),
    ]:  # fmt: skip
        assert isinstance(result, Tensor)
        assert result.requires_grad
        assert result.dtype == "float32"
        np.testing.assert_allclose(result.numpy(), expected, rtol=1e-6)
    with pytest.raises(TypeError):
        t + "two"


def test_indexing_with_tensors(device: str) -> None:
    t = gpunn.tensor(VALUES, device=device)
    rows, columns = gpunn.tensor([1, 0], device=device), gpunn.tensor([2, 0], device=device)
    assert t[rows].tolist() == [VALUES[1], VALUES[0]]
    assert t[rows, columns].tolist() == [6, 1]
    assert t[t > 2].tolist() == [3, 4, 5, 6]
    assert t[:, gpunn.tensor(1, device=device)].tolist() == [2, 5]
    assert t[..., None].shape == (2, 3, 1)


def test_assignment() -> None:
    t = gpunn.tensor(VALUES)
    t[0, 1] = 9
    t[1] = gpunn.tensor([7.0, 8.0, 9.0])
    t[t > 8.5] = 0
    assert t.tolist() == [[1, 0, 3], [7, 8, 0]]
    parameter = gpunn.tensor(VALUES, requires_grad=True)
    with pytest.raises(RuntimeError, match=r"requires gradients cannot be written to; do it within gpunn.no_grad"):
        parameter[0] = 0
    with gpunn.no_grad():
        parameter[0] = 0
    assert parameter[0].tolist() == [0, 0, 0]


def test_to_another_dtype_and_device() -> None:
    t = gpunn.tensor(VALUES, requires_grad=True)
    assert t.to("cpu") is t
    assert t.to(gpunn.float32) is t
    assert t.to(gpunn.float64).dtype == t.double().dtype == t.to(dtype="float64").dtype == "float64"
    assert t.half().dtype == "float16"
    assert t.long().dtype == "int64"
    moved = t.to("reference", gpunn.float64)
    assert (moved.device, moved.dtype) == ("reference", "float64")
    (moved * moved).sum().backward()
    assert (t.grad.device, t.grad.dtype) == ("cpu", "float32")
    np.testing.assert_array_equal(t.grad.numpy(), 2 * np.array(VALUES))
    assert t.double().float().dtype == "float32"


def test_two_devices_do_not_mix() -> None:
    a, b = gpunn.tensor([1.0]), gpunn.tensor([1.0], device="reference")
    message = r"expected all tensors on one device, got 'cpu' and 'reference'; use .to\('cpu'\)"
    for operation in (lambda: a + b, lambda: a @ b, lambda: F.cat([a, b])):
        with pytest.raises(gpunn.tensor.__globals__["backends"].DeviceError, match=message):
            operation()


def test_creation(device: str) -> None:
    assert gpunn.zeros(2, 3, device=device).tolist() == [[0] * 3] * 2
    assert gpunn.ones((2,), device=device, requires_grad=True).requires_grad
    assert gpunn.full((2,), 7, dtype="int64", device=device).tolist() == [7, 7]
    assert gpunn.zeros(device=device).shape == ()
    assert gpunn.arange(4, device=device).tolist() == [0, 1, 2, 3]
    assert gpunn.arange(4, device=device).dtype == "int64"
    assert gpunn.arange(1, 2, 0.25, device=device).tolist() == [1, 1.25, 1.5, 1.75]
    assert gpunn.arange(1, 2, 0.25, device=device).dtype == "float32"
    assert gpunn.eye(2, device=device).tolist() == [[1, 0], [0, 1]]
    like = gpunn.ones_like(gpunn.zeros(2, dtype="float64", device=device))
    assert (like.tolist(), like.dtype, like.device) == ([1, 1], "float64", device)
    assert gpunn.zeros_like(like).tolist() == [0, 0]


def test_a_method_for_each_operator(device: str) -> None:
    t = gpunn.tensor(VALUES, device=device)
    assert t.pow(2).tolist() == (t**2).tolist()
    assert t.matmul(t.T).tolist() == (t @ t.T).tolist()
    assert t.relu().tolist() == VALUES
    np.testing.assert_array_equal(t.sigmoid().numpy(), F.sigmoid(t).numpy())
    np.testing.assert_array_equal(t.tanh().numpy(), F.tanh(t).numpy())
    assert t.view(3, 2).shape == t.view((3, 2)).shape == (3, 2)
    assert t.argmax().item() == 5
    assert t.argmin(dim=1).tolist() == [0, 0]


def test_unknown_names() -> None:
    with pytest.raises(AttributeError, match="module 'gpunn' has no attribute 'tensr'"):
        gpunn.tensr  # noqa: B018
    assert set(gpunn.__all__) <= {*dir(gpunn), "Trainer", "checks", "classic", "data", "models", "training"}
    assert gpunn.__version__


@pytest.mark.parametrize(
    ("first", "second", "result"),
    [("float32", "int64", "float32"), ("float32", "float64", "float64"), ("int32", "int64", "int64"), ("bool", "int64", "int64"),
     ("bool", "float32", "float32"), ("float16", "float32", "float32"), ("float16", "int64", "float16")],
)  # fmt: skip
def test_dtype_of_mixed_operands(device: str, first: str, second: str, result: str) -> None:
    """PyTorch's rule: the kind first, then the width; a float32 network stays float32 beside integers."""
    a, b = gpunn.ones(2, dtype=first, device=device), gpunn.ones(2, dtype=second, device=device)
    for mixed in (a + b, b * a, a + b.sum() if second == "int64" and first == "float32" else b + a):
        assert mixed.dtype == result
    for scalar in (gpunn.tensor(2.0, dtype="float64", device=device), np.float64(2), 2.0):
        assert (gpunn.ones(2, device=device) * scalar).dtype == "float32"
