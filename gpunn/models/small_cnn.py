"""A small convolutional network for small images: the default of the command line, quick on a CPU."""

from __future__ import annotations

from gpunn import nn


def _block(in_channels: int, out_channels: int) -> list[nn.Module]:
    # Batch normalization subtracts the mean, so a bias before it would have no effect.
    return [
        nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    ]


def small_cnn(num_classes: int = 10, in_channels: int = 1, width: int = 16) -> nn.Sequential:
    """Five 3x3 convolutions with batch normalization, then the mean of each map and one linear layer.

    Images ``(N, in_channels, H, W)`` of at least 4x4 pixels (made for 28x28 and 32x32) to scores ``(N, num_classes)``.
    Only one convolution works at full resolution, where a CPU spends most of its time on moving memory;
    ``width`` is the number of its channels, and each halving of the image doubles them.
    """
    return nn.Sequential(
        *_block(in_channels, width),
        nn.MaxPool2d(2),
        *_block(width, 2 * width),
        *_block(2 * width, 2 * width),
        nn.MaxPool2d(2),
        *_block(2 * width, 4 * width),
        *_block(4 * width, 4 * width),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4 * width, num_classes),
    )
