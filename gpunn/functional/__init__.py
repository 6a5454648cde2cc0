"""Differentiable functions, with PyTorch's names, arguments and results; a file per family."""

from .activation import (
    bias_relu,
    elu,
    leaky_relu,
    log_softmax,
    maxout,
    prelu,
    relu,
    sigmoid,
    softmax,
    softplus,
    tanh,
)
from .convolution import conv2d
from .dropout import dropout
from .elementwise import cat, maximum, minimum, pad, stack, where
from .linear import linear
from .loss import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    exponential_loss,
    hinge_loss,
    l1_loss,
    modified_huber_loss,
    mse_loss,
    multi_margin_loss,
    nll_loss,
    sigmoid_loss,
    soft_margin_loss,
)
from .normalization import batch_norm, batch_norm_relu
from .pooling import adaptive_avg_pool2d, avg_pool2d, max_pool2d

__all__ = [
    "adaptive_avg_pool2d", "avg_pool2d", "batch_norm", "batch_norm_relu", "bias_relu", "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cat", "conv2d", "cross_entropy", "dropout", "elu", "exponential_loss", "hinge_loss", "l1_loss", "leaky_relu",
    "linear", "log_softmax", "max_pool2d", "maximum", "maxout", "minimum", "modified_huber_loss", "mse_loss",
    "multi_margin_loss", "nll_loss", "pad", "prelu", "relu", "sigmoid", "sigmoid_loss", "soft_margin_loss", "softmax",
    "softplus", "stack", "tanh", "where",
]  # fmt: skip
