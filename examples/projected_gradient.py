"""Projected gradient descent: a step, then the nearest point of a convex set.

Learn:  what the projection onto each set looks like, and that the ball of the l1 norm sets weights to zero.
Needs:  matplotlib.
Shows:  projected_paths: the way to the best point of each set. projected_weights: the weights against the ball's radius.

    python examples/projected_gradient.py
"""

import argparse

import numpy as np
from pictures import COLORS, new, save

import gpunn
from gpunn import optim

CENTER, MATRIX = np.array([1.6, 1.1]), np.array([[1.0, 0.5], [0.5, 2.0]])
SETS = {
    "box [-1, 1]": (optim.Box(-1, 1), lambda x, y: np.maximum(abs(x), abs(y)) <= 1),
    "at most 0.5": (optim.Box(high=0.5), lambda x, y: np.maximum(x, y) <= 0.5),
    "ball of radius 1": (optim.Ball(1), lambda x, y: np.hypot(x, y) <= 1),
    "l1 ball of radius 1": (optim.L1Ball(1), lambda x, y: abs(x) + abs(y) <= 1),
    "half-space x + 2 y <= 0.5": (optim.HalfSpace([1, 2], 0.5), lambda x, y: x + 2 * y <= 0.5),
    "simplex x + y = 1": (optim.Simplex(), lambda x, y: (abs(x + y - 1) < 0.02) & (np.minimum(x, y) >= -0.02)),
}


def descend(x: gpunn.Tensor, onto: optim.ConvexSet, loss, lr: float, steps: int) -> np.ndarray:
    """The points after each projected step, and between them those before the projection."""
    inner = optim.SGD([x], lr=lr)
    points = [x.numpy().copy()]
    optimizer = optim.Projected(inner, onto)
    points.append(x.numpy().copy())
    for _ in range(steps):
        optimizer.zero_grad()
        loss().backward()
        points.append(x.numpy() - lr * x.grad.numpy())
        optimizer.step()
        points.append(x.numpy().copy())
    return np.array(points)


def draw_paths(steps: int) -> None:
    """The minimum of (x - c)' Q (x - c) / 2 over each set, from (-1.8, 1.7)."""
    center, matrix = gpunn.tensor(CENTER), gpunn.tensor(MATRIX)
    side = np.linspace(-2.3, 2, 400)
    x, y = np.meshgrid(side, side)
    offsets = np.stack([x, y], axis=-1) - CENTER
    surface = np.einsum("...i,ij,...j->...", offsets, MATRIX, offsets) / 2
    figure, axes = new(rows=3, columns=2, width=9, height=13, sharex=True, sharey=True)
    for panel, (name, (onto, inside)) in zip(axes.flat, SETS.items(), strict=True):
        point = gpunn.tensor([-1.8, 1.7], dtype="float64", requires_grad=True)

        def loss(point=point):
            return (point - center) @ (matrix @ (point - center)) / 2

        path = descend(point, onto, loss, 0.3, steps)
        print(f"{name:28} best point ({path[-1][0]:.3f}, {path[-1][1]:.3f}), loss {loss().item():.4f}")
        panel.contourf(x, y, inside(x, y), levels=[0.5, 1], colors=[COLORS[4]], alpha=0.4)
        panel.contour(x, y, surface, levels=10, colors="#999999", linewidths=0.8)
        panel.plot(*path.T, ":", color="#555555", linewidth=1.2)
        panel.plot(*path[1::2].T, "o-", markersize=4, color=COLORS[5])
        panel.plot(*path[0], "ks", markersize=6)
        panel.plot(*path[-1], "k*", markersize=12)
        panel.set(title=name, aspect="equal", xlim=(-2.3, 2), ylim=(-2.3, 2))
    for panel in axes[-1]:
        panel.set_xlabel("x")
    for panel in axes[:, 0]:
        panel.set_ylabel("y")
    save(
        figure,
        "projected_paths",
        "Dotted: the gradient step and the way back to the set (blue). Star: the best point of it.",
    )


def draw_weights(steps: int) -> None:
    """Least squares with ten weights, five of them zero in truth, in balls of growing radius."""
    numbers = np.random.default_rng(0)
    truth = np.array([3.0, -2.0, 1.5, 1.0, -0.5, 0.0, 0.0, 0.0, 0.0, 0.0])
    inputs = numbers.standard_normal((60, 10))
    x, y = gpunn.tensor(inputs), gpunn.tensor(inputs @ truth + numbers.standard_normal(60))
    radii = np.linspace(0.25, 10, 24)
    figure, axes = new(rows=2, width=7, height=9, sharex=True)
    for panel, (name, make) in zip(axes, {"l1": optim.L1Ball, "l2": optim.Ball}.items(), strict=True):
        weights = []
        for radius in radii:
            w = gpunn.tensor(np.zeros(10), requires_grad=True)
            descend(w, make(radius), lambda w=w: ((x @ w - y) ** 2).mean(), 0.1, steps)
            weights.append(w.numpy().copy())
        zeros = (np.array(weights) == 0).sum(axis=1)
        print(f"{name} ball: exact zeros among ten weights, from the smallest radius to the largest: {zeros.tolist()}")
        lines = panel.plot(radii, np.array(weights))
        for line, true in zip(lines, truth, strict=True):
            line.set(color=COLORS[0] if true else COLORS[1], linestyle="-" if true else "--")
        panel.set(title=f"{name} ball", ylabel="weight")
    axes[0].legend([lines[0], lines[-1]], ["not zero in truth", "zero in truth"])
    axes[1].set_xlabel("radius of the ball")
    save(figure, "projected_weights", "The l1 ball lets weights in one by one; in the l2 ball none is exactly zero.")


def main() -> None:
    parser = argparse.ArgumentParser(description="Projected gradient descent onto simple convex sets.")
    parser.add_argument("--steps", type=int, default=100)
    options = parser.parse_args()
    draw_paths(min(options.steps, 30))
    draw_weights(options.steps)


if __name__ == "__main__":
    main()
