"""Softmax, log-softmax and cross-entropy as kernels, and the check of labels."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..reference.reduction import accumulator
from ..reference.softmax import Softmax
from .labels import LabelFlag
from .layout import blocks_for
from .program import is_served
from .runtime import Runtime

SHORT = 256  # elements of a row that a few lanes hold in registers: 32 lanes of 8, as in rows.cuh
SHORT_BLOCK = 128  # threads; a small block, so that a batch of a hundred rows reaches many processors
WARP = 32
PACK_BYTES = 16
# Of shared memory for rows that are kept there: what any GPU gives without being asked, less what the sums take.
MOST_KEPT_BYTES = 40 * 1024


class KernelSoftmax(Softmax):
    runtime: Runtime
    launch: Any
    label_flag: LabelFlag

    def softmax(self, x: Any, axis: int) -> tuple[Any, Any]:
        if not _has_rows(x, axis):
            return super().softmax(x, axis)
        out = self._along_rows("softmax_forward", False, axis, x)
        return out, (out, axis)

    def softmax_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        out, axis = saved
        if not _has_rows(out, axis) or dout.dtype != out.dtype:
            return super().softmax_backward(saved, dout)
        return (self._along_rows("softmax_backward", False, axis, out, dout),)

    def log_softmax(self, x: Any, axis: int) -> tuple[Any, Any]:
        if not _has_rows(x, axis):
            return super().log_softmax(x, axis)
        out = self._along_rows("softmax_forward", True, axis, x)
        return out, (out, axis)

    def log_softmax_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        out, axis = saved
        if not _has_rows(out, axis) or dout.dtype != out.dtype:
            return super().log_softmax_backward(saved, dout)
        return (self._along_rows("softmax_backward", True, axis, out, dout),)

    def _along_rows(self, kernel: str, logarithm: bool, axis: int, *inputs: Any) -> Any:
        """A kernel over the lines along ``axis``, which are rows if that axis comes last in memory.

        It does in channels-last images with ``axis`` 1, too. The other axes stay in the order of the first input's memory,
        so that only an input that does not lie so is copied.
        """
        x = inputs[0]
        axis %= x.ndim
        order = (*sorted((i for i in range(x.ndim) if i != axis), key=lambda i: -x.strides[i]), axis)
        rows = [self.xp.ascontiguousarray(array.transpose(order)) for array in inputs]
        out = self.runtime.output(rows[0].shape, x.dtype)
        length = x.shape[axis]
        size, grid, block, shared, keep = _shape_of_launch(x.size // length, length, x.itemsize, len(inputs))
        arguments = (*rows, out, x.size // length, length, int(logarithm), *keep)
        self.launch("softmax", f"{kernel}_{size}", x.dtype, grid, block, arguments, shared)
        return out.transpose([order.index(i) for i in range(x.ndim)])

    def cross_entropy(
        self,
        logits: Any,
        labels: Any,
        weight: Any = None,
        ignore_index: int = -100,
        label_smoothing: float = 0.0,
        reduction: str = "mean",
    ) -> tuple[Any, Any]:
        """A row with a wrong label counts as an ignored one here: its loss and gradient are 0, and the error comes anyway."""
        if not is_served(logits.dtype):
            loss, gradient = super().cross_entropy(logits, labels, weight, ignore_index, label_smoothing, reduction)
            return loss, (gradient, None)
        labels = self.xp.ascontiguousarray(labels.astype("int64", copy=False))
        targets = (labels, self._class_weight(weight, logits.dtype))
        return self._cross_entropy("cross_entropy", logits, targets, label_smoothing, reduction, ignore_index)

    def cross_entropy_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        gradient, divisor = saved
        return self._scaled_gradient(gradient, dout, divisor), None, None

    def soft_cross_entropy(
        self, logits: Any, targets: Any, weight: Any = None, label_smoothing: float = 0.0, reduction: str = "mean"
    ) -> tuple[Any, Any]:
        rows = logits.shape[0] if reduction == "mean" else None
        if not is_served(logits.dtype):
            loss, (gradient, *_) = super().soft_cross_entropy(logits, targets, weight, label_smoothing, reduction)
            return loss, (gradient, None, logits, weight, label_smoothing, rows)
        distributions = self.xp.ascontiguousarray(targets.astype(logits.dtype, copy=False))
        operands = (distributions, self._class_weight(weight, logits.dtype))
        loss, saved = self._cross_entropy("soft_cross_entropy", logits, operands, label_smoothing, reduction)
        return loss, (*saved, logits, weight, label_smoothing, rows)

    def soft_cross_entropy_backward(
        self, saved: Any, dout: Any, needs: tuple[bool, ...] = (True, True, False)
    ) -> tuple[Any, ...]:
        gradient, divisor, logits, weight, label_smoothing, rows = saved
        grad_targets = None
        if needs[1]:
            wide = accumulator(logits.dtype)
            per_row = self.xp.asarray(dout, dtype=wide)
            log_p, _ = self.log_softmax(logits.astype(wide, copy=False), 1)
            per_target = log_p * (per_row if per_row.ndim == 0 else per_row[:, None])
            per_target = per_target if weight is None else per_target * weight.astype(wide, copy=False)
            grad_targets = ((label_smoothing - 1) / (rows or 1) * per_target).astype(logits.dtype, copy=False)
        return self._scaled_gradient(gradient, dout, divisor), grad_targets, None

    def _cross_entropy(
        self,
        kind: str,
        logits: Any,
        targets: tuple[Any, ...],
        label_smoothing: float,
        reduction: str,
        ignore_index: int | None = None,
    ) -> tuple[Any, Any]:
        """The loss, and the gradient with what it has to be divided by: None, or a number on the device.

        Args:
            kind: "cross_entropy" for labels, "soft_cross_entropy" for distributions.
            targets: labels (N) or distributions (N, C), and the weight of each class.
            ignore_index: for labels.
        """
        runtime, dtype = self.runtime, logits.dtype
        rows, classes = logits.shape
        size, grid, block, shared, keep = _shape_of_launch(rows, classes, logits.itemsize, 1)
        gradient = runtime.output(logits.shape, dtype)
        losses = runtime.output((rows,), dtype) if reduction == "none" else None
        sums = runtime.output((2, grid), accumulator(dtype))
        first_wrong = flag = None
        results: tuple[Any, ...] = (gradient, losses, sums)
        options: tuple[Any, ...] = (rows, classes)
        if ignore_index is not None:
            first_wrong, flag = runtime.output((grid,), "int64"), self.label_flag.for_a_check()
            results, options = (*results, first_wrong), (*options, ignore_index)
        arguments = (self.xp.ascontiguousarray(logits), *targets, *results, *options, label_smoothing, *keep)
        self.launch("cross_entropy", f"{kind}_{size}", dtype, grid, block, arguments, shared)
        loss = runtime.output((), dtype) if losses is None else None
        divisor = runtime.output((), accumulator(dtype)) if reduction == "mean" else None
        if loss is not None or flag is not None:
            labels = None if ignore_index is None else targets[0]
            found = (sums, first_wrong, labels, loss, divisor, flag, grid, classes, ignore_index or 0)
            self.launch("cross_entropy", "cross_entropy_finish", dtype, 1, _whole_warps(grid, 256), found)
        return loss if losses is None else losses, (gradient, divisor)

    def _scaled_gradient(self, gradient: Any, dout: Any, divisor: Any) -> Any:
        """gradient * dout / divisor; dout is one number, or one a row."""
        dout = self.xp.asarray(dout, dtype=gradient.dtype)
        if dout.ndim:
            return gradient * dout[:, None]
        if not is_served(gradient.dtype):
            return gradient * dout
        dx = self.runtime.output(gradient.shape, gradient.dtype)
        blocks = blocks_for(-(-gradient.nbytes // PACK_BYTES))
        arguments = (gradient, dout, divisor, dx, gradient.size)
        self.launch("cross_entropy", "cross_entropy_scale", gradient.dtype, blocks, 256, arguments)
        return dx

    def _class_weight(self, weight: Any, dtype: Any) -> Any:
        """As the kernels read it: of the dtype they compute in."""
        return None if weight is None else self.xp.ascontiguousarray(weight.astype(accumulator(dtype), copy=False))

    def check_labels(self, labels: Any, classes: int, ignore_index: int | None) -> None:
        """Has the device look at the labels; what it finds is raised by the next `to_numpy`."""
        labels = self.xp.ascontiguousarray(labels.astype("int64", copy=False)).reshape(-1)
        if labels.size == 0:
            return
        ignored = (0, 0) if ignore_index is None else (1, ignore_index)
        arguments = (labels, self.label_flag.for_a_check(), labels.size, classes, *ignored)
        any_dtype = np.dtype("float32")  # labels are of one type
        self.launch("labels", "check_labels", any_dtype, 1, _whole_warps(labels.size, 1024), arguments)


def _has_rows(x: Any, axis: int) -> bool:
    """Whether there is a kernel for the dtype, and something to compute along that axis; array code knows what else to do."""
    return is_served(x.dtype) and x.size > 0 and -x.ndim <= axis < x.ndim


def _shape_of_launch(
    rows: int, length: int, itemsize: int, kept_rows: int
) -> tuple[str, int, int, int, tuple[int, ...]]:
    """How a kernel over rows is launched: short or long, grid, block, bytes of shared memory, and further arguments.

    ``kept_rows``: how many rows a block of the kernel for long rows keeps in shared memory, if there is room.
    """
    if length <= SHORT:
        per_pack = PACK_BYTES // itemsize
        pieces = length // per_pack if length % per_pack == 0 else length
        lanes = min(WARP, 1 << max(pieces - 1, 0).bit_length())
        return "short", blocks_for(rows * lanes, SHORT_BLOCK), SHORT_BLOCK, 0, ()
    size = length * itemsize
    block = 128 if size <= 8 * 1024 else 256 if size <= 32 * 1024 else 512  # each thread gets a few packs
    shared = kept_rows * size if kept_rows * size <= MOST_KEPT_BYTES else 0
    return "long", blocks_for(rows, 1), block, shared, (int(shared > 0),)


def _whole_warps(threads: int, most: int) -> int:
    """A block for so many threads, in whole warps: sums over a block need them."""
    return min(most, max(-(-threads // WARP), 1) * WARP)
