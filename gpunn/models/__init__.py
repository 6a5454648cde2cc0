"""Networks ready to train, each a function ``name(num_classes=..., in_channels=..., ...)``."""

from .alexnet import AlexNet, AlexNetCIFAR, alexnet, alexnet_cifar
from .autoencoder import Autoencoder, autoencoder
from .catalog import build, names
from .lenet import LeNet5, lenet5
from .mlp import mlp
from .small_cnn import small_cnn
from .summary import Summary, summary
from .vgg import VGG, vgg11, vgg11_bn, vgg16, vgg16_bn
from .zfnet import ZFNet, zfnet

__all__ = [
    "VGG", "AlexNet", "AlexNetCIFAR", "Autoencoder", "LeNet5", "Summary", "ZFNet", "alexnet", "alexnet_cifar",
    "autoencoder", "build", "lenet5", "mlp", "names", "small_cnn", "summary", "vgg11", "vgg11_bn", "vgg16", "vgg16_bn",
    "zfnet",
]  # fmt: skip
