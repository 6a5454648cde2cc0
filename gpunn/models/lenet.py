"""LeNet-5: Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, "Gradient-based learning applied to document recognition", 1998.

As it is taught today: ReLU for the scaled tanh, maximum for the trained subsampling, every map of the second
convolution connected to all of the first, and scores for the radial basis functions at the end.
"""

from __future__ import annotations

from gpunn import nn


class LeNet5(nn.Module):
    """Images ``(N, in_channels, image_size, image_size)`` to scores ``(N, num_classes)``; 61,706 parameters for digits.

    Images below 32x32 pixels are padded by 2, so that MNIST's 28x28 become the 32x32 of the paper. The least size is 12.
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 1, image_size: int = 28) -> None:
        super().__init__()
        padding = 2 if image_size < 32 else 0
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 6, kernel_size=5, padding=padding),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, kernel_size=5),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        side = ((image_size + 2 * padding - 4) // 2 - 4) // 2
        self.classifier = nn.Sequential(
            nn.Linear(16 * side * side, 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
            nn.Linear(84, num_classes),
        )

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


def lenet5(num_classes: int = 10, in_channels: int = 1, image_size: int = 28) -> LeNet5:
    """LeNet-5 for images of ``image_size`` pixels a side."""
    return LeNet5(num_classes, in_channels, image_size)
