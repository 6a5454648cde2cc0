"""The losses of linear classifiers against the margin, and their (sub)gradients; and how sharp a maximum log-sum-exp is.

Learn: hinge, squared hinge, logistic (base 2), modified Huber, exponential and sigmoid loss;
       cross-entropy beside squared error; log-sum-exp and its bounds.
Needs: matplotlib.
Shows: that all but the sigmoid loss lie above the count of mistakes, how each pulls at what is wrong, and who pulls hardest.

    python examples/losses.py
"""

import argparse
import math

import numpy as np
from pictures import COLORS, new, save

import gpunn
from gpunn import functional as F

# Name, function, line style: smooth ones are solid.
LOSSES = [
    ("hinge", F.hinge_loss, "--"),
    ("squared hinge", F.squared_hinge_loss, "-"),
    ("logistic (base 2)", F.logistic_loss, "-"),
    ("modified Huber", F.modified_huber_loss, "-."),
    ("exponential", F.exponential_loss, "-"),
    ("sigmoid", F.sigmoid_loss, "-"),
]


def values_and_slopes(loss, margins, device):
    """The loss at each margin, and its derivative there; at a corner the subgradient that backward chooses."""
    scores = gpunn.tensor(margins, device=device, requires_grad=True)
    losses = loss(scores, np.ones_like(margins), reduction="none")
    losses.sum().backward()
    return losses.numpy(), scores.grad.numpy()


def draw_losses(margins, device):
    figure, (above, below) = new(rows=2, height=9.5, sharex=True)
    mistakes = np.where(margins <= 0, 1.0, 0.0)
    above.plot(margins, mistakes, color="0.4", linewidth=4, alpha=0.5, label="mistake (0 or 1)")
    for (name, loss, style), color in zip(LOSSES, COLORS, strict=False):
        values, slopes = values_and_slopes(loss, margins, device)
        above.plot(margins, values, style, color=color, label=name)
        below.plot(margins, slopes, style, color=color, label=name)
    above.set(ylim=(-0.1, 5), ylabel="loss", title="loss of one example")
    below.set(ylim=(-6.2, 0.4), xlabel="margin m = target x score", ylabel="derivative by m", title="its (sub)gradient")
    above.legend()
    caption = (
        "Losses against the margin: right answers are on the right. The hinge pulls at all that is below 1 with the same "
        "force; the exponential loss listens most to what is worst; the sigmoid loss gives the worst up."
    )
    save(figure, "losses", caption)


def draw_probabilities(device):
    """Cross-entropy and squared error of a probability, sigmoid(x), that should be 1; and their derivatives by x."""
    x = np.linspace(-8, 8, 300)
    ones = np.ones_like(x)
    figure, (above, below) = new(rows=2, height=8.6, sharex=True)
    for name, loss, style in (
        ("binary cross-entropy", lambda z: F.binary_cross_entropy_with_logits(z, ones, reduction="none"), "-"),
        ("squared error", lambda z: F.mse_loss(z.sigmoid(), ones, reduction="none"), "--"),
    ):
        scores = gpunn.tensor(x, device=device, requires_grad=True)
        losses = loss(scores)
        losses.sum().backward()
        above.plot(x, losses.numpy(), style, label=name)
        below.plot(x, scores.grad.numpy(), style, label=name)
    above.set(ylabel="loss", title="loss of the probability sigmoid(x), where 1 is right")
    below.set(xlabel="score x", ylabel="derivative by x", title="its gradient")
    above.legend()
    caption = (
        "Where the answer is badly wrong (left), cross-entropy still pulls with a gradient near -1; the squared error of a "
        "probability does not pull at all."
    )
    save(figure, "losses_of_probabilities", caption)


def draw_log_sum_exp(device):
    """Of n numbers of which one is x and the rest are 0, between the bounds max and max + log n."""
    x, count = np.linspace(-4, 8, 300), 5
    numbers = np.zeros((len(x), count))
    numbers[:, 0] = x
    found = F.logsumexp(gpunn.tensor(numbers, device=device), 1).numpy()
    peak = numbers.max(axis=1)
    figure, axes = new()
    axes.fill_between(x, peak, peak + math.log(count), alpha=0.15, label="from max to max + log 5")
    axes.plot(x, found, label="log-sum-exp")
    axes.plot(x, peak, "--", color=COLORS[5], label="max")
    axes.set(xlabel="x", ylabel="of (x, 0, 0, 0, 0)")
    axes.legend(loc="upper left")
    caption = "log-sum-exp of five numbers is a smooth maximum, at most log 5 too large; it is so where all are equal (x = 0)."
    save(figure, "log_sum_exp", caption)
    return float((found - peak).max()), math.log(count)


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the losses of linear classifiers and their subgradients.")
    parser.add_argument("--points", type=int, default=601, help="margins at which to draw")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:N or reference")
    options = parser.parse_args()

    print("margin         " + "".join(f"{m:>8}" for m in (-2, 0, 1, 2)))
    for name, loss, _ in LOSSES:
        values, _ = values_and_slopes(loss, np.array([-2.0, 0.0, 1.0, 2.0]), options.device)
        print(f"{name:18}" + "".join(f"{value:8.3f}" for value in values)[3:])
    draw_losses(np.linspace(-3, 3, options.points), options.device)
    draw_probabilities(options.device)
    most, bound = draw_log_sum_exp(options.device)
    print(f"log-sum-exp of five numbers: at most {most:.3f} above the maximum, the bound is log 5 = {bound:.3f}")


if __name__ == "__main__":
    main()
