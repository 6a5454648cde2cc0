"""How large the terms are of what one operation adds and subtracts: they may cancel, and their errors stay.

Where the result is a sum of products, the root of the sum of the squared terms is a fair measure, and the same primitive gives it
for the squared inputs. For the others it is written down below, from the formula of the operation.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from backends import Backend

from .trace import Backward, Call, widened

# Sums of products of their inputs, or sums.
SUMS = frozenset({"linear", "matmul", "conv2d", "sum", "mean", "avg_pool2d", "adaptive_avg_pool2d", "trace"})
# Gradients that are sums of elements of dout, whatever the values of the inputs.
SCATTERING = frozenset({"getitem", "max_pool2d", "max_pool2d_with_indices"})
# Element by element, with broadcasting: the gradient of an operand that was repeated is a sum.
BROADCASTING = frozenset({"add", "sub", "mul", "div", "pow", "maximum", "minimum", "where", "expand", "binary_cross_entropy",
                          "binary_cross_entropy_with_logits"})  # fmt: skip


def of_results(oracle: Backend, call: Call) -> list[float]:
    """One for each of the results of ``call``; 0 where nothing cancels."""
    count = len(call.outputs)
    if call.name in SUMS:
        out, _ = getattr(oracle, call.name)(*_squares(call), **call.options)
        return [_root(out)] * count
    if call.name == "batch_norm":
        return _batch_norm(call)[0]
    if call.name == "batch_norm_inference":
        x, _, bias, mean = call.exact[:4]
        factor = _factor(call, call.exact[4])[1]
        return [max(_largest(_by_channel(x) * factor), _largest(mean * factor), _largest(bias))]
    if call.name in ("log_softmax", "softmax"):
        return [1.0]  # log(sum exp(x - max)): the sum is 1 and more
    if call.name == "logsumexp":
        return [max(1.0, _largest(call.exact[0]))]
    if call.name in ("cross_entropy", "soft_cross_entropy"):
        return [max(1.0, _largest(call.exact[2] if len(call.exact) > 2 else None))]  # log(sum) again, times the weights
    if call.name in ("inverse", "logdet"):
        return [_condition(call) * (_largest(call.outputs[0]) if call.name == "inverse" else 1.0)]
    return [0.0] * count


def of_gradients(oracle: Backend, call: Call, back: Backward) -> list[float]:
    """One for each of the inputs, as far as something may cancel."""
    dout, gradients, needs = widened(back.dout), back.exact, back.needs
    largest = _largest(dout)
    backward = getattr(oracle, f"{call.name}_backward")
    if call.name in SUMS:
        _, saved = getattr(oracle, call.name)(*_squares(call), **call.options)
        return [0.0 if g is None else _root(g) for g in backward(saved, dout * dout, *needs)]
    if call.name in SCATTERING:
        return [0.0 if g is None else _root(g) for g in backward(call.saved, dout * dout)]
    if call.name in BROADCASTING and any(g is not None and g.size < dout.size for g in gradients):
        return _repeated(oracle, call, dout, gradients)
    if call.name == "batch_norm":
        return _batch_norm(call, dout)[1]
    if call.name == "batch_norm_inference":
        x, mean = call.exact[0], call.exact[3]
        scale, factor = _factor(call, call.exact[4])
        total = np.sqrt((_by_channel(dout) ** 2).sum(axis=0))
        reach = (np.abs(_by_channel(x)).max(axis=0, initial=0.0) + np.abs(mean)) * scale
        return [largest * _largest(factor), _largest(reach * total), _largest(total)]
    if call.name in ("sigmoid", "tanh", "softmax"):
        return [largest]  # 1 - out, and dout less its mean
    if call.name == "log_softmax":
        return [_root((dout * dout).sum(axis=call.options["axis"]))]
    if call.name == "logsumexp":
        return [largest * max(1.0, _largest(call.outputs[0]))]  # exp(x - out) is as wrong as out is
    if call.name in ("cross_entropy", "soft_cross_entropy"):
        return [largest * _share_of_a_row(call)] * 2
    if call.name in ("binary_cross_entropy", "binary_cross_entropy_with_logits"):
        return [largest * max(1.0, *(_largest(x) for x in call.exact[1:] if isinstance(x, np.ndarray)))] * 2
    if call.name == "prelu":
        x = call.exact[0]
        return [0.0, math.sqrt(float((np.where(x <= 0, x * dout, 0.0) ** 2).sum()))]
    if call.name in ("inverse", "logdet"):
        inverse = np.linalg.inv(call.exact[0])
        return [_condition(call) * largest * _largest(inverse) ** (2 if call.name == "inverse" else 1)]
    return [0.0] * len(gradients)


def _largest(x: Any) -> float:
    """The largest magnitude of a number: infinity and NaN say nothing of how well the others can be computed."""
    if x is None:
        return 0.0
    magnitudes = np.abs(x)
    return float(magnitudes.max(initial=0.0, where=np.isfinite(magnitudes)))


def _root(x: Any) -> float:
    return math.sqrt(_largest(x))


def _squares(call: Call) -> list[Any]:
    return [x * x if isinstance(x, (np.ndarray, float, int)) else x for x in call.exact]


def _repeated(oracle: Backend, call: Call, dout: Any, gradients: tuple[Any, ...]) -> list[float]:
    """The operands are spread over the shape of the result, so that each term of their gradients stands by itself."""
    if call.name == "expand":
        terms: tuple[Any, ...] = (dout,)
    else:
        spread = [np.broadcast_to(x, dout.shape) if isinstance(x, np.ndarray) else x for x in call.exact]
        _, saved = getattr(oracle, call.name)(*spread, **call.options)
        terms = getattr(oracle, f"{call.name}_backward")(saved, dout)
    scales = []
    for gradient, term in zip(gradients, terms, strict=True):
        if gradient is None or term is None:
            scales.append(0.0)
            continue
        _, shapes = oracle.expand(gradient, shape=term.shape)
        scales.append(_root(oracle.expand_backward(shapes, term * term)[0]))
    return scales


def _by_channel(x: Any) -> Any:
    """(N, C, ...) as (N ..., C)."""
    return np.moveaxis(x, 1, -1).reshape(-1, x.shape[1])


def _factor(call: Call, variance: Any) -> tuple[Any, Any]:
    """1 / sqrt(variance + eps), and the same times the weight: (C), not negative."""
    scale = 1 / np.sqrt(variance + call.options.get("eps", 1e-5))
    return scale, scale if call.exact[1] is None else scale * np.abs(call.exact[1])


def _batch_norm(call: Call, dout: Any = None) -> tuple[list[float], list[float]]:
    """x - mean is as wrong as x is large, and is then multiplied by 1 / sqrt(variance + eps), which may be large."""
    x, (_, _, variance) = _by_channel(call.exact[0]), call.outputs
    scale, factor = _factor(call, variance)
    peak = np.abs(x).max(axis=0, initial=0.0)
    square = (x * x).mean(axis=0) if len(x) else np.zeros_like(peak)
    forward = [_largest(peak * factor) + _largest(call.exact[2]), _root(square), _largest(np.sqrt(variance * square))]
    if dout is None:
        return forward, []
    dy = _by_channel(dout)
    total = np.sqrt((dy * dy).sum(axis=0))
    typical = total / math.sqrt(max(len(dy), 1))
    reach = peak * scale
    return forward, [
        _largest(factor * (np.abs(dy).max(axis=0, initial=0.0) + reach * typical)),
        _largest(reach * total),
        _largest(total),
    ]


def _share_of_a_row(call: Call) -> float:
    """The weight that one row has in the loss: its gradient is this times p - t."""
    logits, targets = call.exact[:2]
    weight = call.exact[2] if len(call.exact) > 2 else None
    heaviest = max(_largest(weight), 0.0) if weight is not None else 1.0
    if call.options.get("reduction", "mean") != "mean":
        return heaviest
    if call.name == "soft_cross_entropy":
        return heaviest / max(len(logits), 1)
    counted = targets[targets != call.options.get("ignore_index", -100)]
    total = float(len(counted)) if weight is None else float(weight[counted].sum())
    return heaviest / total if total > 0 else 0.0


def _condition(call: Call) -> float:
    return float(np.max(np.linalg.cond(call.exact[0]), initial=1.0))
