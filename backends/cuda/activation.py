"""Activation functions as kernels.

Two kinds of kernel carry the same functions (kernels/activation_functions.cuh). How to choose: memory in one piece goes to
activation.cu, whose threads move 16 bytes at a time; a view with gaps goes to an ElementwiseKernel, which reads any
strides where they lie, as a copy beforehand would cost more than it does.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from ..reference.activation import Activations
from .layout import BLOCK, blocks_for, is_dense, same_order
from .program import accumulator, is_served, text_of
from .runtime import Runtime

# To compute in float for half precision, whatever the type letter T stands for.
WIDE = """
template <typename T> struct Wide { typedef float type; };
template <> struct Wide<double> { typedef double type; };
"""


class KernelActivations(Activations):
    runtime: Runtime
    launch: Any

    def relu(self, x: Any) -> tuple[Any, Any]:
        if not is_served(x.dtype):
            return super().relu(x)
        out = self._map("relu", x)
        return out, out

    def relu_backward(self, out: Any, dout: Any) -> tuple[Any, ...]:
        return (self._map_gradient("relu", out, dout),)

    def leaky_relu(self, x: Any, slope: float = 0.01) -> tuple[Any, Any]:
        if not is_served(x.dtype):
            return super().leaky_relu(x, slope)
        return self._map("leaky_relu", x, slope), (x, slope)

    def leaky_relu_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        return (self._map_gradient("leaky_relu", saved[0], dout, saved[1]),)

    def elu(self, x: Any, alpha: float = 1.0) -> tuple[Any, Any]:
        return self._map("elu", x, alpha), (x, alpha)

    def elu_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        return (self._map_gradient("elu", saved[0], dout, saved[1]),)

    def sigmoid(self, x: Any) -> tuple[Any, Any]:
        out = self._map("sigmoid", x)
        return out, out

    def sigmoid_backward(self, out: Any, dout: Any) -> tuple[Any, ...]:
        return (self._map_gradient("sigmoid", out, dout),)

    def tanh(self, x: Any) -> tuple[Any, Any]:
        out = self._map("tanh", x)
        return out, out

    def tanh_backward(self, out: Any, dout: Any) -> tuple[Any, ...]:
        return (self._map_gradient("tanh", out, dout),)

    def softplus(self, x: Any, beta: float = 1.0, threshold: float = 20.0) -> tuple[Any, Any]:
        return self._map("softplus", x, beta, threshold), (x, beta, threshold)

    def softplus_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        x, beta, threshold = saved
        return (self._map_gradient("softplus", x, dout, beta, threshold),)

    def prelu(self, x: Any, weight: Any) -> tuple[Any, Any]:
        out = self.runtime.output_like(x)
        if x.size:
            self._prelu_forward(x, self._by_channel(weight, x.ndim), out)
        return out, (x, weight)

    def prelu_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        x, weight = saved
        dx = self.runtime.output_like(dout)
        if not dout.size:
            return dx, self.xp.zeros(weight.shape, weight.dtype)
        self._prelu_backward(x, self._by_channel(weight, x.ndim), dout, dx)
        others = tuple(i for i in range(x.ndim) if i != 1) if weight.size > 1 else tuple(range(x.ndim))
        total = self.xp.empty(weight.size if weight.size > 1 else (), accumulator(x.dtype))
        self._prelu_weight_gradient(x, dout, total, axis=others)
        return dx, total.reshape(weight.shape).astype(weight.dtype)

    # The slope of PReLU is one a channel, and its gradient a sum a channel: an ElementwiseKernel broadcasts and a
    # ReductionKernel reduces over any axes by themselves, which a kernel of ours would have to be taught. Mind that a
    # ReductionKernel adds up in the type of its output: A is wider than T for half precision.

    @cached_property
    def _prelu_forward(self) -> Any:
        operation = "typedef typename Wide<T>::type W; out = (T)leaky_relu((W)x, (W)slope)"
        return self.runtime.elementwise("T x, T slope", "T out", operation, "gpunn_prelu_forward", self._preamble)

    @cached_property
    def _prelu_backward(self) -> Any:
        operation = "typedef typename Wide<T>::type W; dx = (T)leaky_relu_slope((W)x, (W)dout, (W)slope)"
        parameters = "T x, T slope, T dout", "T dx"
        return self.runtime.elementwise(*parameters, operation, "gpunn_prelu_backward", self._preamble)

    @cached_property
    def _prelu_weight_gradient(self) -> Any:
        return self.runtime.reduction(
            "T x, T dout",
            "A total",
            "(A)x <= A(0) ? (A)x * (A)dout : A(0)",
            "a + b",
            "total = a",
            "0",
            "gpunn_prelu_weight_gradient",
        )

    def _map(self, function: str, x: Any, *constants: float) -> Any:
        """``function`` of each element of x."""
        out = self.runtime.output_like(x)
        if is_dense(x) and same_order(x, out):
            threads = -(-x.size * x.itemsize // 16)  # one for each pack
            arguments = (x, out, *constants, x.size)
            self.launch("activation", f"{function}_forward", x.dtype, blocks_for(threads), BLOCK, arguments)
        elif x.size:
            self._strided(function, "x", len(constants))(x, *constants, out)
        return out

    def _map_gradient(self, function: str, kept: Any, dout: Any, *constants: float) -> Any:
        """The gradient of ``function``; ``kept`` is its result or its input, whichever its slope is told from."""
        dx = self.runtime.output_like(dout)
        if is_dense(kept) and is_dense(dout) and same_order(kept, dout) and same_order(dout, dx):
            threads = -(-dout.size * dout.itemsize // 16)
            arguments = (kept, dout, dx, *constants, dout.size)
            self.launch("activation", f"{function}_backward", dout.dtype, blocks_for(threads), BLOCK, arguments)
        elif dout.size:
            self._strided(f"{function}_slope", "x dout", len(constants))(kept, dout, *constants, dx)
        return dx

    def _strided(self, function: str, arrays: str, constants: int) -> Any:
        """An ElementwiseKernel for views with gaps: ``function`` of the named arrays and of some constants."""
        if (function, constants) not in self._elementwise:
            named = [f"c{i}" for i in range(constants)]
            operands = ", ".join([f"(W){name}" for name in (*arrays.split(), *named)])
            self._elementwise[function, constants] = self.runtime.elementwise(
                ", ".join([*(f"T {name}" for name in arrays.split()), *(f"float64 {name}" for name in named)]),
                "T out",
                f"typedef typename Wide<T>::type W; out = (T){function}({operands})",
                f"gpunn_{function}_strided",
                preamble=self._preamble,
            )
        return self._elementwise[function, constants]

    @cached_property
    def _elementwise(self) -> dict[tuple[str, int], Any]:
        return {}

    @cached_property
    def _preamble(self) -> str:
        return WIDE + text_of("activation_functions.cuh")
