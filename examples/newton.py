"""Newton's method: few steps, each with the whole Hessian; and what it does at a saddle.

Learn:  quadratic convergence on logistic regression; damping, and eigenvalues by magnitude, where the loss is not convex.
Needs:  matplotlib; the images come with gpunn.
Shows:  newton_convergence: the loss above its minimum against the steps. newton_saddle: paths from beside a saddle.

    python examples/newton.py
"""

import argparse

import numpy as np
from pictures import new, save

import gpunn
from gpunn import data, optim
from gpunn import functional as F

SNEAKER, BOOT = 7, 9


def two_classes(count: int) -> tuple[gpunn.Tensor, gpunn.Tensor]:
    """Sneakers and boots, of 4 x 4 means: 16 features and a constant; labels 0 and 1."""
    dataset = data.load("fashion-mini", train=True)
    images = dataset.images.reshape(-1, 4, 7, 4, 7).mean(axis=(2, 4)).reshape(-1, 16) / 255
    chosen = np.flatnonzero(np.isin(dataset.labels, (SNEAKER, BOOT)))[:count]
    inputs = np.concatenate([images[chosen], np.ones((len(chosen), 1))], axis=1)
    return gpunn.tensor(inputs), gpunn.tensor((dataset.labels[chosen] == BOOT).astype("float64"))


def losses_of(make, inputs: gpunn.Tensor, labels: gpunn.Tensor, steps: int) -> np.ndarray:
    """The loss before each step of logistic regression with a little weight decay, which makes the minimum unique."""
    weights = gpunn.tensor(np.zeros(inputs.shape[1]), requires_grad=True)
    optimizer = make([weights])

    def closure():
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(inputs @ weights, labels) + 1e-3 * (weights**2).sum()
        loss.backward()
        return loss

    return np.array([optimizer.step(closure).item() for _ in range(steps)])


def draw_convergence(count: int, steps: int) -> None:
    inputs, labels = two_classes(count)
    newton = losses_of(optim.Newton, inputs, labels, 12)
    figure, axes = new()
    best = newton.min()
    for name, losses in [
        ("Newton", newton),
        ("gradient descent", losses_of(lambda p: optim.SGD(p, lr=1.0), inputs, labels, steps)),
        (
            "Nesterov 0.95",
            losses_of(lambda p: optim.SGD(p, lr=1.0, momentum=0.95, nesterov=True), inputs, labels, steps),
        ),
    ]:
        gap = losses - best
        print(f"{name:18} loss {losses[-1]:.6f}, {gap[-1]:.1e} above the minimum, after {len(losses) - 1} steps")
        axes.loglog(1 + np.arange(len(gap)), np.maximum(gap, 1e-14), "o-" if name == "Newton" else "-", label=name)
    axes.set(xlabel="step", ylabel="loss above its minimum", title=f"logistic regression, {inputs.shape[1]} weights")
    axes.legend()
    save(
        figure, "newton_convergence", "Each Newton step doubles the correct digits; a gradient step adds a fixed share."
    )


def draw_saddle() -> None:
    """f = x^2 / 2 - y^2 / 2 + y^4 / 4: a saddle in (0, 0), minima in (0, -1) and (0, 1)."""
    x, y = np.meshgrid(np.linspace(-1.7, 1.7, 150), np.linspace(-1.5, 2.05, 150))
    figure, axes = new(width=7, height=6.5)
    axes.contour(x, y, x**2 / 2 - y**2 / 2 + y**4 / 4, levels=22, colors="#999999", linewidths=0.8)
    for name, settings, style in [
        ("Newton", {}, "o-"),
        ("Newton, damping 1.5", {"damping": 1.5}, "^-"),
        ("Newton, absolute", {"absolute": True, "damping": 0.05}, "s-"),
    ]:
        point = gpunn.tensor([1.4, 0.3], dtype="float64", requires_grad=True)
        optimizer = optim.Newton([point], **settings)

        def closure(point=point):
            loss = point[0] ** 2 / 2 - point[1] ** 2 / 2 + point[1] ** 4 / 4
            loss.backward()
            return loss

        path = [point.numpy().copy()]
        for _ in range(25):
            optimizer.step(closure)
            path.append(point.numpy().copy())
        print(f"{name:20} ends in ({path[-1][0]:.3f}, {path[-1][1]:.3f})")
        axes.plot(*np.array(path).T, style, markersize=5, label=name)
    axes.plot([0, 0], [-1, 1], "k*", markersize=13, label="minima", linestyle="none")
    axes.plot(0, 0, "kX", markersize=10, label="saddle", linestyle="none")
    axes.set(xlabel="x", ylabel="y", title="beside a saddle")
    axes.legend(loc="lower right")
    save(
        figure,
        "newton_saddle",
        "Plain Newton runs into the saddle; damping or the magnitudes of the eigenvalues lead down.",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Newton's method on logistic regression and beside a saddle.")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=2000, help="of the gradient methods")
    options = parser.parse_args()
    draw_convergence(options.images, options.steps)
    draw_saddle()


if __name__ == "__main__":
    main()
