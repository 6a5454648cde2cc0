"""Penalties that bring knowledge in: weights near those of a related task, and weights of two tasks drawn to each other.

Learn:   `distance_penalty` and `tying_penalty`; why a penalty towards a good guess beats one towards 0.
Needs:   nothing.
Shows:   the error of the learned weights against the strength of each penalty; the weights themselves.

    python examples/distance_and_tying.py
"""

import argparse

import numpy as np
from pictures import new, save

import gpunn
from gpunn import functional as F
from gpunn import optim

EXAMPLES, WIDTH = 15, 20  # of each task


def task(numbers: np.random.Generator, weights: np.ndarray) -> tuple[gpunn.Tensor, gpunn.Tensor]:
    """Inputs, and targets that are linear in them but for noise; for weights (trials, WIDTH) as many sets of examples."""
    x = numbers.normal(size=(len(weights), EXAMPLES, WIDTH))
    return gpunn.tensor(x), gpunn.tensor(
        x @ weights[..., np.newaxis] + numbers.normal(size=(len(weights), EXAMPLES, 1))
    )


def learn(tasks, penalty, steps: int) -> list[np.ndarray]:
    """The weights of each task, from 0; all trials at once, each of which has its own mean squared error and penalty."""
    trials = tasks[0][0].shape[0]
    weights = [gpunn.tensor(np.zeros((trials, WIDTH, 1)), requires_grad=True) for _ in tasks]
    optimizer = optim.Adam(weights, lr=0.03)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = penalty(*weights)
        for (x, y), w in zip(tasks, weights, strict=True):
            loss = loss + trials * F.mse_loss(x @ w, y)
        loss.backward()
        optimizer.step()
    return [w.numpy()[..., 0] for w in weights]


def main() -> None:
    parser = argparse.ArgumentParser(description="Linear regression with 15 examples for 20 weights.")
    parser.add_argument("--steps", type=int, default=400, help="of each descent")
    parser.add_argument("--trials", type=int, default=20, help="draws of the data to average over")
    options = parser.parse_args()
    numbers = np.random.default_rng(0)
    first = numbers.normal(size=(options.trials, WIDTH))
    second = first + 0.3 * numbers.normal(size=first.shape)  # a task much like the first
    given = (first + 0.3 * numbers.normal(size=first.shape))[..., np.newaxis]  # learned before, of a third one
    one, two = [task(numbers, first)], [task(numbers, first), task(numbers, second)]

    strengths = np.logspace(-2, 2, 7)
    names = ("towards 0 (L2)", "towards given weights", "two tasks tied")
    found = [
        (
            learn(one, lambda w, s=s: s * F.l2_penalty(w), options.steps)[0],
            learn(one, lambda w, s=s: s * F.distance_penalty(w, given), options.steps)[0],
            learn(two, lambda w, v, s=s: s * F.tying_penalty(w, v) + 0.1 * F.l2_penalty([w, v]), options.steps)[0],
        )
        for s in strengths
    ]
    mean = np.array([[((w - first) ** 2).mean() for w in weights] for weights in found]).T

    figure, axes = new(2, 1, height=8.5)
    for name, line in zip(names, mean, strict=True):
        axes[0].loglog(strengths, line, marker="o", label=f"{name}: at best {line.min():.2f}")
        print(f"{name}: error of the weights {line.min():.3f} at strength {strengths[line.argmin()]:.2g}")
    axes[0].set(xlabel="strength of the penalty", ylabel="mean squared error of the weights")
    axes[0].set_title(f"{EXAMPLES} examples, {WIDTH} weights to learn; mean of {options.trials} trials")
    axes[0].legend()
    places = np.arange(8)
    for number, (name, weights) in enumerate(zip(("true", *names), (first, *found[3]), strict=True)):
        axes[1].bar(places + 0.2 * number - 0.3, weights[0, :8], width=0.2, label=name, color=f"C{(number + 3) % 4}")
    axes[1].set(
        xlabel="weight", ylabel="value", title=f"The first weights, at strength {strengths[3]:.2g}", xticks=places
    )
    axes[1].legend(ncols=2, fontsize=10)
    save(
        figure, "distance_and_tying", "Error of the learned weights: with a penalty towards 0, towards those of a like task, and "
        "towards those of another task learned beside it."
    )  # fmt: skip


if __name__ == "__main__":
    main()
