"""Norms of gradients, and their clipping, as kernels.

Two kinds of kernel. How to choose: what runs with every step, the sum of squares and the change of every element, takes all
arrays in one launch and 16 bytes at a time, so it is in clipping.cu. A norm of another order is asked for rarely, and a
ReductionKernel of one line serves every dtype and every view as it stands, at the price of a launch for each array. Mind that
it adds up in the type of its output: float64 here, whatever the input is.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

from ..reference.optimizer import Arrays, Optimizers
from .activation import WIDE
from .array_lists import ArrayLists

LAST_BLOCK = 1024  # the block that adds up the sums of all chunks works alone: the larger, the sooner it is done


class KernelClipping(ArrayLists, Optimizers):
    rates: Any

    def sum_of_squares(self, arrays: Arrays) -> Any:
        batches, unserved = self._in_batches([arrays], [])
        totals = []
        for batch in batches:
            sums = self.runtime.output((batch.blocks,), "float64")
            self._launch_batch("clipping", "sum_of_squares", batch, sums)
            totals.append(self.runtime.output((), "float64"))
            self.launch("clipping", "sum_of_chunks", batch.dtype, 1, LAST_BLOCK, (sums, totals[-1], sums.size))
        if unserved or not totals:
            totals.append(super().sum_of_squares([arrays[place] for place in unserved]))
        return self.xp.asarray(sum(totals[1:], start=totals[0]))

    def total_norm(self, arrays: Arrays, order: float) -> Any:
        if order == 2:
            return super().total_norm(arrays, order)  # the root of the sum of squares
        reduce = self._largest if order == math.inf else self._sum_of_powers
        constants = () if order == math.inf else (order,)
        arrays = [array for array in arrays if array.size]
        if not arrays:
            return self.xp.zeros((), dtype="float64")
        totals = self.xp.empty(len(arrays), dtype="float64")
        for place, array in enumerate(arrays):
            reduce(array, *constants, totals[place : place + 1].reshape(()))
        if order == math.inf:
            return self.xp.asarray(totals.max())
        return self.xp.asarray(totals.sum() ** (1 / order))

    def scale_(self, arrays: Arrays, factor: Any) -> None:
        batches, unserved = self._in_batches([], [arrays])
        on_device = hasattr(factor, "dtype")
        for batch in batches:
            by = factor.astype("float64").reshape(1) if on_device else self.rates(factor)
            self._launch_batch("clipping", "scale", batch, by)
        super().scale_([arrays[place] for place in unserved], factor)

    def clamp_(self, arrays: Arrays, low: float, high: float) -> None:
        batches, unserved = self._in_batches([], [arrays])
        for batch in batches:
            self._launch_batch("clipping", "clamp", batch, low, high)
        super().clamp_([arrays[place] for place in unserved], low, high)

    @cached_property
    def _sum_of_powers(self) -> Any:
        return self.runtime.reduction(
            "T x, float64 order",
            "float64 total",
            "pow(fabs((double)(typename Wide<T>::type)x), order)",
            "a + b",
            "total = a",
            "0",
            "gpunn_sum_of_powers",
            preamble=WIDE,
        )

    @cached_property
    def _largest(self) -> Any:
        return self.runtime.reduction(
            "T x",
            "float64 largest",
            "fabs((double)(typename Wide<T>::type)x)",
            "(a > b || a != a) ? a : b",  # NaN wins, from either side
            "largest = a",
            "0",
            "gpunn_largest_magnitude",
            preamble=WIDE,
        )
