"""A label out of range is an error with its value and row on every device, and the device goes on working."""

from __future__ import annotations

import numpy as np
import pytest

import gpunn
from backends import LabelError
from gpunn import functional as F
from gpunn import nn, optim

CLASSES = 3


@pytest.mark.parametrize("wrong", [-1, CLASSES, 2**31 - 1])
def test_wrong_labels(device: str, wrong: int) -> None:
    net = nn.Linear(4, CLASSES).to(device)
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    x = gpunn.randn(5, 4, device=device)

    def step(labels: np.ndarray) -> float:
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), gpunn.tensor(labels, device=device))
        loss.backward()
        optimizer.step()
        return float(loss.item())

    right, bad = np.array([0, 1, 2, 0, 1]), np.array([0, 1, wrong, 0, wrong])
    before = step(right)
    with pytest.raises(LabelError, match=rf"label {wrong} in row 2 is out of range: expected 0 <= label <= 2") as error:
        step(bad)
    assert "\n" not in str(error.value)
    after = [step(right) for _ in range(3)]
    assert np.isfinite(after).all()
    assert after[-1] < before
