"""Optimizers, learning-rate schedules and gradient clipping, with PyTorch's names, arguments and rules."""

from gpunn.optim import lr_scheduler
from gpunn.optim.adagrad import Adagrad
from gpunn.optim.adam import Adam, AdamW
from gpunn.optim.clip import clip_grad_norm_, clip_grad_value_
from gpunn.optim.optimizer import Optimizer
from gpunn.optim.rmsprop import RMSprop
from gpunn.optim.sgd import SGD

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Optimizer",
    "RMSprop",
    "clip_grad_norm_",
    "clip_grad_value_",
    "lr_scheduler",
]
