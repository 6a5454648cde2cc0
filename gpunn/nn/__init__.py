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
    CrammerSingerLoss,
    CrossEntropyLoss,
    ExponentialLoss,
    HingeLoss,
    L1Loss,
    LogisticLoss,
    ModifiedHuberLoss,
    MSELoss,
    MultiMarginLoss,
    NLLLoss,
    SigmoidLoss,
    SoftMarginLoss,
    SquaredHingeLoss,
)
from .module import Module, ShapeError, StateDictError, count_parameters
from .noise import GaussianNoise
from .normalization import BatchNorm1d, BatchNorm2d
from .parameter import Parameter
from .pooling import AdaptiveAvgPool2d, AvgPool2d, MaxPool2d

__all__ = [
    "ELU", "AdaptiveAvgPool2d", "AvgPool2d", "BCELoss", "BCEWithLogitsLoss", "BatchNorm1d", "BatchNorm2d", "Conv2d",
    "CrammerSingerLoss", "CrossEntropyLoss", "Dropout", "ExponentialLoss", "Flatten", "GaussianNoise", "HingeLoss",
    "Identity", "L1Loss", "LeakyReLU", "Linear", "LogSoftmax", "LogisticLoss", "MSELoss", "MaxPool2d", "Maxout",
    "ModifiedHuberLoss", "Module", "ModuleList", "MultiMarginLoss", "NLLLoss", "PReLU", "Parameter", "ReLU",
    "Sequential", "ShapeError", "Sigmoid", "SigmoidLoss", "SoftMarginLoss", "Softmax", "Softplus", "SquaredHingeLoss",
    "StateDictError", "Tanh", "Unflatten", "count_parameters", "functional", "init",
]  # fmt: skip
