"""Optimizers, learning-rate schedules and gradient clipping, with PyTorch's names, arguments and rules.

Beside them stand methods that PyTorch lacks: `FullAdagrad`, `Newton`, `SVRG`, `Projected` and `hogwild`.
"""

from gpunn.optim import lr_scheduler
from gpunn.optim.adagrad import Adagrad
from gpunn.optim.adam import Adam, AdamW
from gpunn.optim.clip import clip_grad_norm_, clip_grad_value_
from gpunn.optim.full_adagrad import FullAdagrad
from gpunn.optim.hogwild import hogwild
from gpunn.optim.newton import Newton, hessian
from gpunn.optim.optimizer import Optimizer
from gpunn.optim.projection import Ball, Box, ConvexSet, HalfSpace, L1Ball, Projected, Simplex
from gpunn.optim.rmsprop import RMSprop
from gpunn.optim.sgd import SGD
from gpunn.optim.svrg import SVRG

__all__ = [
    "SGD",
    "SVRG",
    "Adagrad",
    "Adam",
    "AdamW",
    "Ball",
    "Box",
    "ConvexSet",
    "FullAdagrad",
    "HalfSpace",
    "L1Ball",
    "Newton",
    "Optimizer",
    "Projected",
    "RMSprop",
    "Simplex",
    "clip_grad_norm_",
    "clip_grad_value_",
    "hessian",
    "hogwild",
    "lr_scheduler",
]
