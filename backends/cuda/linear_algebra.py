"""Matrix products by the runtime, which adds half precision up in float32; the linear layer's bias as a kernel."""

from __future__ import annotations

from typing import Any

from ..reference.linear_algebra import LinearAlgebra, Needs, as_matrix
from .program import is_served
from .runtime import Runtime


class KernelLinearAlgebra(LinearAlgebra):
    runtime: Runtime
    _add_bias_: Any
    _row_sums: Any

    def linear(self, x: Any, weight: Any, bias: Any) -> tuple[Any, Any]:
        if not is_served(x.dtype) or x.dtype != weight.dtype:
            return super().linear(x, weight, bias)
        out = self.xp.ascontiguousarray(self._product(x, weight.T))
        if bias is not None:
            self._add_bias_(as_matrix(out), bias)
        return out, (x, weight, bias is not None)

    def linear_backward(self, saved: Any, dout: Any, needs: Needs = (True, True, True)) -> tuple[Any, ...]:
        grad_x, grad_weight, grad_bias = super().linear_backward(saved, dout, (*needs[:2], False))
        if saved[2] and needs[2]:
            rows = self.xp.ascontiguousarray(as_matrix(dout))
            grad_bias = self._row_sums(rows) if is_served(rows.dtype) else rows.sum(axis=0)
        return grad_x, grad_weight, grad_bias

    def _product(self, a: Any, b: Any) -> Any:
        if a.dtype != b.dtype:
            return super()._product(a, b)
        if a.ndim > 2 and b.ndim == 2:  # one product; CuPy would copy b for each matrix of a
            return self.runtime.matmul(as_matrix(a), b).reshape(*a.shape[:-1], b.shape[-1])
        return self.runtime.matmul(a, b)
