"""An autoencoder: a network that learns to give back its input through a narrow code.

G. Hinton and R. Salakhutdinov, "Reducing the dimensionality of data with neural networks", 2006.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from gpunn import nn


def _layers(widths: Sequence[int]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return layers[:-1]


class Autoencoder(nn.Module):
    """Images ``(N, in_channels, image_size, image_size)`` to images of the same shape, with values in [0, 1].

    ``encoder`` makes the codes ``(N, code_size)``, ``decoder`` the images. Train it with ``nn.MSELoss`` or ``nn.BCELoss``
    against its own input, scaled to [0, 1].
    """

    def __init__(
        self, in_channels: int = 1, image_size: int = 28, hidden: Sequence[int] = (256, 64), code_size: int = 16
    ) -> None:
        super().__init__()
        shape = (in_channels, image_size, image_size)
        widths = [in_channels * image_size * image_size, *hidden, code_size]
        self.encoder = nn.Sequential(nn.Flatten(), *_layers(widths))
        self.decoder = nn.Sequential(*_layers(widths[::-1]), nn.Sigmoid(), nn.Unflatten(1, shape))

    def forward(self, x):
        return self.decoder(self.encoder(x))


def autoencoder(
    in_channels: int = 1, image_size: int = 28, hidden: Sequence[int] = (256, 64), code_size: int = 16
) -> Autoencoder:
    """An autoencoder of fully connected layers, the decoder mirroring the encoder."""
    return Autoencoder(in_channels, image_size, hidden, code_size)
