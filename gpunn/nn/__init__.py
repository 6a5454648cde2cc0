"""Modules: layers, containers and losses, with PyTorch's names, arguments and defaults."""

from gpunn import functional, init

from .activation import ELU, LeakyReLU, LogSoftmax, PReLU, ReLU, Sigmoid, Softmax, Softplus, Tanh
from .container import ModuleList, Sequential
from .convolution import Conv2d
from .dropout import Dropout
from .flatten import Flatten, Unflatten
from .linear import Identity, Linear, Maxout
from .loss import (
    BCELoss,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    ExponentialLoss,
    HingeLoss,
    L1Loss,
    ModifiedHuberLoss,
    MSELoss,
    MultiMarginLoss,
    NLLLoss,
    SigmoidLoss,
    SoftMarginLoss,
)
from .module import Module, ShapeError, StateDictError, count_parameters
from .normalization import BatchNorm1d, BatchNorm2d
from .parameter import Parameter
from .pooling import AdaptiveAvgPool2d, AvgPool2d, MaxPool2d

__all__ = [
    "ELU", "AdaptiveAvgPool2d", "AvgPool2d", "BCELoss", "BCEWithLogitsLoss", "BatchNorm1d", "BatchNorm2d", "Conv2d",
    "CrossEntropyLoss", "Dropout", "ExponentialLoss", "Flatten", "HingeLoss", "Identity", "L1Loss", "LeakyReLU",
    "Linear", "LogSoftmax", "MSELoss", "MaxPool2d", "Maxout", "ModifiedHuberLoss", "Module", "ModuleList",
    "MultiMarginLoss", "NLLLoss", "PReLU", "Parameter", "ReLU", "Sequential", "ShapeError", "Sigmoid", "SigmoidLoss",
    "SoftMarginLoss", "Softmax", "Softplus", "StateDictError", "Tanh", "Unflatten", "count_parameters",
    "functional", "init",
]  # fmt: skip
