"""Activation functions. Each takes a tensor of any shape and returns one of the same shape (`maxout` a smaller one).

Sigmoid and softmax: C. Bishop, "Pattern Recognition and Machine Learning", 2006, section 4.2; tanh: section 5.3.2.
"""

from __future__ import annotations

from ..tensor import Tensor, apply


def relu(input: Tensor) -> Tensor:
    """max(0, x). V. Nair and G. Hinton, 2010."""
    return apply("relu", input)


def bias_relu(input: Tensor, bias: Tensor) -> Tensor:
    """max(0, x + b) in one operation, with a bias b for each channel (dimension 1): fewer passes over memory than two.

    Args:
        input: (N, C) or (N, C, ...).
        bias: (C).
    """
    if input.ndim < 2 or bias.shape != (input.shape[1],):
        raise ValueError(
            f"bias_relu: expected input of shape (N, C) or (N, C, ...) and bias of shape (C,), got {input.shape} and {bias.shape}"
        )
    return apply("bias_relu", input, bias)


def elu(input: Tensor, alpha: float = 1.0) -> Tensor:
    """x for x > 0, else alpha (exp(x) - 1). D. Clevert, T. Unterthiner and S. Hochreiter, 2016."""
    return apply("elu", input, alpha=alpha)


def leaky_relu(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """x for x > 0, else negative_slope x. A. Maas, A. Hannun and A. Ng, 2013."""
    return apply("leaky_relu", input, slope=negative_slope)


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """x for x > 0, else weight x; the weight has one element, or one a channel (dimension 1). K. He et al., 2015."""
    if weight.numel() != 1 and (input.ndim < 2 or weight.shape != (input.shape[1],)):
        channels = input.shape[1] if input.ndim > 1 else 1
        raise ValueError(
            f"prelu: expected a weight of 1 or {channels} elements for input {input.shape}, got {weight.shape}"
        )
    return apply("prelu", input, weight)


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(-x))."""
    return apply("sigmoid", input)


def tanh(input: Tensor) -> Tensor:
    """(exp(x) - exp(-x)) / (exp(x) + exp(-x))."""
    return apply("tanh", input)


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta x)) / beta, and x itself where beta x > threshold. C. Dugas et al., 2001."""
    return apply("softplus", input, beta=beta, threshold=threshold)


def softmax(input: Tensor, dim: int) -> Tensor:
    """exp(x_i) / sum_j exp(x_j) along ``dim``."""
    return apply("softmax", input, axis=dim)


def softmax_jacobian(input: Tensor, dim: int = -1) -> Tensor:
    """All derivatives of `softmax`: J_ij = d s_i / d x_j = s_i (1 - s_i) for i = j, else -s_i s_j; that is diag(s) - s s'.

    J is symmetric, its rows and columns sum to 0 (adding a number to all x changes nothing), and it is 0 where one s_i is 1.
    Backward through softmax is J times the gradient of s; it needs no such matrix.

    Args:
        input: any shape, of n elements along ``dim``.

    Returns:
        The shape of ``input`` without ``dim``, and then (n, n).

    Source: C. Bishop, "Pattern Recognition and Machine Learning", 2006, equation 4.106.
    """
    if input.ndim == 0:
        raise ValueError("softmax_jacobian: expected at least one dimension, got shape ()")
    s = softmax(input, dim)
    place = dim % s.ndim
    s = s.permute(*(axis for axis in range(s.ndim) if axis != place), place)
    with s.backend.scope():
        identity = s.backend.xp.eye(s.shape[-1], dtype=s.dtype)
    return s.unsqueeze(-1) * (Tensor(identity, s.backend) - s.unsqueeze(-2))


def log_softmax(input: Tensor, dim: int) -> Tensor:
    """The logarithm of `softmax`, computed without it: x_i - log(sum_j exp(x_j))."""
    return apply("log_softmax", input, axis=dim)


def maxout(input: Tensor, pieces: int, dim: int = 1) -> Tensor:
    """The largest of each ``pieces`` neighbours along ``dim``. I. Goodfellow et al., "Maxout networks", 2013."""
    length = input.shape[dim]
    if pieces < 1 or length % pieces:
        raise ValueError(f"maxout: expected dimension {dim} to be a multiple of {pieces} pieces, got length {length}")
    place = dim % input.ndim
    split = input.reshape(*input.shape[:place], length // pieces, pieces, *input.shape[place + 1 :])
    return split.max(place + 1).values
