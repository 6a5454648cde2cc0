"""Neighbours in a `Sequential` that are computed as one operation, because a GPU then goes through memory once less.

Nobody notices but by the time it takes: results, names, `repr` and state are those of the two modules, and as soon as somebody
looks between them (a hook), or changed what one of them does (a subclass, another ``forward``), they are called one by one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .activation import ReLU
from .convolution import Conv2d
from .linear import Linear
from .module import Module
from .normalization import BatchNorm1d, BatchNorm2d

# Modules whose forward(x, rectify=True) does the work of a ReLU behind them too.
RECTIFYING = (BatchNorm1d, BatchNorm2d, Conv2d, Linear)
FORWARDS: dict[type[Module], Any] = {kind: kind.forward for kind in (*RECTIFYING, ReLU)}


def steps(modules: Iterable[Module]) -> Iterator[Callable[[Any], Any]]:
    """What to call one after another in the place of ``modules``. Each step is decided on when its turn comes."""
    waiting: Module | None = None
    for module in modules:
        if waiting is not None and are_one(waiting, module):
            yield functools.partial(waiting, rectify=True)
            waiting = None
            continue
        if waiting is not None:
            yield waiting
        waiting = module
    if waiting is not None:
        yield waiting


def are_one(first: Module, second: Module) -> bool:
    """Whether ``second(first(x))`` can be computed as ``first(x, rectify=True)``."""
    return type(first) in RECTIFYING and type(second) is ReLU and _is_plain(first) and _is_plain(second)


def _is_plain(module: Module) -> bool:
    """Whether calling ``module`` does what its type says and nothing else."""
    forward = None if "forward" in vars(module) else type(module).forward
    hooks = module._forward_hooks or module._forward_pre_hooks
    return forward is FORWARDS[type(module)] and not hooks
