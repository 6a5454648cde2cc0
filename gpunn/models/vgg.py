"""VGG: K. Simonyan and A. Zisserman, "Very deep convolutional networks for large-scale image recognition", 2014.

Layer by layer and name by name torchvision's, so that its weights load. For images below 224 pixels the three fully
connected layers at the end (over 120 million parameters) give way to one.
"""

from __future__ import annotations

from gpunn import init, nn

# Output channels of each 3x3 convolution; "M" halves the image by a maximum over 2x2.
CONFIGURATIONS: dict[int, tuple[int | str, ...]] = {
    11: (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"),
    16: (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"),
}


def convolutions(configuration: tuple[int | str, ...], in_channels: int, batch_norm: bool) -> nn.Sequential:
    """The layers before the classifier."""
    layers: list[nn.Module] = []
    channels = in_channels
    for width in configuration:
        if isinstance(width, str):
            layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
            continue
        layers.append(nn.Conv2d(channels, width, kernel_size=3, padding=1))
        if batch_norm:
            layers.append(nn.BatchNorm2d(width))
        layers.append(nn.ReLU())
        channels = width
    return nn.Sequential(*layers)


class VGG(nn.Module):
    """Images ``(N, in_channels, H, W)`` of at least 32x32 pixels to scores ``(N, num_classes)``.

    ``image_size`` of 224 or more gives torchvision's head: 7x7 means, then three fully connected layers. Below that
    the head is small: the mean of each of the 512 maps (one pixel each at 32x32), then one Linear(512, num_classes).
    """

    def __init__(
        self,
        depth: int,
        batch_norm: bool,
        num_classes: int = 1000,
        in_channels: int = 3,
        image_size: int = 224,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        with init.skip():  # leaves zeros, as the biases shall be; the weights come below
            self.features = convolutions(CONFIGURATIONS[depth], in_channels, batch_norm)
            self.classifier: nn.Module
            if image_size < 224:
                self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
                self.classifier = nn.Linear(512, num_classes)
            else:
                self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
                self.classifier = nn.Sequential(
                    nn.Linear(512 * 7 * 7, 4096),
                    nn.ReLU(),
                    nn.Dropout(dropout),
                    nn.Linear(4096, 4096),
                    nn.ReLU(),
                    nn.Dropout(dropout),
                    nn.Linear(4096, num_classes),
                )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.BatchNorm2d):
                module.reset_parameters()
            elif isinstance(module, nn.Linear):
                init.normal_(module.weight, 0.0, 0.01)

    def forward(self, x):
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


def vgg11(num_classes: int = 1000, in_channels: int = 3, image_size: int = 224, dropout: float = 0.5) -> VGG:
    """Eleven layers with weights; 132,863,336 parameters for 1000 classes."""
    return VGG(11, False, num_classes, in_channels, image_size, dropout)


def vgg11_bn(num_classes: int = 1000, in_channels: int = 3, image_size: int = 224, dropout: float = 0.5) -> VGG:
    """Eleven layers with weights and batch normalization; 132,868,840 parameters for 1000 classes."""
    return VGG(11, True, num_classes, in_channels, image_size, dropout)


def vgg16(num_classes: int = 1000, in_channels: int = 3, image_size: int = 224, dropout: float = 0.5) -> VGG:
    """Sixteen layers with weights; 138,357,544 parameters for 1000 classes."""
    return VGG(16, False, num_classes, in_channels, image_size, dropout)


def vgg16_bn(num_classes: int = 1000, in_channels: int = 3, image_size: int = 224, dropout: float = 0.5) -> VGG:
    """Sixteen layers with weights and batch normalization; 138,365,992 parameters for 1000 classes."""
    return VGG(16, True, num_classes, in_channels, image_size, dropout)
