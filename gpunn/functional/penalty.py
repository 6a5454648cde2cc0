"""Penalties: terms that are added to a loss and make a network prefer simpler weights or activations.

    loss = F.cross_entropy(net(x), labels) + 1e-3 * F.l2_penalty(net.parameters())

Each is a sum in one number, so that its strength does not change with the number of layers. Source: I. Goodfellow, Y. Bengio and
A. Courville, "Deep Learning", 2016, sections 7.1 (L2, L1), 7.9 (distance to given values, tying) and 7.10 (sparse
representations).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..mixed_precision import in_float32
from ..tensor import Tensor


def l2_penalty(tensors: Tensor | Iterable[Tensor]) -> Tensor:
    """1/2 sum of w^2 over all elements of all tensors; its gradient is w.

    ``strength * l2_penalty(...)`` in the loss is the option ``weight_decay=strength`` of SGD, with and without momentum: both
    add strength * w to the gradient. It is that of `optim.Adam` too, but not that of `optim.AdamW`, which takes
    lr * weight_decay * w from the weights beside a step that does not know of it (I. Loshchilov and F. Hutter, "Decoupled weight
    decay regularization", ICLR 2019).

    Raises:
        ValueError: there are no tensors.
        TypeError: something else than tensors.
    """
    return _total("l2_penalty", [(w * w).sum() for w in _listed("l2_penalty", tensors)]) * 0.5


def l1_penalty(tensors: Tensor | Iterable[Tensor]) -> Tensor:
    """Sum of |w| over all elements of all tensors; its subgradient is sign(w), and 0 at 0.

    It draws small weights to 0 as hard as large ones. (Sub)gradient descent makes them small, of the size of lr * strength; it
    seldom makes them exactly 0.

    Raises:
        ValueError: there are no tensors.
        TypeError: something else than tensors.
    """
    return _total("l1_penalty", [w.abs().sum() for w in _listed("l1_penalty", tensors)])


def distance_penalty(tensors: Tensor | Iterable[Tensor], targets: Any) -> Tensor:
    """1/2 sum of (w - w0)^2: keeps weights near given ones w0, those of a network trained before, say; its gradient is w - w0.

    Args:
        tensors: a tensor, or several.
        targets: for each of them an array or tensor w0 of its shape; nothing is learned of it.

    Raises:
        ValueError: there are no tensors, not as many targets, or one of another shape.
    """
    listed = _listed("distance_penalty", tensors)
    wanted = [targets] if isinstance(tensors, Tensor) or not hasattr(targets, "__iter__") else list(targets)
    if len(wanted) != len(listed):
        raise ValueError(f"distance_penalty: expected a target for each of {len(listed)} tensors, got {len(wanted)}")
    return l2_penalty(
        [_difference("distance_penalty", w, _constant(w, w0)) for w, w0 in zip(listed, wanted, strict=True)]
    )


def tying_penalty(first: Tensor, second: Tensor) -> Tensor:
    """1/2 sum of (a - b)^2: draws two tensors of one shape to each other; the gradients are a - b and b - a.

    Weights that shall be equal altogether are one `nn.Parameter` used twice.

    Raises:
        ValueError: the shapes differ.
    """
    return l2_penalty(_difference("tying_penalty", *_listed("tying_penalty", (first, second))))


@in_float32
def sparsity_penalty(activations: Tensor) -> Tensor:
    """1/n sum of |h| over the activations h (n, ...) of a batch of n examples: few units should answer to any one example.

    Raises:
        ValueError: the batch is empty.
    """
    if activations.ndim == 0 or activations.shape[0] == 0:
        raise ValueError(
            f"sparsity_penalty: expected activations (n, ...) of n >= 1 examples, got shape {activations.shape}"
        )
    return activations.abs().sum() / activations.shape[0]


def _listed(name: str, tensors: Tensor | Iterable[Tensor]) -> list[Tensor]:
    listed = list(tensors) if isinstance(tensors, Iterable) and not isinstance(tensors, Tensor) else [tensors]
    for given in listed:
        if not isinstance(given, Tensor):
            raise TypeError(f"{name}: expected Tensors, got {type(given).__name__}; use gpunn.tensor")
    return listed


def _total(name: str, terms: Sequence[Tensor]) -> Tensor:
    if not terms:
        raise ValueError(f"{name}: expected at least one tensor, got none; give it net.parameters()")
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def _constant(like: Tensor, values: Any) -> Tensor:
    target = values.detach() if isinstance(values, Tensor) else Tensor(like.backend.asarray(values), like.backend)
    return target.to(dtype=like.dtype)


def _difference(name: str, first: Tensor, second: Tensor) -> Tensor:
    """Their difference; ValueError where the shapes differ (they would broadcast silently)."""
    if first.shape != second.shape:
        raise ValueError(f"{name}: expected two tensors of one shape, got {first.shape} and {second.shape}")
    return first - second
