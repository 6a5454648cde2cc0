"""Optimizer steps in one pass over each array, large arrays in pieces and small ones several to a piece.

Where kernels are not compiled, a step takes several passes, over pieces that stay in the cache from one to the next.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..reference.optimizer import Arrays, Optimizers
from .compiled import is_available
from .compiled import optimizer as kernels
from .compiled.compiler import Kernel
from .layout import CACHE_BYTES, as_line
from .scratch import address
from .threads import for_each, slices, together

DTYPES = (np.dtype("float32"), np.dtype("float64"))
Lines = tuple[Any, ...]


class OnePassOptimizers(Optimizers):
    def sgd_(
        self,
        params: Arrays,
        grads: Arrays,
        momentum_buffers: Arrays | None,
        *,
        lr: float,
        momentum: float,
        dampening: float,
        weight_decay: float,
        nesterov: bool,
        maximize: bool,
        first_step: bool,
    ) -> None:
        lists = [params, grads] if momentum_buffers is None else [params, grads, momentum_buffers]
        numbers = [-1.0 if maximize else 1.0, weight_decay, lr]
        kernel = kernels.sgd
        if momentum_buffers is not None:
            kernel = kernels.sgd_momentum
            keep, take = (0.0, 1.0) if first_step else (momentum, 1 - dampening)
            numbers += [keep, take, momentum if nesterov else 0.0]
        descend = super().sgd_

        def work(lines: Lines) -> None:
            param, grad, *buffer = lines
            descend(
                [param],
                [grad],
                buffer or None,
                lr=lr,
                momentum=momentum,
                dampening=dampening,
                weight_decay=weight_decay,
                nesterov=nesterov,
                maximize=maximize,
                first_step=first_step,
            )

        for_each(work, in_cache(lists, one_pass(kernel, lists, numbers)))

    def adam_(
        self,
        params: Arrays,
        grads: Arrays,
        exp_avgs: Arrays,
        exp_avg_sqs: Arrays,
        max_exp_avg_sqs: Arrays | None,
        *,
        lr: float,
        beta1: float,
        beta2: float,
        eps: float,
        weight_decay: float,
        decoupled: bool,
        step: int,
        maximize: bool,
    ) -> None:
        shrink = 1 - lr * weight_decay if decoupled else 1.0
        numbers = [-1.0 if maximize else 1.0, 0.0 if decoupled else weight_decay, lr / (1 - beta1**step)]
        numbers += [beta1, 1 - beta1, beta2, 1 - beta2, math.sqrt(1 - beta2**step), eps, shrink]
        lists = [params, grads, exp_avgs, exp_avg_sqs]
        if max_exp_avg_sqs is None:
            left = one_pass(kernels.adam, lists, numbers)
        else:
            left = list(range(len(params)))
            lists.append(max_exp_avg_sqs)
        descend = super().adam_

        def work(lines: Lines) -> None:
            param, grad, average, average_square, *largest = lines
            descend(
                [param],
                [grad],
                [average],
                [average_square],
                largest or None,
                lr=lr,
                beta1=beta1,
                beta2=beta2,
                eps=eps,
                weight_decay=weight_decay,
                decoupled=decoupled,
                step=step,
                maximize=maximize,
            )

        for_each(work, in_cache(lists, left))


def one_pass(kernel: Kernel, lists: Sequence[Arrays], numbers: Sequence[float]) -> list[int]:
    """Call ``kernel`` on everything; ``numbers`` in the arrays' dtype. The indices of those whose dtype it does not serve.

    The first list holds the parameters and the second their gradients; the first and those after the second are written to.
    """
    if not is_available():
        return list(range(len(lists[0])))
    tables: dict[Any, list[list[int]]] = {}
    kept: list[Lines] = []  # the kernels know no more than their addresses
    copies: list[tuple[Any, Any]] = []
    left = []
    for i, arrays in enumerate(zip(*lists, strict=True)):
        dtype = arrays[0].dtype
        if dtype not in DTYPES or {array.dtype for array in arrays} != {dtype}:
            left.append(i)
            continue
        lines, copied = _lines(arrays)
        kept.append(lines)
        copies += copied
        tables.setdefault(dtype, []).append([lines[0].size, *map(address, lines)])
    for dtype, table in tables.items():
        of_lines, length = np.array(table), max(1, CACHE_BYTES // dtype.itemsize)
        ends = np.cumsum(-(-of_lines[:, 0] // length))
        together(kernel, of_lines, ends, length, np.array(numbers, dtype))
    for array, copy in copies:
        array[...] = copy
    return left


def in_cache(lists: Sequence[Arrays], chosen: Sequence[int]) -> list[Lines]:
    """The chosen entries for steps of several passes: lines so short that all of them stay in the cache meanwhile.

    Entries whose arrays differ in dtype or memory order are left whole.
    """
    found = []
    for i in chosen:
        arrays = tuple(arrays[i] for arrays in lists)
        alike = all(array.dtype == arrays[0].dtype and _steps(array) == _steps(arrays[0]) for array in arrays)
        lines = [as_line(array) for array in arrays] if alike else [None]
        whole = any(line is None for line in lines)
        found += [arrays] if whole else _pieces(tuple(lines), 2 * CACHE_BYTES // len(lines))
    return found


def _pieces(lines: Lines, size: int) -> list[Lines]:
    """In pieces of ``size`` bytes of each line."""
    if lines[0].nbytes <= size:
        return [lines]
    return [tuple(line[part] for line in lines) for part in slices(len(lines[0]), size // lines[0].itemsize)]


def _lines(arrays: tuple[Any, ...]) -> tuple[Lines, list[tuple[Any, Any]]]:
    """The arrays, or lines (n) of them, all in one order without gaps; and those that had to be copied, with their copies.

    The gradient, the second, is not among the latter, since nothing is written to it.
    """
    first = arrays[0]
    if {array.strides for array in arrays} == {first.strides} and as_line(first) is not None:
        return arrays, []
    copies, in_order, like = [], [], np.empty_like(first)
    for number, array in enumerate(arrays):
        line = as_line(array) if _steps(array) == _steps(like) else None
        if line is None:
            copy = np.empty_like(like)
            copy[...] = array
            line = as_line(copy)
            if number != 1:
                copies.append((array, copy))
        in_order.append(line)
    return tuple(in_order), copies


def _steps(array: Any) -> list[int]:
    return [step for step, length in zip(array.strides, array.shape, strict=True) if length > 1]
