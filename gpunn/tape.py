"""The tape: which operation made each tensor, and the walk back along it (reverse-mode differentiation).

Every operation whose inputs require gradients leaves a `Node`. `backward` visits the nodes that led to a result, the
newest first, so that a node is reached when all gradients of its output have been summed, and hands each node's gradient
on to its inputs. Source: A. Griewank and A. Walther, "Evaluating Derivatives", 2nd edition 2008, chapter 3.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_orders = itertools.count()
_mode = threading.local()


class Node:
    """One operation that was carried out.

    Attributes:
        name: of the operation, as the backend calls it.
        inputs: the tensors it was given, None for whatever gets no gradient.
        backward: gradient of the output (an array) -> gradients of the inputs (arrays or None); None once it was used.
        order: counts up in the order of execution.
    """

    __slots__ = ("backward", "inputs", "name", "order")

    def __init__(self, name: str, inputs: tuple[Any, ...], backward: Callable[[Any], tuple[Any, ...]]) -> None:
        self.name = name
        self.inputs = inputs
        self.backward: Callable[[Any], tuple[Any, ...]] | None = backward
        self.order = next(_orders)

    def __repr__(self) -> str:
        return f"<Node {self.order}: {self.name}>"


def is_grad_enabled() -> bool:
    """True while operations are being written on the tape (the default; the mode belongs to the thread)."""
    return getattr(_mode, "enabled", True)


@contextmanager
def set_grad_enabled(enabled: bool) -> Iterator[None]:
    """Within the block (or the decorated function), write on the tape or do not."""
    before = is_grad_enabled()
    _mode.enabled = enabled
    try:
        yield
    finally:
        _mode.enabled = before


def no_grad() -> Any:
    """Within the block (or the decorated function), nothing is written on the tape and nothing is kept for backward."""
    return set_grad_enabled(False)


def enable_grad() -> Any:
    """Undo an outer `no_grad` within the block (or the decorated function)."""
    return set_grad_enabled(True)


def backward(root: Node, gradient: Any, retain_graph: bool = False) -> None:
    """Add d(root's output)/d(leaf), weighted with ``gradient``, to ``.grad`` of every leaf that led to it.

    Unless ``retain_graph``, each node lets go of what it saved as soon as it has been used.
    """
    gradients = {root: gradient}
    for node in _newest_first(root):
        dout = gradients.pop(node, None)
        if dout is None:  # no gradient reached it: the operations behind it passed none on
            continue
        if node.backward is None:
            raise RuntimeError(
                f"backward: the graph behind '{node.name}' was used already; call backward(retain_graph=True) the first time"
            )
        grads = node.backward(dout)
        for tensor, grad in zip(node.inputs, grads, strict=True):
            if tensor is None or grad is None or not tensor.requires_grad:
                continue
            if grad.dtype != tensor.data.dtype:
                grad = grad.astype(tensor.data.dtype)
            if tensor.node is None:
                tensor.accumulate_grad(grad, shared_with=dout)
            elif tensor.node in gradients:
                gradients[tensor.node] = gradients[tensor.node] + grad
            else:
                gradients[tensor.node] = grad
        if not retain_graph:
            node.backward = None


def _newest_first(root: Node) -> list[Node]:
    found, waiting = {root}, [root]
    while waiting:
        for tensor in waiting.pop().inputs:
            if tensor is not None and tensor.node is not None and tensor.node not in found:
                found.add(tensor.node)
                waiting.append(tensor.node)
    return sorted(found, key=lambda node: node.order, reverse=True)
