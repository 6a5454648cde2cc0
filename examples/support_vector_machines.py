"""Support vector machines: the soft margin for three prices of a mistake, and three ways to tell many classes apart.

Learn: margin, support vectors and C; one against the rest, Crammer and Singer's machine, the sum of hinges.
Needs: matplotlib. The images come with gpunn.
Shows: two clouds of points with the line and its margin, and how many images the machines get right.

    python examples/support_vector_machines.py
"""

import argparse

import numpy as np
from pictures import COLORS, new, save

from gpunn import data
from gpunn.classic import LinearSVM, MulticlassSVM


def draw_points(count, random):
    """Two clouds that overlap a little, in a plane."""
    y = np.repeat([0, 1], count // 2)
    return random.normal(size=(len(y), 2)) + np.array([[0.0, 0.0], [2.6, 1.8]])[y], y


def draw_margin(axes, learner, X, y):
    """The points, the line of score 0, the margin between the scores -1 and 1, and rings about the support vectors."""
    margins = (2 * y - 1) * learner.decision_function(X)
    for label, marker in ((0, "o"), (1, "s")):
        axes.plot(*X[y == label].T, marker, color=COLORS[label], markersize=5, label=f"class {label}")
    support = X[margins <= 1 + 1e-2]
    axes.plot(*support.T, "o", color="0.25", fillstyle="none", markersize=11, label="support vectors")
    (a, b), c = learner.coef_[0], learner.intercept_[0]
    x = np.array([-4.0, 7.0])
    for score, style in ((-1, "--"), (0, "-"), (1, "--")):
        axes.plot(x, (score - c - a * x) / b, style, color="black", linewidth=1.5)
    width = 2 / np.hypot(a, b)
    axes.set(xlim=(-3, 6), ylim=(-3.2, 5.5), ylabel="second feature")
    axes.set_title(f"C = {learner.C:g}: margin {width:.2f} wide, {len(support)} support vectors")
    return width, len(support)


def soft_margin(options):
    X, y = draw_points(options.points, np.random.default_rng(1))
    figure, axes = new(rows=3, height=12.5, sharex=True)
    for panel, C in zip(axes, (0.005, 0.1, 1.0), strict=True):
        learner = LinearSVM(C=C, epochs=30 * options.epochs, dtype="float64", device=options.device).fit(X, y)
        width, support = draw_margin(panel, learner, X, y)
        print(
            f"C = {C:<5g}  margin {width:.2f} wide, {support} support vectors, {learner.score(X, y):.1%} right",
            flush=True,
        )
    axes[0].legend(loc="lower center", bbox_to_anchor=(0.5, 1.1), ncols=3)
    axes[-1].set_xlabel("first feature")
    caption = (
        "The soft margin: where mistakes are cheap (small C) the street between the dashed lines is wide and many points may "
        "lie in it; where they are dear it is narrow. Only the ringed points, in the street or beyond it, hold the line."
    )
    save(figure, "support_vector_machines_margin", caption)


def many_classes(options):
    parts = []
    for train, count in ((True, options.images), (False, None)):
        images = data.load("fashion-mini", train=train)
        order = np.random.default_rng(0).permutation(len(images))[:count]
        parts += [images.images[order].reshape(len(order), -1) / np.float32(255), images.labels[order]]
    X, y, new_X, new_y = parts
    machines = {
        "one against the rest": LinearSVM,
        "Crammer and Singer": lambda **more: MulticlassSVM(loss="crammer_singer", **more),
        "sum of hinges": lambda **more: MulticlassSVM(loss="sum_of_hinges", **more),
    }
    prices = [0.0001, 0.001, 0.01, 0.1, 1.0]
    figure, axes = new()
    for (name, machine), style, color in zip(machines.items(), ("o-", "s--", "^-."), COLORS[:3], strict=True):
        scores = [
            machine(C=C, epochs=options.epochs, device=options.device).fit(X, y).score(new_X, new_y) for C in prices
        ]
        axes.plot(prices, scores, style, color=color, label=name)
        print(f"{name:21} right on new images: " + ", ".join(f"{s:.1%} (C={C:g})" for s, C in zip(scores, prices, strict=True)),
              flush=True)  # fmt: skip
    axes.set(xscale="log", xlabel="C, the price of a mistake", ylabel="share of new images that are right")
    axes.legend()
    save(
        figure,
        "support_vector_machines_classes",
        f"Three machines for ten classes, trained on {len(X)} images of clothes.",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Support vector machines: the soft margin, and many classes.")
    parser.add_argument("--points", type=int, default=80)
    parser.add_argument("--images", type=int, default=2500, help="how many training images to use")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:N or reference")
    options = parser.parse_args()
    soft_margin(options)
    many_classes(options)


if __name__ == "__main__":
    main()
