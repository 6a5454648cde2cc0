"""A multilayer perceptron: fully connected layers with ReLU between them."""

from __future__ import annotations

from collections.abc import Sequence

from gpunn import nn


def mlp(
    num_classes: int = 10,
    in_channels: int = 1,
    image_size: int = 28,
    hidden: Sequence[int] = (512, 256),
    dropout: float = 0.0,
) -> nn.Sequential:
    """Images ``(N, in_channels, image_size, image_size)`` to scores ``(N, num_classes)`` through ``hidden`` layers.

    ``hidden=()`` is softmax regression.
    """
    layers: list[nn.Module] = [nn.Flatten()]
    width = in_channels * image_size * image_size
    for units in hidden:
        layers += [nn.Linear(width, units), nn.ReLU()]
        if dropout:
            layers.append(nn.Dropout(dropout))
        width = units
    layers.append(nn.Linear(width, num_classes))
    return nn.Sequential(*layers)
