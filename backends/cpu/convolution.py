"""Convolution on the CPU: a choice of algorithms, half precision, groups, and im2col with a matrix product.

Backward gathers the windows again, which costs less than to keep nine copies of each activation in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..geometry import Pair, effective_kernel, output_size
from ..reference.convolution import Convolution, Needs
from ..reference.reduction import accumulator
from . import batch_last, direct, implicit, toeplitz, winograd, winograd_by_blas
from .algorithms import allowed_algorithms, choose, choose_by_blas
from .compiled import is_available
from .compiled.windows import sum_rows
from .layout import channels_first, channels_last
from .normalization import pieces
from .threads import for_each, for_each_product, slices
from .windows import Windows

PARTIAL_SUMS = 4  # of the weights' gradient: enough to share among a few threads, few enough to keep in memory
# Algorithms that do the work of a ReLU as well.
RECTIFYING = ("batch last", "implicit", "toeplitz", "winograd 4", "winograd 6", "winograd 8")
MANY_GROUPS = 8  # from here on the einsum of the reference is quicker than a product a group


class _Convolved(NamedTuple):
    """What backward needs of a convolution with the channels last; ``out`` where it went through a ReLU."""

    algorithm: str
    x: Any  # (N, H, W, C)
    weight: Any  # (O, KH, KW, C)
    out: Any  # (N, OH, OW, O) or None
    has_bias: bool
    stride: Pair
    padding: Pair
    dilation: Pair


class ChannelsLastConvolution(Convolution):
    relu_backward: Callable[..., Any]

    def zero_filters(self, shape: tuple[int, ...], dtype: Any) -> Any:
        out, channels, *kernel = shape
        return channels_first(np.zeros((out, *kernel, channels), dtype))

    def conv2d(
        self,
        x: Any,
        weight: Any,
        bias: Any,
        stride: Pair = (1, 1),
        padding: Pair = (0, 0),
        dilation: Pair = (1, 1),
        groups: int = 1,
    ) -> tuple[Any, Any]:
        if accumulator(x.dtype) != x.dtype:  # half precision is added up in float32, which also is what BLAS has
            wide_x, wide_weight, wide_bias = (
                v if v is None else v.astype(accumulator(x.dtype)) for v in (x, weight, bias)
            )
            out, saved = self.conv2d(wide_x, wide_weight, wide_bias, stride, padding, dilation, groups)
            return out.astype(x.dtype), ("half", saved)
        if groups > MANY_GROUPS or _is_empty(x, weight, stride, padding, dilation):
            out, saved = super().conv2d(x, weight, bias, stride, padding, dilation, groups)
            return out, ("reference", saved)
        if groups > 1:
            return self._grouped(x, weight, bias, stride, padding, dilation, groups)
        algorithm = self._algorithm(x, weight, bias, stride, padding, dilation)
        if algorithm in RECTIFYING:
            return _convolve(algorithm, x, weight, bias, stride, padding, dilation, rectify=False)
        saved = (algorithm, x, weight, bias is not None, stride, padding, dilation)
        if algorithm == "direct":
            return channels_first(direct.convolve(x, weight, bias, padding)), saved
        windows = Windows(x, weight.shape[2:], stride, padding, dilation)
        matrix = windows.weight_matrix(weight)
        out = np.empty((x.shape[0], *windows.out_size, weight.shape[0]), np.result_type(x, weight))

        def multiply(part: slice) -> None:
            rows = out[part].reshape(-1, weight.shape[0])
            np.matmul(windows.gather(part), matrix.T, out=rows)
            if bias is not None:
                rows += bias

        for_each_product(multiply, windows.parts())
        return channels_first(out), saved

    def conv2d_relu(
        self,
        x: Any,
        weight: Any,
        bias: Any,
        stride: Pair = (1, 1),
        padding: Pair = (0, 0),
        dilation: Pair = (1, 1),
        groups: int = 1,
    ) -> tuple[Any, Any]:
        if groups == 1 and not _is_empty(x, weight, stride, padding, dilation):
            algorithm = self._algorithm(x, weight, bias, stride, padding, dilation)
            if algorithm in RECTIFYING:
                return _convolve(algorithm, x, weight, bias, stride, padding, dilation, rectify=True)
        return super().conv2d_relu(x, weight, bias, stride, padding, dilation, groups)

    def _algorithm(self, x: Any, weight: Any, bias: Any, stride: Pair, padding: Pair, dilation: Pair) -> str:
        """What `choose` says, or `choose_by_blas`, where all operands have one dtype."""
        if weight.dtype != x.dtype or (bias is not None and bias.dtype != x.dtype):
            return "im2col"
        decide = choose if is_available() else choose_by_blas
        return decide(x.shape, weight.shape, stride, padding, dilation, x.dtype, allowed_algorithms())

    def conv2d_backward(self, saved: Any, dout: Any, needs: Needs = (True, True, True)) -> tuple[Any, ...]:
        if isinstance(saved, (batch_last.Saved, _Convolved)):
            return self._differentiate(saved, dout, needs)
        kind, *rest = saved
        if kind == "reference":
            return super().conv2d_backward(rest[0], dout, needs)
        if kind == "half":
            gradients = self.conv2d_backward(rest[0], dout.astype(accumulator(dout.dtype)), needs)
            return tuple(None if g is None else g.astype(dout.dtype) for g in gradients)
        if kind == "groups":
            return self._grouped_backward(rest[0], dout, needs)
        x, weight, has_bias, stride, padding, dilation = rest
        grad_out = channels_last(dout.astype(np.result_type(x, weight), copy=False))
        windows = Windows(x, weight.shape[2:], stride, padding, dilation)
        grad_weight = None
        # It also multiplies pixels by the zeros with which it fills rows up.
        if needs[1] and kind == "direct" and np.isfinite(np.vdot(x, x)):
            grad_weight = direct.weight_gradient(x, grad_out, weight.shape, padding)
        elif needs[1]:
            grad_weight = self._weight_gradient(windows, weight, grad_out)
        return (
            self._input_gradient(windows, weight, grad_out) if needs[0] else None,
            grad_weight,
            _bias_gradient(grad_out) if has_bias and needs[2] else None,
        )

    def conv2d_relu_backward(self, saved: Any, dout: Any, needs: Needs = (True, True, True)) -> tuple[Any, ...]:
        if isinstance(saved, (batch_last.Saved, _Convolved)):
            return self._differentiate(saved, dout, needs)
        return super().conv2d_relu_backward(saved, dout, needs)

    def _differentiate(self, saved: _Convolved | batch_last.Saved, dout: Any, needs: Needs) -> tuple[Any, ...]:
        """Backward of what `_convolve` did."""
        if isinstance(saved, batch_last.Saved):
            return batch_last.gradients(saved, dout, needs)
        grad_out, x, weight = channels_last(dout.astype(np.float32, copy=False)), saved.x, saved.weight
        wants_bias = saved.has_bias and needs[2]
        if saved.algorithm.startswith("winograd"):
            size = int(saved.algorithm.split()[1])
            wanted = needs[0], needs[1], wants_bias
            differentiate = (winograd if is_available() else winograd_by_blas).differentiate
            found = differentiate(x, weight, grad_out, saved.out, saved.padding, size, *wanted)
            return _first(found.x), _first(found.weight), found.bias
        if saved.algorithm == "toeplitz":
            found = toeplitz.differentiate(x, weight, grad_out, saved.out, needs[0], needs[1], wants_bias)
            return _first(found.x), _first(found.weight), found.bias
        out, window = saved.out, (saved.stride, saved.padding, saved.dilation)
        if needs[0] and out is not None:  # both gradients take what got through the ReLU
            grad_out, out = channels_last(self.relu_backward(channels_first(out), channels_first(grad_out))[0]), None
        grad_x = grad_weight = grad_bias = None
        if needs[0]:
            grad_x = implicit.input_gradient(grad_out, weight, x.shape, *window)
        if needs[1] or wants_bias:
            grad_weight, grad_bias = implicit.filter_gradient(
                x, grad_out, out, weight.shape[1:3], *window, of_weight=needs[1], of_bias=wants_bias
            )
        return _first(grad_x), _first(grad_weight), grad_bias

    def _weight_gradient(self, windows: Windows, weight: Any, grad_out: Any) -> Any:
        parts = windows.parts()

        def add_up(some: slice) -> Any:
            total = None
            for part in parts[some]:
                product = grad_out[part].reshape(-1, weight.shape[0]).T @ windows.gather(part)
                total = product if total is None else np.add(total, product, out=total)
            return total

        sums = for_each_product(add_up, slices(len(parts), -(-len(parts) // PARTIAL_SUMS)))
        for partial in sums[1:]:
            sums[0] += partial
        return windows.weight_from_matrix(sums[0], weight.shape)

    def _input_gradient(self, windows: Windows, weight: Any, grad_out: Any) -> Any:
        """With stride 1 it is the convolution of the output's gradient with the flipped filters, else a scatter.

        A compiled scatter is also taken where the input has fewer channels than the output, and so the fewer sums.
        """
        extent = effective_kernel(windows.kernel, windows.dilation)
        around = (extent[0] - 1 - windows.padding[0], extent[1] - 1 - windows.padding[1])
        scattered = is_available() and not windows.by_place and 2 * weight.shape[1] <= weight.shape[0]
        if windows.stride == (1, 1) and min(around) >= 0 and not scattered:
            flipped = weight.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1]
            return self.conv2d(channels_first(grad_out), flipped, None, (1, 1), around, windows.dilation)[0]
        matrix = windows.weight_matrix(weight)
        grad_x = windows.zero_gradient()

        def scatter(part: slice) -> None:
            windows.scatter(grad_out[part].reshape(-1, weight.shape[0]), matrix, grad_x[part])

        for_each_product(scatter, windows.parts())
        return windows.unpadded(grad_x)

    def _grouped(
        self, x: Any, weight: Any, bias: Any, stride: Pair, padding: Pair, dilation: Pair, groups: int
    ) -> tuple[Any, Any]:
        parts = zip(
            np.split(x, groups, axis=1),
            np.split(weight, groups),
            [None] * groups if bias is None else np.split(bias, groups),
            strict=True,
        )
        results = [self.conv2d(*part, stride, padding, dilation) for part in parts]
        out = np.concatenate([out.transpose(0, 2, 3, 1) for out, _ in results], axis=3)
        return channels_first(out), ("groups", [saved for _, saved in results])

    def _grouped_backward(self, saved: Any, dout: Any, needs: Needs) -> tuple[Any, ...]:
        parts = [
            self.conv2d_backward(one, gradient, needs)
            for one, gradient in zip(saved, np.split(dout, len(saved), axis=1), strict=True)
        ]
        grads_x, grads_weight, grads_bias = zip(*parts, strict=True)
        return (
            channels_first(np.concatenate([g.transpose(0, 2, 3, 1) for g in grads_x], axis=3)) if needs[0] else None,
            np.concatenate(grads_weight) if needs[1] else None,
            None if grads_bias[0] is None else np.concatenate(grads_bias),
        )


def _is_empty(x: Any, weight: Any, stride: Pair, padding: Pair, dilation: Pair) -> bool:
    """Whether an operand or the result has no element (or would have less than none, which is an error)."""
    size = output_size(x.shape[2:], weight.shape[2:], stride, padding, dilation)
    return x.size == 0 or weight.size == 0 or min(size) <= 0


def _convolve(
    algorithm: str, x: Any, weight: Any, bias: Any, stride: Pair, padding: Pair, dilation: Pair, rectify: bool
) -> tuple[Any, _Convolved | batch_last.Saved]:
    """By one of the algorithms in `RECTIFYING`: the result and what `_differentiate` needs."""
    if algorithm == "batch last":
        return batch_last.convolve(x, weight, bias, padding, rectify)
    rows, filters = channels_last(x), channels_last(weight)
    if algorithm == "implicit":
        out = implicit.convolve(rows, filters, bias, stride, padding, dilation, rectify)
    elif algorithm == "toeplitz":
        out = toeplitz.convolve(rows, filters, bias, rectify)
    else:
        convolve = (winograd if is_available() else winograd_by_blas).convolve
        out = convolve(rows, filters, bias, padding, int(algorithm.split()[1]), rectify)
    kept = out if rectify else None
    return channels_first(out), _Convolved(algorithm, rows, filters, kept, bias is not None, stride, padding, dilation)


def _first(gradient: Any) -> Any:
    return None if gradient is None else channels_first(gradient)


def _bias_gradient(grad_out: Any) -> Any:
    """The sums of (N, OH, OW, O) over all but its last axis, in the order that `bias_relu_backward` takes too."""
    rows = grad_out.reshape(-1, grad_out.shape[3])
    if not is_available() or len(rows) == 0:
        return rows.sum(axis=0)

    def add_up(part: slice) -> Any:
        total = np.zeros(rows.shape[1], rows.dtype)
        sum_rows(rows[part], total)
        return total

    return np.sum(for_each(add_up, pieces(rows)), axis=0)
