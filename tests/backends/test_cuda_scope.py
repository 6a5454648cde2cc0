"""On a second GPU every array must be made while that GPU is current: whoever calls CuPy does it within the scope."""

from __future__ import annotations

import copy
import sys
from typing import Any

import cupy_stand_in
import numpy as np
import pytest

import backends
import gpunn
from gpunn import data, nn, optim, training
from gpunn import functional as F

DEVICE = "cuda:1"
HARMLESS = {"may_share_memory", "dtype", "result_type", "asnumpy", "errstate"}  # they allocate nothing on the device


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of CuPy's functions that were called with no GPU current; the device is a stand-in over NumPy."""
    calls: list[str] = []
    depth = 0

    class Device:
        def __init__(self, index: int) -> None:
            self.index = index

        def __enter__(self) -> None:
            nonlocal depth
            depth += 1

        def __exit__(self, *_: object) -> None:
            nonlocal depth
            depth -= 1

    def watched(name: str, function: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            if depth == 0:
                calls.append(name)
            return function(*arguments, **options)

        return call

    cupy = cupy_stand_in.make(devices=2)
    monkeypatch.setattr(cupy.cuda, "Device", Device)
    for name in dir(np):
        function = getattr(np, name)
        if not name.startswith("_") and callable(function) and not isinstance(function, type) and name not in HARMLESS:
            monkeypatch.setattr(cupy, name, watched(name, getattr(cupy, name)), raising=False)
    for name in (
        "__add__",
        "__mul__",
        "__sub__",
        "__truediv__",
        "__iadd__",
        "__imul__",
        "__lt__",
        "copy",
        "astype",
        "sum",
    ):
        monkeypatch.setattr(cupy_stand_in.ndarray, name, watched(name, getattr(np.ndarray, name)), raising=False)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr(backends, "_made", {name: be for name, be in backends._made.items() if ":" not in name})
    return calls


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.2),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 5),
    )


def test_new_tensors(outside: list[str]) -> None:
    x = gpunn.rand(2, 3, device=DEVICE)
    gpunn.ones(2, device=DEVICE), gpunn.tensor([1.0], device=DEVICE), gpunn.arange(3, device=DEVICE)
    gpunn.eye(2, device=DEVICE), gpunn.randn(2, device=DEVICE), gpunn.zeros_like(x), copy.deepcopy(x), x.clone().zero_()
    assert (x < 1).numpy().all()
    assert outside == []


def test_building_and_training(outside: list[str]) -> None:
    net = network().to(DEVICE)
    x = gpunn.rand(4, 3, 8, 8, device=DEVICE)
    labels = gpunn.tensor([0, 1, 2, 3], device=DEVICE)
    for kind in (optim.SGD, optim.AdamW, optim.RMSprop, optim.Adagrad):
        optimizer = kind(net.parameters(), lr=0.01)
        for _ in range(2):
            optimizer.zero_grad()
            F.cross_entropy(net(x), labels, label_smoothing=0.1).backward()
            optim.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
        optimizer.load_state_dict(optimizer.state_dict())
    net.load_state_dict({name: value.numpy() for name, value in net.state_dict().items()})
    assert outside == []


def test_the_trainer(outside: list[str]) -> None:
    images = data.Dataset(np.zeros((8, 3, 8, 8), np.uint8), np.arange(8) % 5, list("abcde"))
    net = network().to(DEVICE)
    optimizer = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    trainer = training.Trainer(net, nn.CrossEntropyLoss(), optimizer, progress="none")
    history = trainer.fit(data.DataLoader(images, 4), data.DataLoader(images, 4), epochs=1)
    assert np.isfinite(history[0]["validation_loss"])
    assert outside == []
