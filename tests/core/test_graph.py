"""The computation graph as the course draws it: each value, each gradient, and the two ways to show them."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

import gpunn
from gpunn import functional as F
from gpunn import graph_drawing
from gpunn.graph import Graph


def number(value: float, device: str = "cpu") -> gpunn.Tensor:
    return gpunn.tensor(value, dtype="float64", device=device, requires_grad=True)


def product_of_sum(device: str = "cpu") -> Graph:
    """f = (x + y) z at x = -2, y = 5, z = -4."""
    x, y, z = number(-2, device), number(5, device), number(-4, device)
    q = x + y
    f = q * z
    return f.graph({"x": x, "y": y, "z": z, "q": q, "f": f})


def test_product_of_a_sum(device: str) -> None:
    """By hand: df/dz = q = 3, df/dq = z = -4, and the sum hands its gradient on to x and to y."""
    graph = product_of_sum(device)
    found = {v.name: (v.operation, v.value.item(), v.gradient.item()) for v in graph.vertices}
    assert found == {
        "x": ("", -2, -4),
        "y": ("", 5, -4),
        "z": ("", -4, 3),
        "q": ("+", 3, -4),
        "f": ("*", -12, 1),
    }
    names = [v.name for v in graph.vertices]
    assert {v.name: [names[i] for i in v.inputs] for v in graph.vertices if v.inputs} == {
        "q": ["x", "y"],
        "f": ["q", "z"],
    }
    assert repr(graph) == "<Graph: 3 leaves, 2 operations>"


def test_sigmoid_neuron(device: str) -> None:
    """1 / (1 + exp(-(w0 x0 + w1 x1 + w2))): the chain of values and gradients, to two decimals as the course has them."""
    w0, x0, w1, x1, w2 = (number(v, device) for v in (2, -1, -3, -2, -3))
    neuron = 1 / (1 + (-(w0 * x0 + w1 * x1 + w2)).exp())
    graph = neuron.graph({"w0": w0, "x0": x0, "w1": w1, "x1": x1, "w2": w2})
    chain = [(v.operation, round(v.value.item(), 2), round(v.gradient.item(), 2)) for v in graph.vertices[-8:]]
    assert chain == [
        ("*", -2, 0.2),
        ("*", 6, 0.2),
        ("+", 4, 0.2),
        ("+", 1, 0.2),
        ("* -1", -1, -0.2),
        ("exp", 0.37, -0.53),
        ("+ 1", 1.37, -0.53),
        ("1 / x", 0.73, 1),
    ]
    leaves = {name: round(graph[name].gradient.item(), 2) for name in ("w0", "x0", "w1", "x1", "w2")}
    assert leaves == {"w0": -0.2, "x0": 0.39, "w1": -0.39, "x1": -0.59, "w2": 0.2}


def test_gradients_are_those_of_backward(device: str) -> None:
    """Where branches meet they are summed: x is used three times. And `.grad` is left alone until backward."""
    data = np.random.default_rng(0).normal(size=(3, 4))
    x = gpunn.tensor(data, device=device, requires_grad=True)
    weight = gpunn.tensor(data[:2] + 1, device=device, requires_grad=True)
    hidden = F.linear(x, weight).tanh()
    loss = (hidden**2).sum() + (x.exp() * x).mean()
    graph = loss.graph({"x": x, "weight": weight, "hidden": hidden})
    assert x.grad is None
    assert weight.grad is None
    np.testing.assert_allclose(graph["hidden"].gradient, 2 * hidden.numpy(), rtol=1e-12)
    loss.backward()
    np.testing.assert_allclose(graph["x"].gradient, x.grad.numpy(), rtol=1e-12)
    np.testing.assert_allclose(graph["weight"].gradient, weight.grad.numpy(), rtol=1e-12)


def test_values_stay_as_they_were() -> None:
    x = number(3)
    graph = (x * x).graph({"x": x})
    with gpunn.no_grad():
        x.fill_(7)
    assert graph["x"].value == 3
    assert graph["x"].gradient == 6, "x * x: both operands are x"


def test_the_operations_are_written_with_their_numbers() -> None:
    x = number(2)
    shown = [(e.graph().vertices[-1].operation) for e in (x + 1, 3 * x, x - 1, 3 - x, x / 2, 2 / x, x**3, -x, x.exp())]
    assert shown == ["+ 1", "* 3", "- 1", "3 - x", "/ 2", "2 / x", "^ 3", "* -1", "exp"]
    assert F.leaky_relu(x).graph().vertices[-1].operation.startswith("leaky_relu")


def test_several_elements_need_weights_for_gradients() -> None:
    x = gpunn.tensor([1.0, 2.0], requires_grad=True)
    assert all(v.gradient is None for v in (2 * x).graph().vertices)
    assert (2 * x).graph({"x": x}, gradient=[1, 10])["x"].gradient.tolist() == [2, 20]
    with pytest.raises(ValueError, match=r"expected a gradient of shape \(2,\), got \(3,\)"):
        (2 * x).graph(gradient=[1, 2, 3])


def test_constants_have_values_and_no_gradients() -> None:
    x, data = number(2), gpunn.tensor(5.0, dtype="float64")
    graph = (x * data).graph({"data": data})
    assert graph["data"].value == 5
    assert graph["data"].gradient is None
    assert "gradient" not in next(line for line in graph.dot().splitlines() if "data" in line)


def test_small_tensors_show_numbers_and_large_ones_shapes() -> None:
    small = gpunn.tensor([[1.0, -0.12345], [1e6, 0.0]], requires_grad=True)
    large = gpunn.ones(3, 4).requires_grad_()
    graph = (small.sum() + large.sum() * 2).graph({"small": small, "large": large})
    assert graph["small"].value_text == "[[1, -0.123], [1e+06, 0]]"
    assert graph["small"].gradient_text == "[[1, 1], [1, 1]]"
    assert graph["large"].value_text == "3x4"
    assert graph["large"].gradient_text == "norm 6.93", "twelve elements of 2: sqrt(48)"


def test_dot() -> None:
    x = number(2)
    assert (x * x + 1).graph({'the "x"': x}).dot() == (
        "digraph {\n  rankdir=LR;\n  node [fontname=Helvetica];\n"
        '  n0 [shape=box, label="the \\"x\\"\\nvalue 2\\ngradient 4"];\n'
        '  n1 [shape=ellipse, label="*\\nvalue 4\\ngradient 1"];\n  n0 -> n1;\n  n0 -> n1;\n'
        '  n2 [shape=ellipse, label="+ 1\\nvalue 5\\ngradient 1"];\n  n1 -> n2;\n}\n'
    )


def test_svg_is_a_picture_with_every_text(tmp_path: Path) -> None:
    path = product_of_sum().save(tmp_path / "f.svg")
    root = ElementTree.parse(path).getroot()
    texts = ["".join(element.itertext()) for element in root.iter("{http://www.w3.org/2000/svg}text")]
    wanted = ["x", "-2", "-4", "y", "5", "-4", "z", "-4", "3", "+", "q = 3", "-4", "*", "f = -12", "1"]
    assert sorted(texts) == sorted([*wanted, "above: valuebelow: gradient"])
    width, height = float(root.get("width")), float(root.get("height"))
    for box in root.iter("{http://www.w3.org/2000/svg}rect"):
        if box.get("x"):
            assert 0 < float(box.get("x")) < width - float(box.get("width"))
            assert 0 < float(box.get("y")) < height - float(box.get("height"))


def boxes(svg: str) -> list[tuple[float, float, float, float]]:
    found = re.findall(r'<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"', svg)
    return [tuple(map(float, box)) for box in found]


def test_boxes_do_not_overlap_and_wires_lead_to_the_right() -> None:
    net = gpunn.nn.Sequential(gpunn.nn.Linear(4, 3), gpunn.nn.Tanh(), gpunn.nn.Linear(3, 2))
    x = gpunn.ones(5, 4)
    penalty = sum((p**2).sum() for p in net.parameters())
    svg = (F.cross_entropy(net(x), np.array([0, 1, 0, 1, 1])) + 0.1 * penalty).graph().svg()
    placed = boxes(svg)
    assert len(placed) > 15
    for i, (x1, y1, w1, h1) in enumerate(placed):
        for x2, y2, w2, h2 in placed[:i]:
            assert x1 + w1 < x2 or x2 + w2 < x1 or y1 + h1 < y2 or y2 + h2 < y1
    curves = re.findall(r"M ([\d.]+) [\d.]+ C .* ([\d.]+) [\d.]+\"", svg)
    assert curves
    assert all(float(begin) < float(end) for begin, end in curves)


def test_crossing_wires_are_uncrossed() -> None:
    """Leaves a, b, and c = f(b), d = g(a), in an order that crosses at first."""
    leaf = graph_drawing.Drawn("a", True, "", "", ())
    crossing = [[graph_drawing.Place(0, 0, False), graph_drawing.Place(1, 0, False)]]
    crossing.append([graph_drawing.Place(2, 1, False), graph_drawing.Place(3, 1, False)])
    (a, b), (c, d) = crossing
    before = {a: [], b: [], c: [b], d: [a]}
    assert graph_drawing._crossings(crossing, before) == 1
    ordered = graph_drawing._ordered(crossing, before, {a: [d], b: [c]})
    assert graph_drawing._crossings(ordered, before) == 0
    assert leaf.title in graph_drawing.draw([leaf])


def test_heights_are_the_nearest_that_keep_apart() -> None:
    assert graph_drawing._apart([0, 5, 9]) == [0, 5, 9]
    assert graph_drawing._apart([2, 2, 2]) == [1, 2, 3]
    assert graph_drawing._apart([3, 0]) == [1, 2]


def test_wrong_use_is_explained(tmp_path: Path) -> None:
    x = number(2)
    with pytest.raises(RuntimeError, match=r"graph: expected a tensor computed from .*, got a leaf"):
        x.graph()
    loss = x * x
    with pytest.raises(ValueError, match="'x' and 'again' are one tensor"):
        loss.graph({"x": x, "again": x})
    with pytest.raises(KeyError, match="no tensor is named 'y'; named are: x"):
        loss.graph({"x": x})["y"]
    with pytest.raises(ValueError, match=r"ends in \.svg, \.dot or \.gv, got .*picture\.png"):
        loss.graph().save(tmp_path / "picture.png")
    loss.backward(retain_graph=True)
    assert loss.graph({"x": x})["x"].gradient == 4
    loss.backward()
    with pytest.raises(RuntimeError, match=r"was used already; call graph\(\) before backward\(\)"):
        loss.graph()
    other = x.exp() * x
    with gpunn.no_grad():
        x.fill_(1)
    with pytest.raises(RuntimeError, match="was written to after it was used"):
        other.graph()
