"""Learning-rate schedules, with PyTorch's names, arguments and numbers; and InverseTimeLR, which PyTorch lacks."""

from gpunn.optim.lr_scheduler.base import LRScheduler
from gpunn.optim.lr_scheduler.cosine import CosineAnnealingLR, CosineAnnealingWarmRestarts
from gpunn.optim.lr_scheduler.factor import (
    ConstantLR,
    ExponentialLR,
    InverseTimeLR,
    LambdaLR,
    LinearLR,
    MultiplicativeLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)
from gpunn.optim.lr_scheduler.one_cycle import OneCycleLR
from gpunn.optim.lr_scheduler.plateau import ReduceLROnPlateau
from gpunn.optim.lr_scheduler.sequential import SequentialLR

__all__ = [
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "ExponentialLR",
    "InverseTimeLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
]
