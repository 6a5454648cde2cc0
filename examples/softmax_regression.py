"""Softmax regression on images of clothes: how step sizes decide the descent, and what the weights look like.

Learn: softmax regression by stochastic descent; step sizes constant, 1/sqrt(t) and 1/t; averaged iterates.
Needs: matplotlib. The images come with gpunn; with --data mnist they are MNIST's, from --data-dir.
Shows: the objective in each pass for three schedules of a long and of a short step, and the weights of the ten classes as images.

    python examples/softmax_regression.py
    python examples/softmax_regression.py --data mnist --data-dir ~/data
"""

import argparse

import numpy as np
from pictures import COLORS, DIVERGING, new, save, show

from gpunn import data
from gpunn.classic import SoftmaxRegression
from gpunn.classic.subgradient import SCHEDULES


def load(name, data_dir, train, count):
    """``count`` images as rows of numbers between 0 and 1, their labels, and the names of the classes."""
    images = data.load(name, data_dir, train=train)
    order = np.random.default_rng(0).permutation(len(images))[:count]
    return images.images[order].reshape(len(order), -1) / np.float32(255), images.labels[order], images.classes


def draw_descent(learners):
    """One panel for each length of the first step, one line for each schedule."""
    lengths = sorted({length for length, _ in learners}, reverse=True)
    figure, axes = new(rows=len(lengths), height=8.6, sharex=True, sharey=True)
    for panel, length in zip(axes, lengths, strict=True):
        for schedule, style, color in zip(SCHEDULES, ("-", "--", "-."), COLORS, strict=False):
            learner = learners[length, schedule]
            panel.plot(1 + np.arange(learner.epochs), learner.objective_, style, color=color, label=f"step: {schedule}")
        panel.set(ylabel="objective of the pass", title=f"first step {length:g}")
        panel.legend()
    axes[-1].set_xlabel("pass over the images t")
    caption = (
        "Softmax regression with three schedules of the step size. After a long first step a constant one goes to and fro, "
        "and shrinking helps; after a short one 1/t falls behind."
    )
    save(figure, "softmax_regression_descent", caption)


def draw_weights(learner, names, side):
    figure, axes = new(rows=2, columns=5, width=11, height=5.2)
    limit = np.abs(learner.coef_).max() * 0.7
    for panel, weights, name in zip(axes.flat, learner.coef_, names, strict=True):
        show(panel, weights.reshape(side, side), name, cmap=DIVERGING, vmin=-limit, vmax=limit)
    save(
        figure,
        "softmax_regression_weights",
        "The weights of each class: red pixels speak for it, blue ones against it.",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Softmax regression with three schedules of the step size.")
    parser.add_argument("--images", type=int, default=3000, help="how many training images to use")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--penalty", type=float, default=0.02, help="C: small values hold the weights down")
    parser.add_argument("--data", default="fashion-mini", choices=("fashion-mini", "fashion-mnist", "mnist"))
    parser.add_argument("--data-dir", default="data", help="where MNIST is, if it is asked for")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:N or reference")
    options = parser.parse_args()

    X, y, names = load(options.data, options.data_dir, True, options.images)
    new_X, new_y, _ = load(options.data, options.data_dir, False, None)
    learners = {}
    for length in (4.0, 0.2):
        for schedule in SCHEDULES:
            learner = SoftmaxRegression(
                C=options.penalty,
                epochs=options.epochs,
                step_size=length,
                schedule=schedule,
                average=False,
                device=options.device,
            )
            learners[length, schedule] = learner.fit(X, y)
            right = learner.score(new_X, new_y)
            print(
                f"step {length:<3g} {schedule:9}  objective {learner.objective_[-1]:.4f}  {right:.1%} of new images right",
                flush=True,
            )
    averaged = SoftmaxRegression(C=options.penalty, epochs=options.epochs, device=options.device).fit(X, y)
    print(f"the average of the iterates: {averaged.score(new_X, new_y):.1%} of new images right")
    draw_descent(learners)
    draw_weights(averaged, names, int(X.shape[1] ** 0.5))


if __name__ == "__main__":
    main()
