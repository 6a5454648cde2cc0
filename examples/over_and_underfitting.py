"""Polynomials of rising degree through noisy points: too simple, right, too flexible; and a penalty that holds them back.

Learn: least squares, polynomial features, under- and overfitting, the error on new data, ridge regression.
Needs: matplotlib.
Shows: the fits of three degrees, and the errors on old and new points against the degree, with and without ridge.

    python examples/over_and_underfitting.py
"""

import argparse

import numpy as np
from pictures import COLORS, new, save

from gpunn.classic import PolynomialRegression


def truth(x):
    return np.sin(np.pi * x)


def draw_points(count, noise, random):
    """``count`` points (n, 1) between -1 and 1, and their noisy values (n,)."""
    x = random.uniform(-1, 1, (count, 1))
    return x, truth(x[:, 0]) + noise * random.normal(size=count)


def root_mean_square_error(learner, x, y):
    return float(np.sqrt(np.mean((learner.predict(x) - y) ** 2)))


def draw_fits(degrees, x, y, device):
    figure, axes = new(rows=len(degrees), height=9.5, sharex=True)
    grid = np.linspace(-1, 1, 400)[:, None]
    names = ("underfitting", "about right", "overfitting")
    for panel, degree, name in zip(axes, degrees, names, strict=True):
        learner = PolynomialRegression(degree, device=device).fit(x, y)
        panel.plot(grid, truth(grid), "--", color="0.45", label="truth")
        panel.plot(grid, learner.predict(grid), color=COLORS[0], label="fit")
        panel.plot(x, y, "o", color=COLORS[5], label="training points")
        panel.set(ylim=(-2.2, 2.2), ylabel="y", title=f"degree {degree}: {name}")
    axes[0].legend(loc="upper left", ncols=3)
    axes[-1].set_xlabel("x")
    caption = f"Polynomials fitted to {len(x)} points: a line cannot follow the curve, a high degree passes through the noise."
    save(figure, "over_and_underfitting_fits", caption)


def draw_errors(errors, noise, ridge):
    figure, axes = new()
    for (name, measured), color in zip(errors.items(), (COLORS[0], COLORS[5], COLORS[2]), strict=True):
        axes.plot(range(1, len(measured) + 1), measured, "o-", color=color, label=name)
    axes.axhline(noise, color="0.45", linestyle="--", label="noise in the data")
    axes.set(yscale="log", xlabel="degree of the polynomial", ylabel="root mean square error")
    axes.set_xticks(range(1, len(measured) + 1))
    axes.minorticks_off()
    axes.set_yticks(marks := [0.1, 0.2, 0.3, 0.5, 1, 2, 4], [str(mark) for mark in marks])
    axes.legend()
    caption = (
        "The error on the training points only falls with the degree. On new points it falls, then rises; "
        f"the penalty {ridge:g} |w|^2 keeps it low."
    )
    save(figure, "over_and_underfitting_errors", caption)


def main() -> None:
    parser = argparse.ArgumentParser(description="Under- and overfitting against the degree of a polynomial.")
    parser.add_argument("--points", type=int, default=16, help="how many to learn from")
    parser.add_argument("--highest", type=int, default=10, help="the highest degree, at least 4")
    parser.add_argument("--noise", type=float, default=0.3, help="standard deviation of the noise")
    parser.add_argument("--ridge", type=float, default=0.05, help="the penalty's weight")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda or cuda:N")
    options = parser.parse_args()
    random = np.random.default_rng(options.seed)
    x, y = draw_points(options.points, options.noise, random)
    new_x, new_y = draw_points(1000, options.noise, random)

    errors = {"training points": [], "new points": [], f"new points, ridge {options.ridge:g}": []}
    for degree in range(1, options.highest + 1):
        plain = PolynomialRegression(degree, device=options.device).fit(x, y)
        penalized = PolynomialRegression(degree, ridge=options.ridge, device=options.device).fit(x, y)
        measured = [(plain, x, y), (plain, new_x, new_y), (penalized, new_x, new_y)]
        for series, (learner, points, values) in zip(errors.values(), measured, strict=True):
            series.append(root_mean_square_error(learner, points, values))
    on_training, on_new, with_ridge = errors.values()
    best = int(np.argmin(on_new)) + 1
    print(f"degree 1: training error {on_training[0]:.3f}, new points {on_new[0]:.3f}")
    print(f"degree {best}: training error {on_training[best - 1]:.3f}, new points {on_new[best - 1]:.3f}, the lowest")
    print(f"degree {options.highest}: training error {on_training[-1]:.3f}, new points {on_new[-1]:.3f}", end=", ")
    print(f"with ridge {options.ridge:g} {with_ridge[-1]:.3f}")
    draw_fits((1, best, options.highest), x, y, options.device)
    draw_errors(errors, options.noise, options.ridge)


if __name__ == "__main__":
    main()
