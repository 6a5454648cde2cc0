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


class LinearAutoencoder(nn.Module):
    """Images ``(N, in_channels, image_size, image_size)`` through a code of ``code_size`` numbers and back, linearly.

    x' = V (W x + a) + b. Trained on |x' - x|^2, it finds what principal component analysis finds in closed form: the
    best x' are the projections onto the plane through the mean along the first ``code_size`` principal directions; the
    decoder's columns span them, without being them. Source: P. Baldi and K. Hornik, "Neural networks and principal
    component analysis: learning from examples without local minima", 1989.
    """

    def __init__(self, in_channels: int = 1, image_size: int = 28, code_size: int = 16) -> None:
        super().__init__()
        shape = (in_channels, image_size, image_size)
        features = in_channels * image_size * image_size
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(features, code_size))
        self.decoder = nn.Sequential(nn.Linear(code_size, features), nn.Unflatten(1, shape))

    def forward(self, x):
        return self.decoder(self.encoder(x))


def linear_autoencoder(in_channels: int = 1, image_size: int = 28, code_size: int = 16) -> LinearAutoencoder:
    """An autoencoder of one linear layer each way: principal component analysis by descent."""
    return LinearAutoencoder(in_channels, image_size, code_size)
