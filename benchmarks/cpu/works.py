"""What is timed: networks, images and batches, the same for every contender, down to the weights."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

LEARNING_RATE, MOMENTUM = 1e-4, 0.9
VGG11 = (64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0)
VGG16 = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)


# The networks are written once, for ``nn`` of either framework, and without dropout: the frameworks' random numbers differ,
# and so would the losses.


def mlp(nn: Any) -> Any:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 1024), nn.ReLU(inplace=True), nn.Linear(1024, 1024), nn.ReLU(inplace=True),
        nn.Linear(1024, 10),
    )  # fmt: skip


def lenet5(nn: Any) -> Any:
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.ReLU(inplace=True), nn.Linear(120, 84), nn.ReLU(inplace=True),
        nn.Linear(84, 10),
    )  # fmt: skip


def alexnet_cifar(nn: Any) -> Any:
    return _alexnet(nn, nn.Conv2d(3, 64, 3, stride=2, padding=1), 3, lambda: nn.MaxPool2d(2), 256 * 4, 10)


def alexnet_224(nn: Any) -> Any:
    return _alexnet(nn, nn.Conv2d(3, 64, 11, stride=4, padding=2), 5, lambda: nn.MaxPool2d(3, 2), 256 * 36, 1000)


def _alexnet(nn: Any, first: Any, second_kernel: int, pool: Callable[[], Any], features: int, classes: int) -> Any:
    return nn.Sequential(
        first, nn.ReLU(inplace=True), pool(),
        nn.Conv2d(64, 192, second_kernel, padding=second_kernel // 2), nn.ReLU(inplace=True), pool(),
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(inplace=True),
        nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(inplace=True),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(inplace=True), pool(),
        nn.Flatten(), nn.Linear(features, 4096), nn.ReLU(inplace=True), nn.Linear(4096, 4096), nn.ReLU(inplace=True),
        nn.Linear(4096, classes),
    )  # fmt: skip


def vgg11_bn(nn: Any) -> Any:
    return _vgg(nn, VGG11)


def vgg16_bn(nn: Any) -> Any:
    return _vgg(nn, VGG16)


def _vgg(nn: Any, widths: tuple[int, ...]) -> Any:
    """For 32x32 pixels, which five poolings make one."""
    layers: list[Any] = []
    channels = 3
    for width in widths:
        if width:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            channels = width
        else:
            layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512, 10))


@dataclass(frozen=True)
class Work:
    """A network and a batch. ``trains``: forward, loss, backward and optimizer; else forward alone, in evaluation mode."""

    name: str
    title: str
    build: Callable[[Any], Any]
    image: tuple[int, int, int]
    classes: int
    batch: int
    trains: bool

    @property
    def has_convolutions(self) -> bool:
        return self.build is not mlp

    def images_and_labels(self, batch: int) -> tuple[np.ndarray, np.ndarray]:
        generator = np.random.default_rng(0)
        images = generator.standard_normal((batch, *self.image), dtype=np.float32)
        return images, generator.integers(0, self.classes, batch)


def _works() -> dict[str, Work]:
    gray, color = (1, 28, 28), (3, 32, 32)
    networks = [
        ("mlp", "MLP 784-1024-1024-10", mlp, gray, 10, 128),
        ("lenet5", "LeNet-5", lenet5, gray, 10, 128),
        ("alexnet_cifar", "AlexNet-CIFAR", alexnet_cifar, color, 10, 128),
        ("vgg11_bn", "VGG11-BN 32x32", vgg11_bn, color, 10, 64),
        ("vgg16_bn", "VGG16-BN 32x32", vgg16_bn, color, 10, 64),
        ("alexnet_224", "AlexNet 224x224", alexnet_224, (3, 224, 224), 1000, 16),
    ]
    found = [Work(*network, trains=True) for network in networks]
    for name, title, build, image, classes, _ in networks:
        found += [Work(f"{name}_infer_{n}", title, build, image, classes, n, trains=False) for n in (1, 64)]
    return {work.name: work for work in found}


WORKS = _works()


def chosen(patterns: list[str]) -> list[Work]:
    """The works whose name fits one of ``patterns`` ("vgg*", "*_infer_1"); all for none."""
    return [work for name, work in WORKS.items() if not patterns or any(fnmatchcase(name, p) for p in patterns)]


def weights(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """The state that every contender starts from, by name, whatever its framework's own initial values."""
    return {name: _values(name, shape) for name, shape in shapes.items()}


def _values(name: str, shape: tuple[int, ...]) -> np.ndarray:
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if len(shape) > 1:  # He et al., 2015: keeps the scale from layer to layer
        scale = np.float32(math.sqrt(2 / math.prod(shape[1:])))
        return generator.standard_normal(shape, dtype=np.float32) * scale
    if name.endswith(("weight", "running_var")):  # of batch normalization
        return generator.uniform(0.5, 1.5, shape).astype(np.float32)
    return generator.standard_normal(shape, dtype=np.float32) * np.float32(0.1)


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    """The mean loss of a batch, in float64: what the outputs of inference are compared by."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    chosen_ones = shifted[np.arange(len(labels)), labels]
    return float((np.log(np.exp(shifted).sum(axis=1)) - chosen_ones).mean())
