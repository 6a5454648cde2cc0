"""Backpropagation, seen: computation graphs with every value and every gradient.

Learn:   how the chain rule runs back through f = (x + y) z, through a sigmoid neuron, and through a small network.
Needs:   nothing; the pictures are SVG, drawn by gpunn itself.
Shows:   above each wire the value that flows forward, below it the gradient that flows back.

    python examples/computation_graph.py
"""

import argparse

import numpy as np
from pictures import folder, note

import gpunn
from gpunn import functional as F
from gpunn import nn


def number(value: float, device: str) -> gpunn.Tensor:
    return gpunn.tensor(value, dtype="float64", device=device, requires_grad=True)


def draw(result: gpunn.Tensor, named: dict[str, gpunn.Tensor], file: str, caption: str) -> None:
    """Save the graph as a picture and say the gradients of what has a name."""
    graph = result.graph(named)
    for name in named:
        print(f"  d/d{name}: {graph[name].gradient_text or 'none, it is a constant'}")
    note(graph.save(folder() / f"{file}.svg"), caption)


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw computation graphs with their values and gradients.")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:N or reference")
    device = parser.parse_args().device
    gpunn.manual_seed(0)

    x, y, z = (number(value, device) for value in (-2, 5, -4))
    q = x + y
    f = q * z
    print(f"f = (x + y) z = {f.item():g}")
    caption = "f = (x + y) z. A sum hands its gradient on to both sides; a product hands each side the other's value."
    draw(f, {"x": x, "y": y, "z": z, "q": q, "f": f}, "graph_product_of_a_sum", caption)

    w0, x0, w1, x1, w2 = (number(value, device) for value in (2, -1, -3, -2, -3))
    neuron = 1 / (1 + (-(w0 * x0 + w1 * x1 + w2)).exp())
    print(f"sigmoid neuron = {neuron.item():.3f}")
    caption = (
        "A sigmoid neuron, gate by gate. Its last four gates are one sigmoid s, whose derivative is s (1 - s) = 0.197."
    )
    draw(neuron, {"w0": w0, "x0": x0, "w1": w1, "x1": x1, "w2": w2}, "graph_sigmoid_neuron", caption)

    net = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2)).to(device)
    inputs = gpunn.tensor([[1.0, -1.0]], device=device)
    loss = F.cross_entropy(net(inputs), np.array([1]))
    print(f"a network's loss = {loss.item():.3f}")
    named = {
        "x": inputs,
        "W1": net[0].weight,
        "b1": net[0].bias,
        "W2": net[2].weight,
        "b2": net[2].bias,
    }
    caption = "A network of two layers and its loss for one example: the same walk back, with matrices at the nodes."
    draw(loss, named, "graph_network", caption)


if __name__ == "__main__":
    main()
