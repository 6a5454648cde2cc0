"""bfloat16: NumPy has no such type, ml_dtypes brings it, and it counts as a floating-point number everywhere."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpunn
from gpunn import functional as F
from gpunn import nn, optim
from gpunn.training import load_weights, save_weights

ml_dtypes = pytest.importorskip("ml_dtypes")
EPS = 2.0**-7


def test_tensors(device: str) -> None:
    x = gpunn.tensor([1.0, 2.5, -3.0], dtype="bfloat16", device=device)
    assert x.dtype == gpunn.bfloat16 == ml_dtypes.bfloat16
    assert x.tolist() == [1.0, 2.5, -3.0]
    assert x[1].item() == 2.5
    assert "dtype=bfloat16" in repr(x)
    assert gpunn.tensor([1.0 + EPS / 8], device=device).to(dtype="bfloat16").item() == 1.0
    assert x.float().dtype == gpunn.float32
    assert gpunn.tensor([1.0], device=device).bfloat16().dtype == gpunn.bfloat16
    for made in (
        gpunn.zeros(2, dtype="bfloat16", device=device),
        gpunn.rand(2, dtype=gpunn.bfloat16, device=device),
        gpunn.randn(2, dtype="bfloat16", device=device),
    ):
        assert made.dtype == gpunn.bfloat16


def test_dtypes_that_meet(device: str) -> None:
    x = gpunn.tensor([1.0, 2.0], dtype="bfloat16", device=device)
    for same in (x + 1, x * 2.5, 2.5 * x, 1 / x, x + gpunn.tensor([1, 2], device=device), x.clamp(0, 1), x.mean()):
        assert same.dtype == gpunn.bfloat16
    assert (x + gpunn.tensor([1.0, 2.0], device=device)).dtype == gpunn.float32
    assert (x + x.half()).dtype == gpunn.float32  # neither of the two halves holds the other's numbers
    assert (x + x.double()).dtype == gpunn.float64


def test_gradients(device: str) -> None:
    values = np.linspace(-2, 2, 9, dtype=np.float32)
    x = gpunn.tensor(values, device=device).bfloat16().requires_grad_()
    (x * x * 3.0).sum().backward()
    assert x.grad is not None
    assert x.grad.dtype == gpunn.bfloat16
    np.testing.assert_allclose(x.grad.numpy().astype("f4"), 6 * x.detach().numpy().astype("f4"), rtol=2 * EPS)


def test_a_network(device: str, tmp_path: Path) -> None:
    """A step in bfloat16 goes where the step in float32 goes, and its weights survive a file."""

    def step(dtype: str) -> Any:
        gpunn.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3)
        )
        net.to(device, dtype=dtype)
        x = gpunn.rand(6, 1, 8, 8, device=device).to(dtype=dtype)
        optimizer = optim.SGD(net.parameters(), lr=0.5)
        F.cross_entropy(net(x), gpunn.tensor([0, 1, 2, 0, 1, 2], device=device)).backward()
        optimizer.step()
        return net

    net, exact = step("bfloat16"), step("float32")
    for (name, found), expected in zip(net.state_dict().items(), exact.state_dict().values(), strict=True):
        assert found.dtype == (gpunn.int64 if name.endswith("tracked") else gpunn.bfloat16)
        bound = 36**0.5 * EPS * abs(expected.numpy()).max()
        np.testing.assert_allclose(found.numpy().astype("f4"), expected.numpy(), atol=bound, err_msg=name)
    save_weights(net, tmp_path / "weights.safetensors")
    for name, value in load_weights(tmp_path / "weights.safetensors").items():
        np.testing.assert_array_equal(value, net.state_dict()[name].numpy(), err_msg=name)


def test_without_ml_dtypes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    for use in (lambda: gpunn.bfloat16, lambda: gpunn.ones(2).bfloat16(), lambda: gpunn.autocast("bfloat16")):
        with pytest.raises(ImportError, match="bfloat16 needs the package ml_dtypes: pip install ml_dtypes"):
            use()
