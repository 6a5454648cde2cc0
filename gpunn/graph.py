"""The computation graph, to look at: what was computed from what, each value, and the gradient that arrives there.

    f = (x + y) * z
    f.graph({"x": x, "y": y, "z": z}).save("f.svg")

A tensor that was computed knows its operation, and that the tensors it was given: so the graph is read off the tape, and
nothing is kept for it otherwise. The gradients are those of the chain rule: a tensor's gradient is the sum, over all
operations that use it, of what each hands back (I. Goodfellow, Y. Bengio and A. Courville, "Deep Learning", 2016,
section 6.5).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import tape
from .graph_drawing import Drawn, draw

if TYPE_CHECKING:
    from .tensor import Tensor

SMALL = 6  # a tensor of up to this many elements is shown by its numbers, a larger one by its shape
SYMBOLS = {"add": "+", "sub": "-", "mul": "*", "div": "/", "pow": "^", "matmul": "@", "neg": "* -1"}
COMMUTE = frozenset({"add", "mul"})


@dataclass(frozen=True)
class Vertex:
    """One tensor of the graph.

    Attributes:
        name: what the caller named it; "" where it has no name.
        operation: what made it: "+", "exp", "1 / x"; "" for a leaf.
        value: the elements, copied.
        gradient: d(the graph's result) / d(this tensor), of the value's shape; None where there is none.
        inputs: the places in `Graph.vertices` of the tensors that it was computed from.
    """

    name: str
    operation: str
    value: np.ndarray
    gradient: np.ndarray | None
    inputs: tuple[int, ...]

    @property
    def value_text(self) -> str:
        """The numbers of a small tensor, the shape of a larger one."""
        return numbers(self.value) if self.value.size <= SMALL else "x".join(map(str, self.value.shape))

    @property
    def gradient_text(self) -> str:
        """The numbers of a small gradient, the Euclidean norm of a larger one; "" where there is none."""
        if self.gradient is None:
            return ""
        if self.gradient.size <= SMALL:
            return numbers(self.gradient)
        return f"norm {np.linalg.norm(self.gradient.astype(np.float64)):.3g}"


class Graph:
    """A computation graph. ``vertices`` are in the order of computation; the last one is the result.

    In a notebook it shows itself.
    """

    def __init__(self, vertices: list[Vertex]) -> None:
        self.vertices = vertices

    def __repr__(self) -> str:
        leaves = sum(not vertex.operation for vertex in self.vertices)
        return f"<Graph: {leaves} leaves, {len(self.vertices) - leaves} operations>"

    def __getitem__(self, name: str) -> Vertex:
        """The vertex of a name that was given to `Tensor.graph`."""
        for vertex in self.vertices:
            if name and vertex.name == name:
                return vertex
        known = ", ".join(vertex.name for vertex in self.vertices if vertex.name)
        raise KeyError(f"graph: no tensor is named {name!r}; named are: {known or 'none'}")

    def dot(self) -> str:
        """The graph in graphviz's language: ``dot -Tpdf`` makes a page of it."""
        lines = ["digraph {", "  rankdir=LR;", "  node [fontname=Helvetica];"]
        for number, vertex in enumerate(self.vertices):
            heading = " ".join(part for part in (vertex.name, vertex.operation) if part)
            parts = [heading, f"value {vertex.value_text}"]
            parts += [f"gradient {vertex.gradient_text}"] if vertex.gradient is not None else []
            label = "\\n".join(part.replace("\\", "\\\\").replace('"', '\\"') for part in parts if part)
            shape = "ellipse" if vertex.operation else "box"
            lines.append(f'  n{number} [shape={shape}, label="{label}"];')
            lines += [f"  n{source} -> n{number};" for source in vertex.inputs]
        return "\n".join([*lines, "}", ""])

    def svg(self) -> str:
        """The graph as an SVG picture: from left to right; above each wire the value, below it the gradient."""
        return draw([self._drawn(vertex) for vertex in self.vertices])

    _repr_svg_ = svg

    def save(self, path: str | Path) -> Path:
        """Write ``path``: a picture where it ends in .svg, graphviz's language where it ends in .dot or .gv."""
        path = Path(path)
        if path.suffix not in (".svg", ".dot", ".gv"):
            raise ValueError(f"graph: expected a path that ends in .svg, .dot or .gv, got {str(path)!r}")
        path.write_text(self.svg() if path.suffix == ".svg" else self.dot(), encoding="utf-8")
        return path

    @staticmethod
    def _drawn(vertex: Vertex) -> Drawn:
        title, above = vertex.operation or vertex.name, vertex.value_text
        if vertex.operation and vertex.name:
            above = f"{vertex.name} = {above}"
        return Drawn(title, not vertex.operation, above, vertex.gradient_text, vertex.inputs)


def build(root: Tensor, names: dict[str, Tensor], start: Any) -> Graph:
    """The graph that led to ``root``; ``start`` is the gradient there, None for a graph without gradients.

    Raises:
        RuntimeError: ``root`` was not computed on the tape, or `backward` has used the graph up.
        ValueError: a tensor has two names.
    """
    if root.node is None:
        raise RuntimeError(
            "graph: expected a tensor computed from tensors that require gradients, got a leaf; use requires_grad=True"
        )
    called: dict[int, str] = {}
    for name, tensor in names.items():
        if called.setdefault(id(tensor), name) != name:
            raise ValueError(f"graph: {called[id(tensor)]!r} and {name!r} are one tensor; expected one name for each")
    order = tape.newest_first(root.node)
    gradients = {} if start is None else _gradients(root, start, order)
    made: dict[int, Tensor] = {id(root): root}
    for node in order:
        if node.backward is None:
            raise RuntimeError(
                f"graph: the graph behind '{node.name}' was used already; call graph() before backward(), or after "
                "backward(retain_graph=True)"
            )
        made |= {id(tensor): tensor for tensor in node.inputs if tensor is not None}
    # Leaves first, then what was computed, in the order of time: an input stands before what uses it.
    tensors = sorted(made.values(), key=lambda tensor: -1 if tensor.node is None else tensor.node.order)
    place = {id(tensor): number for number, tensor in enumerate(tensors)}
    vertices = []
    for tensor in tensors:
        gradient = gradients.get(id(tensor))
        inputs = () if tensor.node is None else tuple(place[id(x)] for x in tensor.node.inputs if x is not None)
        vertices.append(
            Vertex(
                called.get(id(tensor), ""),
                "" if tensor.node is None else _symbol(tensor.node),
                np.array(tensor.numpy()),
                None if gradient is None else np.array(tensor.backend.to_numpy(gradient)),
                inputs,
            )
        )
    return Graph(vertices)


def _gradients(root: Tensor, start: Any, order: list[tape.Node]) -> dict[int, Any]:
    """The gradient of every tensor that one reaches, by the tensor's identity: `tape.backward`, with all of it kept."""
    gradients = {id(root): start}
    outputs = {
        id(tensor.node): tensor for node in order for tensor in node.inputs if tensor is not None and tensor.node
    }
    outputs[id(root.node)] = root
    with root.backend.scope():
        for node in order:
            dout = gradients.get(id(outputs[id(node)]))
            if dout is None or node.backward is None:
                continue
            tape.check_versions(node)
            for tensor, grad in zip(node.inputs, node.backward(dout), strict=True):
                if tensor is not None and grad is not None and tensor.requires_grad:
                    before = gradients.get(id(tensor))
                    gradients[id(tensor)] = grad if before is None else before + grad
    return gradients


def _symbol(node: tape.Node) -> str:
    """The operation as one writes it, with the plain numbers it was given: "+", "+ 1", "1 / x", "^ 2", "exp"."""
    name = SYMBOLS.get(node.name, node.name)
    given = [(number, x) for number, x in enumerate(node.operands) if type(x) in (bool, int, float)]
    if not given:
        return name
    if node.name in SYMBOLS and len(node.operands) == 2:
        ((place, number),) = given
        return f"{number:g} {name} x" if place == 0 and node.name not in COMMUTE else f"{name} {number:g}"
    return f"{name} {', '.join(f'{number:g}' for _, number in given)}"


def numbers(array: np.ndarray) -> str:
    """A few numbers with three digits each, in brackets as nested lists have them."""
    if array.ndim == 0:
        return f"{array.item():.3g}"
    return f"[{', '.join(numbers(row) for row in array)}]"
