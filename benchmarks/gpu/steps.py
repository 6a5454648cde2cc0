"""Training steps of whole networks: gpunn, its captured step, PyTorch as it is and compiled; forward to optimizer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from device import DEVICE, torch_or_none
from timing import Contender, prepared

import gpunn
from gpunn.training.captured import CapturedStep
from gpunn.training.step import TrainingStep

LEARNING_RATE, MOMENTUM = 1e-4, 0.9
VGG16 = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)


# The networks are written once, for ``nn`` of either framework.


def vgg16_bn(nn: Any) -> Any:
    layers: list[Any] = []
    channels = 3
    for width in VGG16:
        if width:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
        else:
            layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), *_head(nn, 512 * 49))


def alexnet(nn: Any) -> Any:
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(), nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Flatten(), *_head(nn, 256 * 36),
    )  # fmt: skip


def _head(nn: Any, features: int) -> list[Any]:
    return [
        nn.Linear(features, 4096), nn.ReLU(), nn.Dropout(0.5), nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(0.5),
        nn.Linear(4096, 1000),
    ]  # fmt: skip


def lenet5(nn: Any) -> Any:
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip


def mlp(nn: Any) -> Any:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 10)
    )


@dataclass(frozen=True)
class Case:
    """One network, batch and precision; ``amp`` as for `gpunn.Trainer`."""

    network: str
    build: Callable[[Any], Any]
    image: tuple[int, int, int]
    classes: int
    batch: int
    amp: str | None

    @property
    def name(self) -> str:
        return f"{self.network}, batch {self.batch}, {self.amp or 'float32'}"


def cases() -> list[Case]:
    color, gray = (3, 224, 224), (1, 28, 28)
    return [
        *(Case("VGG16-BN", vgg16_bn, color, 1000, batch, amp) for batch in (64, 128) for amp in ("bf16", None)),
        *(Case("AlexNet", alexnet, color, 1000, 256, amp) for amp in ("bf16", None)),
        *(Case("LeNet-5", lenet5, gray, 10, 128, amp) for amp in ("bf16", None)),
        *(Case("MLP", mlp, gray, 10, 128, amp) for amp in ("bf16", None)),
    ]


def contenders(case: Case, compiled: bool) -> Iterator[Contender]:
    """All who can run the case, on the same images, labels and (but for their random values) weights."""
    generator = np.random.default_rng(0)
    images = generator.standard_normal((case.batch, *case.image)).astype(np.float32)
    labels = generator.integers(0, case.classes, case.batch)
    for kind, name in ((TrainingStep, "gpunn"), (CapturedStep, "gpunn, captured")):
        yield prepared(name, partial(_in_gpunn, case, kind, images, labels))
    torch = torch_or_none()
    if torch is not None:
        yield prepared("PyTorch", partial(_in_torch, torch, case, images, labels, compiled=False))
        if compiled:
            yield prepared("PyTorch, compiled", partial(_in_torch, torch, case, images, labels, compiled=True))


def _in_gpunn(case: Case, kind: Any, images: np.ndarray, labels: np.ndarray) -> Callable[[], object]:
    gpunn.manual_seed(0)
    net = case.build(gpunn.nn).to(DEVICE)
    optimizer = gpunn.optim.SGD(net.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
    step = kind(net, gpunn.nn.CrossEntropyLoss(), optimizer, amp=case.amp)
    x, y = gpunn.tensor(images, device=DEVICE), gpunn.tensor(labels, device=DEVICE)
    return lambda: step(x, y)


def _in_torch(torch: Any, case: Case, images: np.ndarray, labels: np.ndarray, compiled: bool) -> Callable[[], object]:
    """PyTorch at its best: channels-last, autocast, the fused optimizer, and the algorithms that it finds the quickest."""
    torch.backends.cudnn.benchmark = True
    net = case.build(torch.nn).to("cuda", memory_format=torch.channels_last)
    forward = torch.compile(net, mode="max-autotune") if compiled else net
    optimizer = torch.optim.SGD(net.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, fused=True)
    x = torch.tensor(images, device="cuda").contiguous(memory_format=torch.channels_last)
    y = torch.tensor(labels, device="cuda")
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(case.amp or "", torch.bfloat16)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cuda", dtype=half, enabled=case.amp is not None):
            loss = torch.nn.functional.cross_entropy(forward(x), y)
        loss.backward()
        optimizer.step()

    return step
