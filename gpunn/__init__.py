"""gpunn: neural networks on NumPy and CuPy arrays. The same definition trains on a CPU or a GPU.

The names and their meanings are PyTorch's wherever PyTorch has the thing.
"""

from typing import TYPE_CHECKING

from . import functional, init, nn, optim
from .creation import arange, eye, full, ones, ones_like, rand, randn, zeros, zeros_like
from .dtypes import bool, float16, float32, float64, int32, int64, uint8
from .functional import cat, maximum, minimum, stack, where
from .mixed_precision import autocast
from .random import Generator, manual_seed
from .tape import enable_grad, is_grad_enabled, no_grad, set_grad_enabled
from .tensor import Tensor, tensor
from .version import __version__

if TYPE_CHECKING:
    from . import checks, classic, data, models, training
    from .dtypes import bfloat16 as bfloat16
    from .training import Trainer

_LAZY = ("checks", "classic", "data", "models", "training")


def __getattr__(name: str) -> object:
    """Import the upper floors when they are first used, so that `import gpunn` is quick."""
    import importlib

    if name in _LAZY:
        return importlib.import_module(f".{name}", __name__)
    if name == "bfloat16":  # needs ml_dtypes
        return importlib.import_module(".dtypes", __name__).bfloat16
    if name == "Trainer":
        return importlib.import_module(".training", __name__).Trainer
    raise AttributeError(f"module 'gpunn' has no attribute '{name}'")


__all__ = [
    "Generator", "Tensor", "Trainer", "arange", "autocast", "bool", "cat", "checks", "classic", "data", "enable_grad", "eye",
    "float16", "float32", "float64", "full", "functional", "init", "int32", "int64", "is_grad_enabled", "manual_seed",
    "maximum", "minimum", "models", "nn", "no_grad", "ones", "ones_like", "optim", "rand", "randn", "set_grad_enabled",
    "stack", "tensor", "__version__", "training", "uint8", "where", "zeros", "zeros_like",
]  # fmt: skip
