"""The paths of the optimizers on the ill-conditioned quadratic f(x) = x1^2 / a^2 + x2^2.

Learn:  how momentum, Nesterov's look ahead, Adagrad, RMSprop, Adam and Newton differ from plain gradient descent.
Needs:  matplotlib.
Shows:  optimizer_paths: each path over the contours of f. optimizer_values: f against the number of steps.

    python examples/optimizer_paths.py
    python examples/optimizer_paths.py --a 20 --steps 200
"""

import argparse

import numpy as np
from pictures import new, save

import gpunn
from gpunn import optim

START = [-4.0, 1.5]
# Each with a rate that suits it. For gradient descent the bound is 2 / (largest curvature) = 1.
OPTIMIZERS = {
    "gradient descent": (optim.SGD, {"lr": 0.9}),
    "momentum 0.8": (optim.SGD, {"lr": 0.3, "momentum": 0.8}),
    "Nesterov 0.8": (optim.SGD, {"lr": 0.3, "momentum": 0.8, "nesterov": True}),
    "Adagrad": (optim.Adagrad, {"lr": 1.0}),
    "Adagrad, full matrix": (optim.FullAdagrad, {"lr": 1.0}),
    "RMSprop": (optim.RMSprop, {"lr": 0.1, "alpha": 0.9}),
    "RMSprop, momentum 0.8": (optim.RMSprop, {"lr": 0.03, "alpha": 0.9, "momentum": 0.8}),
    "Adam": (optim.Adam, {"lr": 0.3}),
    "Adam, uncorrected": (optim.Adam, {"lr": 0.3, "bias_correction": False}),
    "Newton": (optim.Newton, {}),
}


def path_of(optimizer_class, options, a: float, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """The points that the optimizer visits (steps + 1, 2), and f there."""
    x = gpunn.tensor(START, dtype="float64", requires_grad=True)
    optimizer = optimizer_class([x], **options)

    def loss():
        optimizer.zero_grad()
        value = x[0] ** 2 / a**2 + x[1] ** 2
        value.backward()
        return value

    points = [x.numpy().copy()]
    for _ in range(steps):
        optimizer.step(loss)
        points.append(x.numpy().copy())
    path = np.array(points)
    return path, path[:, 0] ** 2 / a**2 + path[:, 1] ** 2


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the paths of the optimizers on x1^2 / a^2 + x2^2.")
    parser.add_argument("--a", type=float, default=5.0, help="the condition number is a^2")
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args()

    side, height = np.linspace(-4.6, 3.2, 120), np.linspace(-2.1, 2.1, 120)
    surface = side[None, :] ** 2 / options.a**2 + height[:, None] ** 2
    figure, axes = new(rows=5, columns=2, width=9.5, height=15, sharex=True, sharey=True)
    values = {}
    for panel, (name, (optimizer_class, settings)) in zip(axes.flat, OPTIMIZERS.items(), strict=True):
        path, values[name] = path_of(optimizer_class, settings, options.a, options.steps)
        near = np.flatnonzero(values[name] < 1e-3)
        reached = f"f < 0.001 in step {near[0]}" if len(near) else f"f = {values[name][-1]:.3g} in step {options.steps}"
        print(f"{name:22} {reached}")
        panel.contour(side, height, surface, levels=np.geomspace(0.02, 5, 9), colors="#999999", linewidths=0.8)
        panel.plot(*path.T, "o-", markersize=3.5, linewidth=1.4)
        panel.plot(*START, "ks", markersize=6)
        panel.plot(0, 0, "k*", markersize=11)
        panel.set(title=f"{name}\n{reached}", xlim=(-4.6, 3.2), ylim=(-2.1, 2.1))
    for panel in axes[-1]:
        panel.set_xlabel("$x_1$")
    for panel in axes[:, 0]:
        panel.set_ylabel("$x_2$")
    save(figure, "optimizer_paths", "From the square to the minimum (star) of x1^2 / a^2 + x2^2, step by step.")

    figure, axes = new(width=8, height=7.5)
    for number, (name, value) in enumerate(values.items()):
        axes.semilogy(np.maximum(value, 1e-16), "-" if number < 7 else "--", label=name)
    axes.set(xlabel="step", ylabel="f", ylim=(1e-12, 10))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    save(figure, "optimizer_values", "The value of f after each step. Newton is there after one.")


if __name__ == "__main__":
    main()
