"""Losses that need care at the ends of their range; the others are composed of gates in `gpunn.functional.loss`."""

from __future__ import annotations

from typing import Any

from .arithmetic import unbroadcast

LEAST_LOG = -100.0  # PyTorch's bound: log(0) counts as -100, so that the loss stays finite


class Losses:
    """binary_cross_entropy (from probabilities), binary_cross_entropy_with_logits; both element by element."""

    xp: Any

    def binary_cross_entropy(self, p: Any, target: Any) -> tuple[Any, Any]:
        """-(t log p + (1 - t) log(1 - p)), each logarithm at least -100."""
        xp = self.xp
        log_p, log_q = xp.log(p), xp.log1p(-p)
        log_p, log_q = xp.maximum(log_p, LEAST_LOG), xp.maximum(log_q, LEAST_LOG)
        return -(target * log_p + (1 - target) * log_q), (p, target, log_p, log_q)

    def binary_cross_entropy_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        """(p - t) / (p (1 - p)), the denominator at least 1e-12 (PyTorch's bound)."""
        p, target, log_p, log_q = saved
        spread = self.xp.maximum(p * (1 - p), 1e-12)
        return dout * (p - target) / spread, unbroadcast(dout * (log_q - log_p), target.shape)

    def binary_cross_entropy_with_logits(self, x: Any, target: Any, pos_weight: Any = None) -> tuple[Any, Any]:
        """(1 - t) x + w log(1 + exp(-x)) with w = 1 + (pos_weight - 1) t, written so that nothing overflows."""
        xp = self.xp
        softplus_minus = xp.maximum(-x, 0) + xp.log1p(xp.exp(-xp.abs(x)))  # log(1 + exp(-x))
        weight = 1 if pos_weight is None else 1 + (pos_weight - 1) * target
        return (1 - target) * x + weight * softplus_minus, (x, target, pos_weight, weight, softplus_minus)

    def binary_cross_entropy_with_logits_backward(self, saved: Any, dout: Any) -> tuple[Any, ...]:
        xp = self.xp
        x, target, pos_weight, weight, softplus_minus = saved
        small = xp.exp(-xp.abs(x))
        minus_sigmoid = xp.where(x >= 0, small, 1) / (1 + small)  # sigmoid(-x)
        grad_x = dout * ((1 - target) - weight * minus_sigmoid)
        grad_target = -x if pos_weight is None else -x + (pos_weight - 1) * softplus_minus
        return grad_x.astype(x.dtype, copy=False), unbroadcast(dout * grad_target, target.shape), None
