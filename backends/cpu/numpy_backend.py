"""`NumpyBackend`: the device "cpu"."""

from __future__ import annotations

import numpy as np

from ..backend import Backend
from . import blas
from .activation import BranchlessActivations
from .convolution import ChannelsLastConvolution
from .dropout import CompiledDropout
from .linear_algebra import CompiledLinear
from .memory import keep_freed_memory
from .normalization import ChannelsLastNormalization
from .optimizer import OnePassOptimizers
from .pooling import ChannelsLastPooling
from .softmax import RowwiseSoftmax
from .threads import gather_crew


class NumpyBackend(
    ChannelsLastConvolution,
    ChannelsLastPooling,
    ChannelsLastNormalization,
    BranchlessActivations,
    RowwiseSoftmax,
    CompiledLinear,
    CompiledDropout,
    OnePassOptimizers,
    Backend,
):
    """Shapes are N,C,H,W as everywhere; in memory mostly the channels stand last, else the batch (see `batch_last`)."""

    def __init__(self) -> None:
        super().__init__(np, "cpu")
        keep_freed_memory()
        blas.tune()
        gather_crew()
