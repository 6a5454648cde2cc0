"""Batch normalization as kernels, alone and with ReLU, on rows of channels (channels-last) and on planes (channels-first)."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..reference.normalization import Normalization
from .layout import BLOCK, blocks_for, channels_first, channels_last, is_channels_last, is_dense, pixels, same_order
from .program import accumulator, is_served
from .runtime import Runtime

THREADS = 256  # of a block, at most
WARP = 32
AT_ONCE = 4  # packs that a thread has on their way at once: parts shorter than that would only add to the second step
# Blocks that a launch is divided into, where there is work for so many. They depend on the shape alone and never on the
# GPU, as the order of the sums depends on them. Sums want few, because the second step reads what each of them found.
BLOCKS_OF_SUMS = 1024
BLOCKS_OF_MAPS = 4096
MOST_PARTS = 65_535  # of CUDA's grids, in their second dimension
CHANNELS_OF_SECOND_STEP = 8  # of a block; each is a warp's


class Division(NamedTuple):
    """How (outer, channels, inner) memory is divided among threads; kernels/channels.cuh walks through it.

    Attributes:
        order: of memory, "rows" or "planes": which of two kernels.
        shape: (outer, channels, inner), inner = 1 for rows.
        block: (columns, threads that share a column).
        columns: blocks side by side.
        items: packs of one channel, or for rows of PACK channels.
    """

    order: str
    shape: tuple[int, int, int]
    block: tuple[int, int]
    columns: int
    items: int

    def parts(self, blocks: int) -> tuple[int, int]:
        """Parts of each channel that make about ``blocks`` blocks in all, and the items of one part."""
        wanted = min(
            -(-self.items // (self.block[1] * AT_ONCE)), max(1, -(-blocks // self.columns)), MOST_PARTS
        )  # fmt: skip
        per_part = _round_up(-(-self.items // wanted), self.block[1])
        return -(-self.items // per_part), per_part


def divide(x: Any) -> Division:
    """The division for ``x``, (N, C, ...) and not empty, whose memory is channels-last or contiguous."""
    pack = 16 // x.itemsize
    channels, count = x.shape[1], pixels(x)
    if channels > 1 and is_channels_last(x):
        packs = -(-channels // pack)
        across = min(WARP, _power_of_two(packs))
        down = min(THREADS // across, _power_of_two(-(-count // AT_ONCE)))
        return Division("rows", (count, channels, 1), (across, down), -(-packs // across), count)
    outer = 1 if channels == 1 else x.shape[0]
    inner = count // outer
    items = outer * -(-inner // pack)
    down = min(THREADS, _power_of_two(-(-items // AT_ONCE)))
    return Division("planes", (outer, channels, inner), (1, down), channels, items)


def _power_of_two(at_least: int) -> int:
    return 1 << max(at_least - 1, 0).bit_length()


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


class Kept(NamedTuple):
    """What backward needs; arrays by channel are in the accumulator's dtype.

    Attributes:
        x: dense, in the order of memory that the kernels went through.
        mean, scale, factor: (C), scale = 1 / sqrt(variance + eps) and factor = scale weight.
        bias: (C), from which backward finds the rectified elements again; None without ReLU or without bias.
        dtypes: of weight and bias, None for one that is absent.
    """

    x: Any
    mean: Any
    scale: Any
    factor: Any
    bias: Any
    dtypes: tuple[Any, Any]


class KernelNormalization(Normalization):
    xp: Any
    runtime: Runtime
    launch: Any

    def batch_norm(self, x: Any, weight: Any, bias: Any, eps: float = 1e-5) -> tuple[Any, Any]:
        if not _has_kernel(x):
            return super().batch_norm(x, weight, bias, eps)
        return self._normalize_batch(x, weight, bias, eps, with_relu=False)

    def batch_norm_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        if not isinstance(saved, Kept):
            return super().batch_norm_backward(saved, dout)
        return self._normalize_batch_backward(saved, dout, with_relu=False)

    def batch_norm_relu(self, x: Any, weight: Any, bias: Any, eps: float = 1e-5) -> tuple[Any, Any]:
        if not _has_kernel(x):
            return super().batch_norm_relu(x, weight, bias, eps)
        return self._normalize_batch(x, weight, bias, eps, with_relu=True)

    def batch_norm_relu_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        if not isinstance(saved, Kept):
            return super().batch_norm_relu_backward(saved, dout)
        return self._normalize_batch_backward(saved, dout, with_relu=True)

    def batch_norm_inference(
        self, x: Any, weight: Any, bias: Any, mean: Any, variance: Any, eps: float = 1e-5
    ) -> tuple[Any, Any]:
        if not _has_kernel(x):
            return super().batch_norm_inference(x, weight, bias, mean, variance, eps)
        return self._normalize_by_given(x, weight, bias, mean, variance, eps, with_relu=False)

    def batch_norm_inference_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        if not isinstance(saved, Kept):
            return super().batch_norm_inference_backward(saved, dout)
        return self._normalize_by_given_backward(saved, dout, with_relu=False)

    def batch_norm_inference_relu(
        self, x: Any, weight: Any, bias: Any, mean: Any, variance: Any, eps: float = 1e-5
    ) -> tuple[Any, Any]:
        if not _has_kernel(x):
            return super().batch_norm_inference_relu(x, weight, bias, mean, variance, eps)
        return self._normalize_by_given(x, weight, bias, mean, variance, eps, with_relu=True)

    def batch_norm_inference_relu_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        if not isinstance(saved, Kept):
            return super().batch_norm_inference_relu_backward(saved, dout)
        return self._normalize_by_given_backward(saved, dout, with_relu=True)

    def _normalize_batch(self, x: Any, weight: Any, bias: Any, eps: float, with_relu: bool) -> tuple[Any, Any]:
        x = _in_order(self.xp, x)
        division, channels = divide(x), x.shape[1]
        parts, per_part = division.parts(BLOCKS_OF_SUMS)
        partial = self._channel_memory(x, 3, channels, parts)
        self._launch_walk("statistics", division, parts, x.dtype, (x, partial, *division.shape, per_part))
        mean, variance, scale, factor = (self._channel_memory(x, channels) for _ in range(4))
        wide_weight, wide_bias = _wide(self.xp, weight, x), _wide(self.xp, bias, x)
        count = x.size // channels
        results, inner = (mean, variance, scale, factor), division.shape[2]
        arguments = (x, partial, wide_weight, *results, channels, inner, parts, count, eps)
        self._launch_second_step("statistics_of_parts", x.dtype, channels, arguments)
        y = self._apply_normalization(x, mean, factor, wide_bias, with_relu)
        kept = Kept(x, mean, scale, factor, wide_bias if with_relu else None, _dtypes(weight, bias))
        return (y, mean, variance), kept

    def _normalize_batch_backward(self, saved: Kept, dout: Any, with_relu: bool) -> tuple[Any, ...]:
        dout = _in_order_of(self.xp, saved.x, dout)
        slope, offset = (self._channel_memory(dout, dout.shape[1]) for _ in range(2))
        dweight, dbias = self._normalization_sums(saved, dout, slope, offset, with_relu)
        return self._normalization_gradient(saved, dout, slope, offset, with_relu), dweight, dbias

    def _normalize_by_given(
        self, x: Any, weight: Any, bias: Any, mean: Any, variance: Any, eps: float, with_relu: bool
    ) -> tuple[Any, Any]:
        x, channels = _in_order(self.xp, x), x.shape[1]
        scale, factor = (self._channel_memory(x, channels) for _ in range(2))
        wide_mean, wide_bias = _wide(self.xp, mean, x), _wide(self.xp, bias, x)
        arguments = (_wide(self.xp, variance, x), _wide(self.xp, weight, x), scale, factor, channels, eps)
        self.launch("batchnorm", "batchnorm_factors", x.dtype, blocks_for(channels), BLOCK, arguments)
        y = self._apply_normalization(x, wide_mean, factor, wide_bias, with_relu)
        return y, Kept(x, wide_mean, scale, factor, wide_bias if with_relu else None, _dtypes(weight, bias))

    def _normalize_by_given_backward(self, saved: Kept, dout: Any, with_relu: bool) -> tuple[Any, ...]:
        dout = _in_order_of(self.xp, saved.x, dout)
        sums: tuple[Any, ...] = (None, None)
        if any(dtype is not None for dtype in saved.dtypes):
            sums = self._normalization_sums(saved, dout, None, None, with_relu)
        return self._normalization_gradient(saved, dout, None, None, with_relu), *sums, None, None

    def _apply_normalization(self, x: Any, mean: Any, factor: Any, bias: Any, with_relu: bool) -> Any:
        """(x - mean) factor + bias, rectified if ``with_relu``."""
        y, division = self.runtime.output_like(x), divide(x)
        parts, per_part = division.parts(BLOCKS_OF_MAPS)
        arguments = (x, mean, factor, bias, y, *division.shape, per_part, with_relu)
        self._launch_walk("normalize", division, parts, x.dtype, arguments)
        return y

    def _normalization_sums(self, saved: Kept, dout: Any, slope: Any, offset: Any, with_relu: bool) -> tuple[Any, Any]:
        """The gradients of weight and bias, None for one that is absent; ``slope`` and ``offset`` are filled."""
        division, channels = divide(dout), dout.shape[1]
        parts, per_part = division.parts(BLOCKS_OF_SUMS)
        partial = self._channel_memory(dout, 2, channels, parts)
        arguments: tuple[Any, ...] = (saved.x, dout, saved.mean, saved.factor, saved.bias, partial)
        arguments = (*arguments, *division.shape, per_part, with_relu)
        self._launch_walk("gradient_sums", division, parts, dout.dtype, arguments)
        sums = tuple(self._channel_memory(dout, channels) for _ in range(2))
        count = dout.size // channels
        arguments = (partial, saved.scale, saved.factor, *sums, slope, offset, channels, parts, count)
        self._launch_second_step("gradient_sums_of_parts", dout.dtype, channels, arguments)
        dweight, dbias = (
            None if dtype is None else total.astype(dtype, copy=False)
            for total, dtype in zip(sums, saved.dtypes, strict=True)
        )
        return dweight, dbias

    def _normalization_gradient(self, saved: Kept, dout: Any, slope: Any, offset: Any, with_relu: bool) -> Any:
        dx, division = self.runtime.output_like(dout), divide(dout)
        parts, per_part = division.parts(BLOCKS_OF_MAPS)
        arguments: tuple[Any, ...] = (saved.x, dout, saved.mean, saved.factor, saved.bias, slope, offset, dx)
        arguments = (*arguments, *division.shape, per_part, with_relu)
        self._launch_walk("input_gradient", division, parts, dout.dtype, arguments)
        return dx

    def _launch_walk(self, kernel: str, division: Division, parts: int, dtype: Any, arguments: tuple[Any, ...]) -> None:
        grid, name = (division.columns, parts), f"batchnorm_{kernel}_{division.order}"
        self.launch(_file(kernel), name, dtype, grid, division.block, arguments)

    def _launch_second_step(self, kernel: str, dtype: Any, channels: int, arguments: tuple[Any, ...]) -> None:
        grid, block = -(-channels // CHANNELS_OF_SECOND_STEP), (WARP, CHANNELS_OF_SECOND_STEP)
        self.launch(_file(kernel), f"batchnorm_{kernel}", dtype, grid, block, arguments)

    def _channel_memory(self, x: Any, *shape: int) -> Any:
        """Memory for sums or statistics of x."""
        return self.runtime.output(shape, accumulator(x.dtype))


def _wide(xp: Any, values: Any, x: Any) -> Any:
    """(C) in the accumulator's dtype of x."""
    return None if values is None else xp.ascontiguousarray(values.astype(accumulator(x.dtype), copy=False))


def _in_order(xp: Any, x: Any) -> Any:
    """x in an order of memory that the kernels go through: its own, or else N, C, ..."""
    return x if is_channels_last(x) else xp.ascontiguousarray(x)


def _in_order_of(xp: Any, x: Any, dout: Any) -> Any:
    """dout in memory as x is."""
    if is_dense(dout) and same_order(x, dout):
        return dout
    if divide(x).order == "planes":
        return xp.ascontiguousarray(dout)
    return channels_first(xp, channels_last(xp, dout))


def _file(kernel: str) -> str:
    return "batchnorm_backward" if "gradient" in kernel else "batchnorm"


def _has_kernel(x: Any) -> bool:
    return is_served(x.dtype) and x.size > 0


def _dtypes(weight: Any, bias: Any) -> tuple[Any, Any]:
    return None if weight is None else weight.dtype, None if bias is None else bias.dtype
