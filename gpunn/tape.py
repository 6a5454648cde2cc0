"""The tape: which operation made each tensor, and the walk back along it (reverse-mode differentiation).

Every operation whose inputs require gradients leaves a `Node`. `backward` visits the nodes that led to a result, the
newest first, so that a node is reached when all gradients of its output have been summed, and hands each node's gradient
on to its inputs. Source: A. Griewank and A. Walther, "Evaluating Derivatives", 2nd edition 2008, chapter 3.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from contextlib import ContextDecorator
from typing import Any

_orders = itertools.count()
_mode = threading.local()
# Their gradients do not depend on the values of the inputs, which may therefore be written to.
KEEPS_NO_VALUES = frozenset(
    {"add", "sub", "neg", "sum", "mean", "reshape", "permute", "expand", "getitem", "cat", "pad", "cast", "clone", "to"}
    | {"trace"}
)
# The result may lie in the memory of the first input.
VIEWS = frozenset({"reshape", "permute", "expand", "getitem", "cast", "to"})


class Version:
    """Counts how often a piece of memory was written to; all tensors that are views of it share one."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class Node:
    """One operation that was carried out.

    Attributes:
        name: of the operation, as the backend calls it.
        inputs: the tensors it was given, None for whatever gets no gradient.
        operands: the same with the plain numbers in their places; `Tensor.graph` shows them.
        backward: gradient of the output (an array) -> gradients of the inputs (arrays or None); None once it was used.
        order: counts up in the order of execution.
        watched: (version cell, version then) of inputs and output, to notice when one is written to before its backward.
    """

    __slots__ = ("backward", "inputs", "name", "operands", "order", "watched")

    def __init__(
        self,
        name: str,
        inputs: tuple[Any, ...],
        backward: Callable[[Any], tuple[Any, ...]],
        output: Any,
        operands: tuple[Any, ...] = (),
    ) -> None:
        self.name = name
        self.inputs = inputs
        self.operands = operands
        self.backward: Callable[[Any], tuple[Any, ...]] | None = backward
        self.order = next(_orders)
        tensors = () if name in KEEPS_NO_VALUES else (*inputs, output)
        self.watched = tuple((x.version, x.version.count) for x in tensors if x is not None)

    def __repr__(self) -> str:
        return f"<Node {self.order}: {self.name}>"


def is_grad_enabled() -> bool:
    """True while operations are being written on the tape (the default; the mode belongs to the thread)."""
    return getattr(_mode, "enabled", True)


class set_grad_enabled(ContextDecorator):  # noqa: N801 - the name is PyTorch's
    """Write on the tape, or do not: from now on, or within a ``with`` block, or within a decorated function."""

    def __init__(self, enabled: bool) -> None:
        self.enabled = enabled
        self.before = is_grad_enabled()
        _mode.enabled = enabled

    def __enter__(self) -> None:
        _mode.enabled = self.enabled

    def __exit__(self, *error: object) -> None:
        _mode.enabled = self.before

    def __call__(self, function: Any) -> Any:
        _mode.enabled = self.before  # a decorator changes nothing until the function is called
        return super().__call__(function)

    def _recreate_cm(self) -> set_grad_enabled:
        return set_grad_enabled(self.enabled)  # each call of a decorated function goes back to its own caller's mode


class no_grad(set_grad_enabled):  # noqa: N801 - the name is PyTorch's
    """Within the block (or the decorated function), nothing is written on the tape and nothing is kept for backward."""

    mode = False

    def __new__(cls, function: Any = None) -> Any:
        return super().__new__(cls) if function is None else cls()(function)  # a decorator with or without brackets

    def __init__(self) -> None:
        self.enabled = self.mode
        self.before = is_grad_enabled()

    def __enter__(self) -> None:
        self.before = is_grad_enabled()
        super().__enter__()


class enable_grad(no_grad):  # noqa: N801 - the name is PyTorch's
    """Undo an outer `no_grad` within the block (or the decorated function)."""

    mode = True


def backward(root: Node, gradient: Any, retain_graph: bool = False) -> None:
    """Add d(root's output)/d(leaf), weighted with ``gradient``, to ``.grad`` of every leaf that led to it.

    Unless ``retain_graph``, each node lets go of what it saved as soon as it has been used.
    """
    gradients = {root: gradient}
    for node in newest_first(root):
        dout = gradients.pop(node, None)
        if dout is None:  # no gradient reached it: the operations behind it passed none on
            continue
        if node.backward is None:
            raise RuntimeError(
                f"backward: the graph behind '{node.name}' was used already; call backward(retain_graph=True) the first time"
            )
        check_versions(node)
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
            node.backward, node.inputs, node.operands = None, (), ()


def check_versions(node: Node) -> None:
    """RuntimeError where a tensor that the node's backward needs was written to since."""
    for version, then in node.watched:
        if version.count != then:
            raise RuntimeError(
                f"backward: a tensor that '{node.name}' needs was written to after it was used; "
                "call backward before the step, or write to a .clone()"
            )


def newest_first(root: Node) -> list[Node]:
    """The node and all that led to it, each before those it was computed from."""
    found, waiting = {root}, [root]
    while waiting:
        for tensor in waiting.pop().inputs:
            if tensor is not None and tensor.node is not None and tensor.node not in found:
                found.add(tensor.node)
                waiting.append(tensor.node)
    return sorted(found, key=lambda node: node.order, reverse=True)
