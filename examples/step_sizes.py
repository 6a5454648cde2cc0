"""Step sizes: constant, 1/t and 1/sqrt(t); for exact gradients, for noisy ones and for subgradients.

Learn:  a constant step converges where the gradient is exact and smooth; noise and kinks ask for one that falls.
Needs:  matplotlib.
Shows:  step_sizes_exact: too small, right, too large. step_sizes_noisy: the error under noise and at a kink.

    python examples/step_sizes.py
"""

import argparse

import numpy as np
from pictures import new, save

import gpunn
from gpunn import optim
from gpunn.optim.lr_scheduler import InverseTimeLR

# The rate of step t = 1, 2, ...
RULES = {"constant": 0.0, "$1/t$": 1.0, r"$1/\sqrt{t}$": 0.5}


def descend(function, start, lr: float, power: float, steps: int) -> np.ndarray:
    """The points x(0), ..., x(steps) of (sub)gradient descent with rates lr / t^power. ``function(x, t)`` is the loss."""
    x = gpunn.tensor(start, dtype="float64", requires_grad=True)
    optimizer = optim.SGD([x], lr=lr)
    schedule = InverseTimeLR(optimizer, power=power)
    points = [x.numpy().copy()]
    for t in range(steps):
        optimizer.zero_grad()
        function(x, t).backward()
        optimizer.step()
        schedule.step()
        points.append(x.numpy().copy())
    return np.array(points)


def draw_exact() -> None:
    """Gradient descent on x^2 / 2, of curvature 1: each step multiplies x by 1 - lr."""
    figure, axes = new(rows=2, width=7, height=8)
    for lr in (0.1, 0.5, 1.0, 1.8, 2.05):
        points = descend(lambda x, t: (x**2).sum() / 2, [1.0], lr, 0.0, 20)[:, 0]
        print(f"x^2 / 2 with constant step {lr}: x = {points[-1]:.3g} after 20 steps")
        axes[0].plot(points, "o-", markersize=4, label=f"step {lr}")
        axes[1].semilogy(np.maximum(np.abs(points), 1e-7), "o-", markersize=4)
    axes[0].set(ylabel="x", title="gradient descent on $x^2/2$ from x = 1")
    axes[1].set(ylabel="|x|", xlabel="step", ylim=(1e-7, 10))
    for panel in axes:
        panel.set_xticks(range(0, 21, 4))
    axes[0].legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.12))
    save(figure, "step_sizes_exact", "Too small is slow; 1 / curvature arrives at once; above 2 / curvature diverges.")


def draw_noisy(steps: int, runs: int) -> None:
    """Left: the mean of noisy numbers, by their gradients one at a time. Right: |x1| + 2 |x2 - 1|."""
    figure, axes = new(rows=2, width=7, height=9)
    noise = np.random.default_rng(0).standard_normal((steps, runs))  # every run sees numbers of its own around 0
    for name, power in RULES.items():
        # The runs side by side in one vector: their losses do not touch each other.
        def noisy(x, t):
            return ((x - gpunn.tensor(noise[t])) ** 2).sum() / 2

        lr = 0.2 if power == 0 else 1.0
        errors = np.sqrt((descend(noisy, np.full(runs, 5.0), lr, power, steps) ** 2).mean(axis=1))
        axes[0].loglog(np.arange(1, steps + 2), errors, label=f"{name}, first {lr}")
        lr = 0.1 if power == 0 else 1.0
        points = descend(lambda x, t: x[0].abs() + 2 * (x[1] - 1).abs(), [10.3, 4.7], lr, power, steps)
        values = np.abs(points[:, 0]) + 2 * np.abs(points[:, 1] - 1)
        axes[1].loglog(np.arange(1, steps + 2), np.minimum.accumulate(values), label=f"{name}, first {lr}")
        print(f"{name:14} noise: error {errors[-1]:.4f};  kinks: best value {values.min():.2e}, last {values[-1]:.2e}")
    axes[0].set(title="noisy gradients of $x^2/2$", ylabel=f"error (root mean square of {runs} runs)")
    axes[1].set(title="subgradients of $|x_1| + 2\\,|x_2 - 1|$", ylabel="best value so far")
    for panel in axes:
        panel.set_xlabel("step")
        panel.legend()
    caption = (
        "Under noise a constant step stays at its noise, 1/t averages it out. At kinks 1/sqrt(t) is the safe choice."
    )
    save(figure, "step_sizes_noisy", caption)


def main() -> None:
    parser = argparse.ArgumentParser(description="Step sizes for exact, noisy and subgradients.")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--runs", type=int, default=50, help="with noise of their own, for the mean error")
    options = parser.parse_args()
    draw_exact()
    draw_noisy(options.steps, options.runs)


if __name__ == "__main__":
    main()
