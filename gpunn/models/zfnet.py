"""ZFNet: M. Zeiler and R. Fergus, "Visualizing and understanding convolutional networks", 2013 (figure 3).

AlexNet with a smaller kernel and stride at the front, which keeps more of the image. Two things are not in it: the
contrast normalization after the first two poolings, and the paper's rescaling of large filters.
"""

from __future__ import annotations

from gpunn import nn


class ZFNet(nn.Module):
    """Images ``(N, in_channels, H, W)`` of at least 53x53 pixels (made for 224x224) to scores ``(N, num_classes)``.

    At 224x224 the maps have 110, 55, 26, 13 and 6 pixels a side, as in the paper.
    """

    def __init__(self, num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 96, kernel_size=7, stride=2, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
            nn.Conv2d(96, 256, kernel_size=5, stride=2),
            nn.ReLU(),
            nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
            nn.Conv2d(256, 384, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Conv2d(384, 384, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Conv2d(384, 256, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(kernel_size=3, stride=2),
        )
        # Leaves 224x224 images as they are and lets other sizes in.
        self.avgpool = nn.AdaptiveAvgPool2d((6, 6))
        self.classifier = nn.Sequential(
            nn.Linear(256 * 6 * 6, 4096),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(4096, num_classes),
        )

    def forward(self, x):
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


def zfnet(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> ZFNet:
    """ZFNet; 62,357,608 parameters for 1000 classes."""
    return ZFNet(num_classes, in_channels, dropout)
