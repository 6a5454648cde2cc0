"""What the CUDA backend does on the host, on a stand-in for CuPy that computes with NumPy."""

from __future__ import annotations

import sys
from typing import Any

import cupy_stand_in
import numpy as np
import pytest

import backends
import gpunn
from backends import DeviceError, LabelError
from backends.cuda import options
from backends.cuda.cuda_backend import CudaBackend
from gpunn import functional as F


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> CudaBackend:
    monkeypatch.setitem(sys.modules, "cupy", cupy_stand_in.make())
    monkeypatch.setattr(backends, "_made", {name: be for name, be in backends._made.items() if ":" not in name})
    backend = backends.get("cuda")
    assert isinstance(backend, CudaBackend)
    return backend


def labels(cuda: Any, *values: int) -> Any:
    return cuda.asarray(np.array(values, dtype=np.int64))


def test_arrays_go_to_the_device_and_back(cuda: CudaBackend) -> None:
    array = cuda.asarray(np.array([1.0, 2.0], np.float32))
    assert isinstance(array, cupy_stand_in.ndarray)
    with pytest.raises(TypeError, match="Implicit conversion"):
        array.__array__()
    back = cuda.to_numpy(array)
    assert type(back) is np.ndarray
    assert back.tolist() == [1, 2]
    assert cuda.asarray([1, 2], dtype="float64").dtype == "float64"


def test_the_device_is_current_where_it_matters(cuda: CudaBackend) -> None:
    cupy_stand_in.Device.used.clear()
    cuda.asarray([1.0])
    cuda.synchronize()
    assert cuda.memory_used() == 4096
    assert cupy_stand_in.Device.used == [0, 0, 0]
    assert cuda.xp.synchronized == [True]


def test_a_label_out_of_range_is_raised_when_something_is_read(cuda: CudaBackend) -> None:
    cuda.check_labels(labels(cuda, 0, 2, 1), 3, None)
    cuda.check_labels(labels(cuda, 0, -100, 1), 3, -100)
    cuda.check_labels(labels(cuda), 3, None)
    cuda.to_numpy(cuda.asarray([1.0]))  # all in range: nothing is raised
    cuda.check_labels(labels(cuda, 0, 1, 5, 9), 3, -100)
    cuda.check_labels(labels(cuda, 0, 1), 3, -100)
    message = (
        "label 5 in row 2 is out of range: expected 0 <= label <= 2 or ignore_index -100; the scores have 3 classes"
    )
    with pytest.raises(LabelError, match=message):
        cuda.to_numpy(cuda.asarray([1.0]))
    cuda.to_numpy(cuda.asarray([1.0]))  # an error is raised once


def test_the_message_is_that_of_the_cpu(cuda: CudaBackend) -> None:
    wrong = np.array([0, 1, -1])
    with pytest.raises(LabelError) as on_host:
        backends.get("cpu").check_labels(wrong, 2, None)
    cuda.check_labels(labels(cuda, *wrong), 2, None)
    with pytest.raises(LabelError) as on_device:
        cuda.to_numpy(cuda.asarray([1.0]))
    assert str(on_device.value) == str(on_host.value)


@pytest.mark.parametrize("wrong", [-1, 3, 2**31 - 1, 2**40])
def test_a_wrong_label_of_a_loss_and_the_device_after_it(cuda: CudaBackend, wrong: int) -> None:
    scores = np.array([[1.0, 2.0, 0.5], [3.0, -1.0, 0.0]], np.float32)
    for function in (F.cross_entropy, F.nll_loss, F.multi_margin_loss):
        x = gpunn.tensor(scores, device="cuda", requires_grad=True)
        loss = function(x, np.array([2, wrong]))
        if function is F.cross_entropy:
            loss.backward()  # nobody has noticed
        with pytest.raises(LabelError, match=f"label {wrong} in row 1 is out of range: expected 0 <= label <= 2"):
            loss.item()
        right = function(gpunn.tensor(scores, device="cuda"), np.array([2, 1]))
        assert right.item() == pytest.approx(function(gpunn.tensor(scores), np.array([2, 1])).item(), rel=1e-6)


