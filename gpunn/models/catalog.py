"""The models by name, for the command line."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import NamedTuple

from gpunn import nn
from gpunn.errors import ConfigError

from .alexnet import alexnet, alexnet_cifar
from .autoencoder import autoencoder
from .lenet import lenet5
from .mlp import mlp
from .small_cnn import small_cnn
from .vgg import vgg11, vgg11_bn, vgg16, vgg16_bn
from .zfnet import zfnet


class Entry(NamedTuple):
    """How to build a model, the least image it can take, in pixels a side, and whether it classifies."""

    make: Callable[[int, int, int], nn.Module]
    least_size: int
    classifies: bool = True


def _by_image_size(function: Callable[..., nn.Module]) -> Callable[[int, int, int], nn.Module]:
    return lambda classes, channels, size: function(classes, channels, image_size=size)


def _any_image_size(function: Callable[..., nn.Module]) -> Callable[[int, int, int], nn.Module]:
    return lambda classes, channels, size: function(classes, channels)


CATALOG: dict[str, Entry] = {
    "mlp": Entry(_by_image_size(mlp), 1),
    "lenet5": Entry(_by_image_size(lenet5), 12),
    "small_cnn": Entry(_any_image_size(small_cnn), 4),
    "alexnet": Entry(_any_image_size(alexnet), 63),
    "alexnet_cifar": Entry(_by_image_size(alexnet_cifar), 15),
    "zfnet": Entry(_any_image_size(zfnet), 53),
    "vgg11": Entry(_by_image_size(vgg11), 32),
    "vgg11_bn": Entry(_by_image_size(vgg11_bn), 32),
    "vgg16": Entry(_by_image_size(vgg16), 32),
    "vgg16_bn": Entry(_by_image_size(vgg16_bn), 32),
    "autoencoder": Entry(lambda classes, channels, size: autoencoder(channels, size), 1, classifies=False),
}


def names(classifiers_only: bool = False) -> list[str]:
    """The names that ``build`` knows; ``classifiers_only`` leaves out those whose output is not scores of classes."""
    return [name for name, entry in CATALOG.items() if entry.classifies or not classifiers_only]


def build(name: str, num_classes: int = 10, in_channels: int = 3, image_size: int = 32) -> nn.Module:
    """The model ``name`` for images ``(in_channels, image_size, image_size)``; the autoencoder ignores ``num_classes``.

    Raises ConfigError for an unknown name, naming the nearest, and for images below the model's least size.
    """
    if name not in CATALOG:
        nearest = difflib.get_close_matches(name, CATALOG, n=1, cutoff=0.4)
        hint = f'; did you mean "{nearest[0]}"?' if nearest else ""
        raise ConfigError(f'unknown model "{name}"{hint} (there are {", ".join(CATALOG)})')
    for option, value in (("num_classes", num_classes), ("in_channels", in_channels), ("image_size", image_size)):
        if value < 1:
            raise ConfigError(f"{name}: expected {option} of at least 1, got {value}")
    entry = CATALOG[name]
    if image_size < entry.least_size:
        fitting = [other for other, candidate in CATALOG.items()
                   if candidate.least_size <= image_size and candidate.classifies == entry.classifies]  # fmt: skip
        raise ConfigError(
            f"{name}: images of {image_size}x{image_size} pixels are too small, the least is "
            f"{entry.least_size}x{entry.least_size}; resize them, or take {', '.join(fitting)}"
        )
    return entry.make(num_classes, in_channels, image_size)
