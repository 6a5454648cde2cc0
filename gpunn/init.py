"""Weight initializers: each fills a tensor in place and returns it, with PyTorch's names and meanings.

Random values are made on the host in float64 and then cast to the tensor's dtype, so the same seed gives the same
weights on every device. Each call takes one stream of Philox numbers, from ``gpunn.random.default_generator`` unless
``generator=`` names another; element ``i`` of the tensor depends on nothing but seed, stream and ``i``.

Sources: X. Glorot and Y. Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010
(Xavier); K. He et al., "Delving deep into rectifiers", 2015 (Kaiming); A. Saxe et al., "Exact solutions to the
nonlinear dynamics of learning in deep linear neural networks", 2013 (orthogonal); S. Zagoruyko and N. Komodakis,
"DiracNets", 2017 (Dirac).
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator
from contextvars import ContextVar

import numpy as np

from backends import philox
from gpunn import random
from gpunn.tape import no_grad
from gpunn.tensor import Tensor

# Elements made at a time: small enough for the second-level cache, large enough that two threads rarely wait.
CHUNK = 1 << 16
# ``draw(seed, stream, count, start)`` makes elements ``start`` to ``start + count - 1`` of a stream.
Draw = Callable[[int, int, int, int], np.ndarray]

_skipping: ContextVar[bool] = ContextVar("gpunn_init_skipping", default=False)


@contextlib.contextmanager
def skip() -> Iterator[None]:
    """Within this block initializers leave their tensor as it is and draw no random numbers.

    Layers made within it hold zeros, which cost neither time nor memory before they are touched. It is meant for
    networks whose weights are loaded right afterwards, or which are only counted::

        with init.skip():
            net = models.vgg16()
        net.load_state_dict(weights)
    """
    token = _skipping.set(True)
    try:
        yield
    finally:
        _skipping.reset(token)


def _fill(tensor: Tensor, generator: random.Generator | None, draw: Draw) -> Tensor:
    """Fill ``tensor`` with one stream, a chunk at a time, on all cores where there is more than one chunk."""
    if _skipping.get():
        return tensor
    generator = generator or random.default_generator
    seed, stream = generator.seed, generator.next_stream()
    count = math.prod(tensor.shape)
    host = np.empty(count, dtype=tensor.dtype)

    def make(start: int) -> None:
        stop = min(start + CHUNK, count)
        host[start:stop] = draw(seed, stream, stop - start, start)

    starts = range(0, count, CHUNK)
    if len(starts) > 1:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(min(os.cpu_count() or 1, 8, len(starts))) as pool:
            list(pool.map(make, starts))
    elif count:
        make(0)
    return _copy(tensor, host.reshape(tensor.shape))


def _copy(tensor: Tensor, values: np.ndarray) -> Tensor:
    with no_grad():
        tensor[...] = tensor.backend.asarray(values.astype(tensor.dtype, copy=False))
    return tensor


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Fill with ``val``."""
    if not _skipping.get():
        with no_grad():
            tensor[...] = val
    return tensor


def zeros_(tensor: Tensor) -> Tensor:
    """Fill with 0."""
    return constant_(tensor, 0.0)


def ones_(tensor: Tensor) -> Tensor:
    """Fill with 1."""
    return constant_(tensor, 1.0)


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: random.Generator | None = None) -> Tensor:
    """Fill from the uniform distribution over [a, b), with 24 random bits an element."""

    def draw(seed: int, stream: int, count: int, start: int) -> np.ndarray:
        values = philox.uniform(seed, stream, count, start).astype(np.float64)
        values *= b - a
        values += a
        return values

    return _fill(tensor, generator, draw)


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: random.Generator | None = None) -> Tensor:
    """Fill from the normal distribution with the given mean and standard deviation."""

    def draw(seed: int, stream: int, count: int, start: int) -> np.ndarray:
        values = philox.normal(seed, stream, count, start)
        values *= std
        values += mean
        return values

    return _fill(tensor, generator, draw)


def fans(tensor: Tensor) -> tuple[int, int]:
    """How many inputs and outputs a unit of this weight has: ``(fan_in, fan_out)``.

    A weight has shape ``(out, in)``, or ``(out, in / groups, kernel height, kernel width)``, whose kernel multiplies both.
    """
    if tensor.ndim < 2:
        raise ValueError(f"fans: expected a weight of 2 or more dimensions, (out, in, ...), got shape {tensor.shape}")
    kernel = math.prod(tensor.shape[2:])
    return tensor.shape[1] * kernel, tensor.shape[0] * kernel


