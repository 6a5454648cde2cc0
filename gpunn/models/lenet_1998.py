"""LeNet-5 as it was published: 60,000 parameters, 340,908 connections.

Source: Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, "Gradient-based learning applied to document recognition", 1998,
section II.B and table I. `gpunn.models.lenet5` is the network as it is taught today.
"""

from __future__ import annotations

import math

from gpunn import functional as F
from gpunn import init, nn
from gpunn.creation import rand
from gpunn.tensor import Tensor

# Which of the six maps of S2 each of the sixteen maps of C3 sees (table I): three or four in a row, four in two pairs, all.
TABLE = (
    *((0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5)),
    *((0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5)),
    *((0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5), (0, 1, 2, 3, 4, 5)),
)


class ScaledTanh(nn.Module):
    """1.7159 tanh(2 x / 3), which maps 1 to 1 and -1 to -1 (the paper's appendix A)."""

    def forward(self, x: Tensor) -> Tensor:
        return 1.7159 * (x * (2 / 3)).tanh()


class Subsampling(nn.Module):
    """The sum of 2x2 pixels, times a trained coefficient, plus a trained bias, both one for each of ``channels``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter([0.25] * channels)
        self.bias = nn.Parameter([0.0] * channels)

    def forward(self, x: Tensor) -> Tensor:
        shape = (-1, 1, 1)
        return F.avg_pool2d(x, 2, divisor_override=1) * self.weight.reshape(shape) + self.bias.reshape(shape)

    def connections(self, output_shape: tuple[int, ...]) -> int:
        """Four pixels and a bias for each output."""
        return 5 * math.prod(output_shape[1:])


class PartialConvolution(nn.Module):
    """A 5x5 convolution whose maps see only some of the input's: those of `TABLE`."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.ModuleList(nn.Conv2d(len(seen), 1, 5) for seen in TABLE)

    def forward(self, x: Tensor) -> Tensor:
        return F.cat([convolution(x[:, list(seen)]) for convolution, seen in zip(self.maps, TABLE, strict=True)], dim=1)


class RadialBasis(nn.Module):
    """Scores -|x - w_k|^2 for each class k: how near x comes to the class's code w_k of -1 and +1.

    The codes are no parameters. The paper draws the digits in them; of random ones it says that they may be used too.
    """

    def __init__(self, in_features: int, num_classes: int) -> None:
        super().__init__()
        self.register_buffer("codes", (rand(num_classes, in_features) < 0.5) * 2.0 - 1.0)

    def forward(self, x: Tensor) -> Tensor:
        return -((x.unsqueeze(1) - self.codes) ** 2).sum(dim=2)

    def connections(self, output_shape: tuple[int, ...]) -> int:
        """Each class looks at all inputs, and has no bias."""
        return self.codes.numel()


class LeNet1998(nn.Module):
    """Images ``(N, 1, 32, 32)`` to scores ``(N, num_classes)``; the layers have the paper's names, c1 to f6."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.c1, self.s2 = nn.Conv2d(1, 6, 5), Subsampling(6)
        self.c3, self.s4 = PartialConvolution(), Subsampling(16)
        self.c5, self.f6 = nn.Conv2d(16, 120, 5), nn.Linear(120, 84)
        self.output = RadialBasis(84, num_classes)
        self.squash = ScaledTanh()
        for layer in (self.c1, *self.c3.maps, self.c5, self.f6):
            bound = 2.4 / (math.prod(layer.weight.shape[1:]))
            init.uniform_(layer.weight, -bound, bound)
            init.uniform_(layer.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        x = self.squash(self.s2(self.squash(self.c1(x))))
        x = self.squash(self.s4(self.squash(self.c3(x))))
        return self.output(self.squash(self.f6(self.squash(self.c5(x)).flatten(1))))


def lenet5_1998(num_classes: int = 10) -> LeNet1998:
    """LeNet-5 of 1998, for 32x32 pixels (MNIST's 28x28 with 2 pixels around them)."""
    return LeNet1998(num_classes)
