"""The bias of a linear layer or a convolution as kernels, alone and with ReLU."""

from __future__ import annotations

from typing import Any

from ..reference.activation import Activations
from . import layout
from .layout import BLOCK, blocks_for, is_channels_last
from .program import accumulator, is_served
from .runtime import Runtime

COLUMNS, ROWS = 32, 8  # of threads in a block that sums rows; as in bias.cu
# The rows are summed in parts, and then the parts: enough to fill a GPU, of enough rows to be worth a second step. How many
# depends on the shape alone.
LEAST_ROWS = 256
MOST_PARTS = 1024
LEAST_ELEMENTS = 4096  # of a channel, in a part of channels-first memory


class KernelBias(Activations):
    runtime: Runtime
    launch: Any

    def bias_relu(self, x: Any, bias: Any) -> tuple[Any, Any]:
        if not is_served(x.dtype) or bias.dtype != x.dtype:
            return super().bias_relu(x, bias)
        last = is_channels_last(x)
        memory = layout.channels_last(self.xp, x) if last else self.xp.ascontiguousarray(x)
        out = self.runtime.output(memory.shape, x.dtype)
        channels, inner = _channels_and_inner(memory, last)
        blocks = blocks_for(-(-x.size * x.itemsize // 16))
        arguments = (memory, self.xp.ascontiguousarray(bias), out, x.size, channels, inner)
        self.launch("bias", "bias_relu_forward", x.dtype, blocks, BLOCK, arguments)
        out = layout.channels_first(self.xp, out) if last else out
        return out, out

    def bias_relu_backward(self, out: Any, dout: Any) -> tuple[Any, ...]:
        if not is_served(out.dtype):
            return super().bias_relu_backward(out, dout)
        if not is_channels_last(out):
            return self._bias_relu_backward_of_planes(out, self.xp.ascontiguousarray(dout))
        kept, gradient = (layout.channels_last(self.xp, array) for array in (out, dout))
        dx = self.runtime.output(gradient.shape, dout.dtype)
        arrays = (kept, gradient, dx)
        sums = self._sum_rows("bias_relu_backward", arrays, layout.pixels(out), out.shape[1], dout.dtype)
        return layout.channels_first(self.xp, dx), sums

    def _bias_relu_backward_of_planes(self, out: Any, dout: Any) -> tuple[Any, ...]:
        dx, sums = self.runtime.output(dout.shape, dout.dtype), self.runtime.output(dout.shape[1:2], dout.dtype)
        images, channels = dout.shape[:2]
        of_a_channel = dout.size // max(1, images * channels)
        per_part = max(1, -(-LEAST_ELEMENTS // max(1, of_a_channel)), -(-images // MOST_PARTS))
        parts = max(1, -(-images // per_part))
        partial = self.runtime.output((parts, channels), accumulator(dout.dtype))
        arguments = (out, dout, dx, partial, images, channels, of_a_channel, per_part)
        grid = (min(channels, layout.MOST_BLOCKS), parts)
        self.launch("bias", "bias_relu_backward_of_planes", dout.dtype, grid, BLOCK, arguments)
        self._add_parts(partial, sums)
        return dx, sums

    def _add_bias_(self, rows: Any, bias: Any) -> None:
        """rows (M, C), contiguous, += bias (C)."""
        blocks = blocks_for(-(-rows.size * rows.itemsize // 16))
        arguments = (rows, self.xp.ascontiguousarray(bias), rows.size, rows.shape[1], 1)
        self.launch("bias", "bias_forward", rows.dtype, blocks, BLOCK, arguments)

    def _row_sums(self, rows: Any) -> Any:
        """The sums of the columns of a contiguous (M, C) array, added up in the accumulator's dtype: (C)."""
        return self._sum_rows("row_sums", (rows,), rows.shape[0], rows.shape[1], rows.dtype)

    def _sum_rows(self, kernel: str, arrays: tuple[Any, ...], rows: int, columns: int, dtype: Any) -> Any:
        """Launch a kernel of bias.cu that sums over rows; then, if it does so in parts, the one that sums these."""
        sums, partial = self.runtime.output((columns,), dtype), None
        per_part = max(LEAST_ROWS, -(-rows // MOST_PARTS))
        parts = max(1, -(-rows // per_part))  # of no rows, one part writes the zeros
        if parts > 1:
            partial = self.runtime.output((parts, columns), accumulator(dtype))
        results = (None, sums) if partial is None else (partial, None)
        grid = (blocks_for(columns, COLUMNS), parts)
        self.launch("bias", kernel, dtype, grid, (COLUMNS, ROWS), (*arrays, *results, rows, columns, per_part))
        if partial is not None:
            self._add_parts(partial, sums)
        return sums

    def _add_parts(self, partial: Any, sums: Any) -> None:
        parts, columns = partial.shape
        grid = blocks_for(columns, COLUMNS)
        self.launch("bias", "sums_of_parts", sums.dtype, grid, (COLUMNS, ROWS), (partial, sums, parts, columns))


def _channels_and_inner(memory: Any, channels_last: bool) -> tuple[int, int]:
    """How many channels there are, and how many elements of one of them lie side by side."""
    if channels_last:
        return memory.shape[-1], 1
    return memory.shape[1], memory.size // max(1, memory.shape[0] * memory.shape[1])