def _fan(tensor: Tensor, mode: str, allowed: tuple[str, ...]) -> float:
    if mode not in allowed:
        raise ValueError(f"mode: expected one of {', '.join(allowed)}, got {mode!r}")
    fan_in, fan_out = fans(tensor)
    return {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[mode]


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor by which weights before ``nonlinearity`` grow, to keep the variance of the signal.

    ``param`` is the negative slope of ``leaky_relu`` (0.01 unless given).
    """
    if nonlinearity == "leaky_relu":
        return math.sqrt(2.0 / (1.0 + (0.01 if param is None else param) ** 2))
    gains = {"linear": 1.0, "conv2d": 1.0, "sigmoid": 1.0, "tanh": 5.0 / 3.0, "relu": math.sqrt(2.0), "selu": 0.75}
    if nonlinearity not in gains:
        raise ValueError(f"calculate_gain: expected one of {', '.join([*gains, 'leaky_relu'])}, got {nonlinearity!r}")
    return gains[nonlinearity]


XAVIER_MODES = ("fan_avg", "fan_in", "fan_out")
KAIMING_MODES = ("fan_in", "fan_out")


def inverse_sqrt_uniform_(tensor: Tensor, n: int | None = None, generator: random.Generator | None = None) -> Tensor:
    """Uniform over +-1/sqrt(n), n being fan-in unless given (for a bias, whose shape does not tell): variance 1 / (3 n).

    The rule of thumb from before Xavier's, and the default of Linear and Conv2d: of n inputs of variance 1 it makes outputs of
    variance 1/3. Y. LeCun et al., "Efficient BackProp", 1998, section 4.6, asks for 1 / n: `xavier_normal_` with "fan_in".
    """
    if n is None:
        n = fans(tensor)[0]
    bound = 1.0 / math.sqrt(max(n, 1))
    return uniform_(tensor, -bound, bound, generator)


def xavier_uniform_(
    tensor: Tensor, gain: float = 1.0, mode: str = "fan_avg", generator: random.Generator | None = None
) -> Tensor:
    """Uniform over +-gain sqrt(3 / fan), which has the variance gain^2 / fan; ``mode`` and fan as in `xavier_normal_`."""
    bound = gain * math.sqrt(3.0 / max(_fan(tensor, mode, XAVIER_MODES), 1))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(
    tensor: Tensor, gain: float = 1.0, mode: str = "fan_avg", generator: random.Generator | None = None
) -> Tensor:
    """Normal with mean 0 and variance gain^2 / fan.

    Args:
        mode: "fan_in", variance 1 / n_in, keeps the variance of the signal from layer to layer; "fan_out", 1 / n_out, that
            of the gradient on its way back; "fan_avg", 2 / (n_in + n_out), is between the two.
    """
    return normal_(tensor, 0.0, gain / math.sqrt(max(_fan(tensor, mode, XAVIER_MODES), 1)), generator)


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: random.Generator | None = None,
) -> Tensor:
    """Uniform over +-gain sqrt(3 / fan); ``a`` is the negative slope of the leaky ReLU that follows."""
    bound = calculate_gain(nonlinearity, a) * math.sqrt(3.0 / max(_fan(tensor, mode, KAIMING_MODES), 1))
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: random.Generator | None = None,
) -> Tensor:
    """Normal with variance gain^2 / fan; ``a`` is the negative slope of the leaky ReLU that follows."""
    std = calculate_gain(nonlinearity, a) / math.sqrt(max(_fan(tensor, mode, KAIMING_MODES), 1))
    return normal_(tensor, 0.0, std, generator)


def orthogonal_(tensor: Tensor, gain: float = 1.0, generator: random.Generator | None = None) -> Tensor:
    """Rows (or, where there are more rows than columns, columns) orthogonal and of length ``gain``.

    The weight is seen as a matrix of shape ``(out, everything else)``. Orthogonal factor of a normal matrix, with the
    signs that make it uniformly distributed over the orthogonal matrices.
    """
    fans(tensor)
    if _skipping.get():
        return tensor
    generator = generator or random.default_generator
    rows, columns = tensor.shape[0], math.prod(tensor.shape[1:])
    values = philox.normal(generator.seed, generator.next_stream(), (rows, columns))
    q, r = np.linalg.qr(values.T if rows < columns else values)
    q *= np.where(np.diagonal(r) < 0, -1.0, 1.0)
    return _copy(tensor, gain * (q.T if rows < columns else q).reshape(tensor.shape))


def eye_(tensor: Tensor) -> Tensor:
    """The identity, or as much of it as a matrix of this shape holds."""
    if tensor.ndim != 2:
        raise ValueError(f"eye_: expected a matrix (2 dimensions), got shape {tensor.shape}")
    return tensor if _skipping.get() else _copy(tensor, np.eye(tensor.shape[0], tensor.shape[1]))


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """Convolution weights that hand each input channel on unchanged (padding "same"), in every group as many as fit."""
    if not 3 <= tensor.ndim <= 5:
        raise ValueError(f"dirac_: expected a convolution's weight of 3 to 5 dimensions, got shape {tensor.shape}")
    if groups < 1 or tensor.shape[0] % groups:
        raise ValueError(f"dirac_: expected groups to divide {tensor.shape[0]} output channels, got groups={groups}")
    if _skipping.get():
        return tensor
    values = np.zeros(tensor.shape)
    outputs = tensor.shape[0] // groups
    centre = tuple(size // 2 for size in tensor.shape[2:])
    for group in range(groups):
        for channel in range(min(outputs, tensor.shape[1])):
            values[(group * outputs + channel, channel, *centre)] = 1.0
    return _copy(tensor, values)
