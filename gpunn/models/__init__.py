"""Networks ready to train, each a function ``name(num_classes=..., in_channels=..., ...)``."""

from .alexnet import AlexNet, AlexNetCIFAR, alexnet, alexnet_cifar
from .autoencoder import Autoencoder, LinearAutoencoder, autoencoder, linear_autoencoder
from .catalog import build, names
from .geometry import connections, convolution_parameters, output_size, receptive_field, require_fit
from .lenet import LeNet5, lenet5
from .lenet_1998 import LeNet1998, lenet5_1998
from .mlp import mlp
from .multitask import MultiTask
from .small_cnn import small_cnn
from .summary import Summary, summary
from .vgg import VGG, vgg11, vgg11_bn, vgg16, vgg16_bn
from .zfnet import ZFNet, zfnet

__all__ = [
    "VGG", "AlexNet", "AlexNetCIFAR", "Autoencoder", "LeNet1998", "LeNet5", "LinearAutoencoder", "MultiTask", "Summary",
    "ZFNet", "alexnet", "alexnet_cifar", "autoencoder", "build", "connections", "convolution_parameters", "lenet5",
    "lenet5_1998", "linear_autoencoder", "mlp", "names", "output_size", "receptive_field", "require_fit", "small_cnn",
    "summary", "vgg11", "vgg11_bn", "vgg16", "vgg16_bn", "zfnet",
]  # fmt: skip
