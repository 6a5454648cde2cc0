"""Gradient clipping at a cliff: by norm, by value, and not at all.

Learn:  one huge gradient throws plain descent far away; a clipped one takes a step of bounded length.
Needs:  matplotlib.
Shows:  clipping: the paths at the cliff, and which gradients the two ways of clipping make of one.

    python examples/clipping.py
"""

import argparse

import numpy as np
from pictures import COLORS, new, save

import gpunn
from gpunn import functional as F
from gpunn import optim

START, LIMIT = [-1.0, 1.2], 1.0
WAYS = {
    "no clipping": lambda x: None,
    "by norm": lambda x: optim.clip_grad_norm_([x], LIMIT),
    "by value": lambda x: optim.clip_grad_value_([x], LIMIT),
}


def surface(x1, x2, ramp=lambda x: np.maximum(x, 0)):
    """A gentle slope down to the right, into a steep wall: the loss changes its slope from -0.5 to hundreds."""
    return -0.5 * x1 + 0.5 * x2**2 + 400 * ramp(x1 + 0.5 * x2 - 1) ** 2


def path_of(clip, lr: float, steps: int) -> np.ndarray:
    """Gradient descent; ``clip`` acts between ``backward`` and ``step``."""
    x = gpunn.tensor(START, dtype="float64", requires_grad=True)
    optimizer = optim.SGD([x], lr=lr)
    points = [x.numpy().copy()]
    for _ in range(steps):
        optimizer.zero_grad()
        surface(x[0], x[1], F.relu).backward()
        clip(x)
        optimizer.step()
        points.append(x.numpy().copy())
    return np.array(points)


def main() -> None:
    parser = argparse.ArgumentParser(description="Gradient clipping by norm and by value.")
    parser.add_argument("--steps", type=int, default=70)
    parser.add_argument("--lr", type=float, default=0.1)
    options = parser.parse_args()

    figure, axes = new(rows=2, width=7, height=10)
    x1, x2 = np.meshgrid(np.linspace(-5, 2, 200), np.linspace(-3, 1.6, 160))
    axes[0].contour(x1, x2, surface(x1, x2), levels=np.arange(-1, 6, 0.5), colors="#999999", linewidths=0.8)
    for name, clip in WAYS.items():
        path = path_of(clip, options.lr, options.steps)
        print(
            f"{name:12} largest step {np.linalg.norm(np.diff(path, axis=0), axis=1).max():.2f}, f = {surface(*path[-1]):.4f}"
        )
        axes[0].plot(*path.T, "o-", markersize=3.5, linewidth=1.3, label=name)
    axes[0].plot(*START, "ks", markersize=6)
    axes[0].plot(1.125, -0.25, "k*", markersize=12)
    axes[0].set(xlabel="$x_1$", ylabel="$x_2$", title="a gentle slope into a steep wall")
    axes[0].legend(loc="lower left")

    numbers = np.random.default_rng(0)
    for number, gradient in enumerate(numbers.standard_normal((12, 2)) * 1.6):
        for name, color in zip(("by norm", "by value"), COLORS[1:], strict=False):
            x = gpunn.tensor([0.0, 0.0], dtype="float64", requires_grad=True)
            x.grad = gpunn.tensor(gradient)
            WAYS[name](x)
            label = name if number == 0 else None
            axes[1].plot(*np.stack([gradient, x.grad.numpy()]).T, "-", color=color, linewidth=1.2)
            axes[1].plot(*x.grad.numpy(), "o", color=color, label=label)
        axes[1].plot(*gradient, "ks", markersize=5, label="gradient" if number == 0 else None)
    angle = np.linspace(0, 2 * np.pi, 200)
    axes[1].plot(LIMIT * np.cos(angle), LIMIT * np.sin(angle), ":", color=COLORS[1])
    axes[1].plot([-1, 1, 1, -1, -1], [-1, -1, 1, 1, -1], ":", color=COLORS[2])
    axes[1].set(aspect="equal", xlabel="$g_1$", ylabel="$g_2$", title="what becomes of a gradient, limit 1")
    axes[1].legend()
    save(figure, "clipping", "By norm the direction stays; by value each coordinate is limited by itself.")


if __name__ == "__main__":
    main()
