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
    softmax_jacobian,
    softplus,
    tanh,
)
from .convolution import conv2d, conv2d_relu
from .dropout import dropout
from .elementwise import cat, maximum, minimum, pad, stack, where
from .linear import linear, linear_relu
from .loss import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    crammer_singer_loss,
    cross_entropy,
    l1_loss,
    mse_loss,
    multi_margin_loss,
    nll_loss,
)
from .margin_loss import (
    exponential_loss,
    hinge_loss,
    logistic_loss,
    modified_huber_loss,
    sigmoid_loss,
    soft_margin_loss,
    squared_hinge_loss,
)
from .normalization import batch_norm, batch_norm_relu
from .penalty import distance_penalty, l1_penalty, l2_penalty, sparsity_penalty, tying_penalty
from .pooling import adaptive_avg_pool2d, avg_pool2d, max_pool2d
from .reduction import logsumexp

__all__ = [
    "adaptive_avg_pool2d", "avg_pool2d", "batch_norm", "batch_norm_relu", "bias_relu", "binary_cross_entropy",
    "binary_cross_entropy_with_logits", "cat", "conv2d", "conv2d_relu", "crammer_singer_loss", "cross_entropy",
    "distance_penalty", "dropout", "elu", "exponential_loss", "hinge_loss", "l1_loss", "l1_penalty", "l2_penalty",
    "leaky_relu", "linear", "linear_relu", "log_softmax", "logistic_loss", "logsumexp", "max_pool2d", "maximum",
    "maxout", "minimum", "modified_huber_loss", "mse_loss", "multi_margin_loss", "nll_loss", "pad", "prelu", "relu",
    "sigmoid", "sigmoid_loss", "soft_margin_loss", "softmax", "softmax_jacobian", "softplus", "sparsity_penalty",
    "squared_hinge_loss", "stack", "tanh", "tying_penalty", "where",
]  # fmt: skip