def test_labels_are_checked_without_waiting(cuda: CudaBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only who reads something waits for the device. The note on it is always the same memory, and copied if need be."""
    copies: list[Any] = []
    monkeypatch.setattr(cuda.xp, "asnumpy", lambda array: copies.append(array) or array.get())
    for _ in range(3):
        cuda.check_labels(labels(cuda, 0, 7), 1, None)
    note = cuda.label_flag.allocate()
    assert copies == []
    with pytest.raises(LabelError, match="label 7 in row 1"):
        cuda.to_numpy(cuda.asarray([1.0]))
    assert copies == [note]
    cuda.to_numpy(cuda.asarray([1.0]))
    assert len(copies) == 2
    cuda.check_labels(labels(cuda, 0), 1, None)
    cuda.to_numpy(cuda.asarray([1.0]))
    assert len(copies) == 4
    assert copies[2] is note


def test_tensors_and_losses(cuda: CudaBackend) -> None:
    """Kernels and array code over the stand-in; the wrong label shows when the loss is read."""
    x = gpunn.tensor([[1.0, 2.0], [3.0, -1.0]], device="cuda", requires_grad=True)
    assert x.device == "cuda:0"
    loss = F.cross_entropy(x, np.array([0, 1]))
    loss.backward()
    y = gpunn.tensor([[1.0, 2.0], [3.0, -1.0]], requires_grad=True)
    expected = F.cross_entropy(y, np.array([0, 1]))
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-6)
    wrong = F.cross_entropy(x, np.array([0, 2]))
    with pytest.raises(LabelError, match="label 2 in row 1"):
        wrong.item()


def test_between_devices(cuda: CudaBackend) -> None:
    x = gpunn.tensor([1.0, 2.0], requires_grad=True)
    moved = x.to("cuda")
    assert moved.device == "cuda:0"
    assert isinstance(moved.data, cupy_stand_in.ndarray)
    (moved * moved).sum().backward()
    assert x.grad.device == "cpu"
    assert x.grad.tolist() == [2, 4]
    assert moved.cpu().numpy().tolist() == [1, 2]
    assert moved.to("cuda") is moved
    assert "device='cuda:0'" in repr(moved)
    with pytest.raises(
        DeviceError, match=r"add: expected all tensors on one device, got 'cpu' and 'cuda:0'; use .to\('cpu'\)"
    ):
        x + moved


def test_arrays_of_the_host_beside_a_tensor_of_the_device(cuda: CudaBackend) -> None:
    x = gpunn.tensor([1.0, 2.0, 3.0], device="cuda")
    assert (x == np.array([1.0, 0.0, 3.0], np.float32)).tolist() == [True, False, True]
    assert (x < [2.0, 2.0, 4.0]).tolist() == [True, False, True]
    x[1:] = np.array([5.0, 6.0], np.float32)
    x[0] = np.float32(4)
    assert x.tolist() == [4, 5, 6]
    assert (x + np.ones(3, np.float32)).tolist() == [5, 6, 7]
    with pytest.raises(TypeError, match=r"Unsupported type <class 'numpy\.ndarray'>"):
        cuda.xp.equal(x.data, np.ones(3))  # as CuPy says


def test_a_product_of_one_number_is_added_up_in_float32(cuda: CudaBackend) -> None:
    """CuPy would multiply the elements and sum the rounded products; 4,096 ones added up in float16 are 2,048."""
    ones = cuda.ones((1, 4096), "float16")
    assert cuda.to_numpy(cuda.runtime.matmul(ones, ones.T)).tolist() == [[4096]]


def test_linear_is_one_product_for_any_number_of_axes(cuda: CudaBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """CuPy's product of a batch with one matrix copies that matrix for each of the batch."""
    shapes: list[tuple[int, ...]] = []
    multiply = cuda.runtime.matmul
    monkeypatch.setattr(cuda.runtime, "matmul", lambda a, b: shapes.append((*a.shape, *b.shape)) or multiply(a, b))
    x, weight = cuda.ones((2, 3, 4), "float32"), cuda.ones((5, 4), "float32")
    out, saved = cuda.linear(x, weight, None)
    grad_x, grad_weight, _ = cuda.linear_backward(saved, out)
    assert out.shape == (2, 3, 5)
    assert (out.get() == 4).all()
    assert (grad_x.get() == 20).all()
    assert (grad_weight.get() == 24).all()
    assert shapes == [(6, 4, 4, 5), (6, 5, 5, 4), (5, 6, 6, 4)]


def test_what_cupy_is_told_of_tf32(cuda: CudaBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told from the first product on: its own rule may come from the environment."""
    switch = cuda.xp._core._routines_linalg
    x = cuda.ones((2, 2), "float32")
    for allowed, expected in ((False, switch.COMPUTE_TYPE_FP32), (True, switch.COMPUTE_TYPE_TF32)):
        monkeypatch.setattr(options, "allow_tf32_matmul", allowed)
        cuda.runtime.matmul(x, x)
        assert switch.chosen == {"f": expected}


def test_random_numbers_are_those_of_the_cpu(cuda: CudaBackend) -> None:
    for make in (gpunn.rand, gpunn.randn):
        gpunn.manual_seed(3)
        host = make(3, 4)
        gpunn.manual_seed(3)
        device = make(3, 4, device="cuda")
        assert device.device == "cuda:0"
        np.testing.assert_array_equal(device.numpy(), host.numpy())
