"""L2 penalty and weight decay: the same under SGD, two things under Adam.

Learn:   a penalty in the loss, the option ``weight_decay`` of SGD and Adam, and AdamW's decay beside the step.
Needs:   nothing.
Shows:   the paths of two weights, one of which hardly matters to the loss, under each of them.

    python examples/weight_decay.py
"""

import argparse

import numpy as np
from pictures import COLORS, new, save

import gpunn
from gpunn import functional as F
from gpunn import optim

STRENGTH = 0.1
CURVATURE, LEAST = np.array([1.0, 0.01]), np.array([1.0, 1.0])  # of the loss: along each weight, and where
START = (2.0, 3.0)


def path(make, lr: float, steps: int, penalty: float = 0.0, **options: float) -> np.ndarray:
    """The weights after each step, (steps + 1, 2)."""
    w = gpunn.tensor(START, dtype="float64", requires_grad=True)
    optimizer = make([w], lr=lr, **options)
    scale = gpunn.tensor(np.sqrt(CURVATURE))
    points = [w.numpy().copy()]
    for _ in range(steps):
        optimizer.zero_grad()
        loss = F.l2_penalty(scale * (w - LEAST))  # 1/2 sum of curvature * (w - least)^2
        (loss + penalty * F.l2_penalty(w)).backward()
        optimizer.step()
        points.append(w.numpy().copy())
    return np.array(points)


def main() -> None:
    parser = argparse.ArgumentParser(description="L2 penalty and weight decay, under SGD and Adam.")
    parser.add_argument("--steps", type=int, default=1500)
    options = parser.parse_args()
    steps = options.steps
    runs = {
        "SGD": {
            "L2 penalty in the loss": path(optim.SGD, 0.05, steps, STRENGTH),
            "weight_decay of SGD": path(optim.SGD, 0.05, steps, weight_decay=STRENGTH),
            "neither": path(optim.SGD, 0.05, steps),
        },
        "Adam": {
            "L2 penalty in the loss": path(optim.Adam, 0.01, steps, STRENGTH),
            "weight_decay of AdamW": path(optim.AdamW, 0.01, steps, weight_decay=STRENGTH),
            "neither": path(optim.Adam, 0.01, steps),
        },
    }
    figure, panels = new(2, 1, height=9)
    x, y = np.meshgrid(np.linspace(-0.1, 2.3, 150), np.linspace(-0.1, 3.3, 150))
    loss = 0.5 * (CURVATURE[0] * (x - LEAST[0]) ** 2 + CURVATURE[1] * (y - LEAST[1]) ** 2)
    with_penalty = CURVATURE / (CURVATURE + STRENGTH) * LEAST
    for axes, (name, paths) in zip(panels, runs.items(), strict=True):
        axes.contour(x, y, loss, levels=np.array([0.002, 0.01, 0.03, 0.1, 0.3, 0.7]), colors="0.8", linewidths=1)
        for (label, points), color, style in zip(paths.items(), COLORS, ("-", (0, (2, 2)), "-."), strict=False):
            axes.plot(*points.T, linestyle=style, linewidth=3, color=color, label=label)
        axes.plot(*START, "ko", label="start")
        axes.plot(*with_penalty, "k*", markersize=13, label="least of loss and penalty")
        axes.set(xlabel="a weight that the loss depends on", ylabel="one that hardly matters", title=name)
        axes.legend(fontsize=10, loc="upper left" if name == "SGD" else "lower right")
        one, other = list(paths.values())[:2]
        print(f"{name}: the paths with penalty and with decay differ by at most {np.abs(one - other).max():.2g}")
    save(figure, "weight_decay", "Under SGD an L2 penalty and weight decay are one path; under Adam they are not.")


if __name__ == "__main__":
    main()
