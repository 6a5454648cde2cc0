"""Adagrad beside gradient descent, on a long valley along an axis and on the same valley turned by 45 degrees.

Learn:  one rate for each coordinate helps where the valley lies along the axes; the full matrix helps wherever it lies.
Needs:  matplotlib.
Shows:  adagrad_paths: the paths. adagrad_values: f against the number of steps, and Adagrad's rates as they fall.

    python examples/adagrad_and_descent.py
"""

import argparse
import math

import numpy as np
from pictures import COLORS, new, save

import gpunn
from gpunn import optim

METHODS = {
    "gradient descent": (optim.SGD, {"lr": 0.95}),
    "Adagrad": (optim.Adagrad, {"lr": 1.5}),
    "Adagrad, full matrix": (optim.FullAdagrad, {"lr": 1.5}),
}


def turned(degrees: float) -> np.ndarray:
    """The matrix of a turn to the left."""
    angle = math.radians(degrees)
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def valley(a: float, degrees: float) -> np.ndarray:
    """The matrix Q of f(x) = x' Q x: x1^2 / a^2 + x2^2, turned."""
    turn = turned(degrees)
    return turn @ np.diag([1 / a**2, 1.0]) @ turn.T


def path_of(method: str, matrix: np.ndarray, start: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """The points that the method visits, and the rate of each coordinate in each step (Adagrad's alone)."""
    optimizer_class, settings = METHODS[method]
    x, q = gpunn.tensor(start, requires_grad=True), gpunn.tensor(matrix)
    optimizer = optimizer_class([x], **settings)
    points, rates = [start], []
    for _ in range(steps):
        optimizer.zero_grad()
        (x @ (q @ x)).backward()
        optimizer.step()
        points.append(x.numpy().copy())
        if method == "Adagrad":
            rates.append(settings["lr"] / np.sqrt(optimizer.state[x]["sum"]))
    return np.array(points), np.array(rates)


def main() -> None:
    parser = argparse.ArgumentParser(description="Adagrad beside gradient descent on x1^2 / a^2 + x2^2.")
    parser.add_argument("--a", type=float, default=10.0, help="the condition number is a^2")
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args()

    grid = np.linspace(-5, 5, 150)
    points = np.stack(np.meshgrid(grid, grid), axis=-1)
    paths_figure, paths_axes = new(rows=2, width=7, height=12)
    values_figure, values_axes = new(rows=3, width=7, height=12, sharex=True)
    for panel, curve, degrees in zip(paths_axes, values_axes, (0, 45), strict=False):
        matrix = valley(options.a, degrees)
        start = turned(degrees) @ np.array([-4.0, 1.5])
        surface = np.einsum("...i,ij,...j->...", points, matrix, points)
        panel.contour(grid, grid, surface, levels=np.geomspace(0.01, 10, 10), colors="#999999", linewidths=0.8)
        where = "along the axes" if degrees == 0 else f"turned by {degrees} degrees"
        for method in METHODS:
            path, rates = path_of(method, matrix, start, options.steps)
            value = np.einsum("ti,ij,tj->t", path, matrix, path)
            print(f"{where:22} {method:22} f = {value[-1]:.2e} after {options.steps} steps")
            panel.plot(*path.T, "o-", markersize=3, linewidth=1.4, label=method)
            curve.semilogy(np.maximum(value, 1e-30), label=method)
            if len(rates) and degrees == 0:
                for coordinate, color in zip((0, 1), COLORS[3:], strict=False):
                    label = f"of coordinate $x_{coordinate + 1}$"
                    values_axes[2].semilogy(1 + np.arange(len(rates)), rates[:, coordinate], color=color, label=label)
        panel.plot(0, 0, "k*", markersize=12)
        panel.set(title=f"valley {where}", xlabel="$x_1$", ylabel="$x_2$", aspect="equal")
        panel.legend(loc="upper right")
        curve.set(title=f"valley {where}", ylabel="f")
        curve.legend()
    values_axes[2].set(title="Adagrad's rates, valley along the axes", xlabel="step", ylabel="rate")
    values_axes[2].legend()
    save(paths_figure, "adagrad_paths", "Gradient descent, Adagrad and Adagrad with the full matrix in a long valley.")
    save(
        values_figure,
        "adagrad_values",
        "Turned, the valley looks the same to both coordinates, and Adagrad gains little; the full matrix gains as ever.",
    )


if __name__ == "__main__":
    main()
