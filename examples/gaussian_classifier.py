"""A Gaussian for each class: boundaries that are lines or curves, and clothes told apart by means and covariances.

Learn: maximum likelihood of means, covariances and priors; shared and own covariances; what shrinkage is good for.
Needs: matplotlib; the images come with gpunn.
Shows: the regions of three classes in the plane, and the accuracy on images against shrinkage.

    python examples/gaussian_classifier.py
"""

import argparse

import numpy as np
from pictures import COLORS, new, save

from gpunn import data
from gpunn.classic import GaussianClassifier

TITLES = {
    "shared": "one covariance for all: the boundaries are lines",
    "own": "own covariances: the boundaries are curves",
}


def points_in_the_plane(count, random):
    """``count`` points of each of three classes, of different shapes."""
    shapes = [([0, 0], [[1, 0.6], [0.6, 1]]), ([3, 0.5], [[0.3, 0], [0, 2]]), ([1, 3.5], [[1.5, -0.7], [-0.7, 0.6]])]
    points = [random.multivariate_normal(mean, covariance, count) for mean, covariance in shapes]
    return np.concatenate(points), np.repeat(["A", "B", "C"], count)


def draw_regions(count, device):
    points, labels = points_in_the_plane(count, np.random.default_rng(0))
    figure, axes = new(rows=2, height=10, sharex=True)
    horizontal, vertical = np.meshgrid(np.linspace(-4, 6, 300), np.linspace(-4, 7, 300))
    places = np.column_stack([horizontal.ravel(), vertical.ravel()])
    circle = np.stack([np.cos(np.linspace(0, 2 * np.pi, 100)), np.sin(np.linspace(0, 2 * np.pi, 100))])
    for panel, covariance in zip(axes, TITLES, strict=True):
        learner = GaussianClassifier(covariance, device=device).fit(points, labels)
        regions = np.searchsorted(learner.classes_, learner.predict(places)).reshape(horizontal.shape)
        panel.contourf(horizontal, vertical, regions, [-0.5, 0.5, 1.5, 2.5], colors=COLORS[:3], alpha=0.15)
        for k, label in enumerate(learner.classes_):
            panel.plot(
                *points[labels == label].T, "o", color=COLORS[k], markersize=4, alpha=0.6, label=f"class {label}"
            )
            factor = np.linalg.cholesky(learner.covariances_[k if covariance == "own" else 0])
            # Where the density is exp(-1/2) and exp(-2) of its highest: one and two standard deviations.
            for distance in (1, 2):
                panel.plot(*(learner.means_[k][:, None] + distance * factor @ circle), color=COLORS[k])
        right = learner.score(points, labels)
        panel.set(title=f"{TITLES[covariance]} ({right:.0%} right)", ylabel="second feature", ylim=(-4, 7))
        panel.grid(False)
        print(f"points in the plane, {covariance} covariance: {right:.1%} right")
    axes[0].legend(loc="lower left")
    axes[1].set_xlabel("first feature")
    caption = "Three classes, the ellipses of their Gaussians at one and two standard deviations, and who wins where."
    save(figure, "gaussian_classifier_regions", caption)


def blocks_of_pixels(images):
    """Means over blocks of 4 by 4 pixels: 49 features instead of 784, so that a covariance has 49 x 49 numbers."""
    n = len(images)
    return images.images.reshape(n, 7, 4, 7, 4).mean(axis=(2, 4)).reshape(n, 49) / 255


def draw_shrinkage(count, device):
    train, test = data.load("fashion-mini", train=True).subset(slice(count)), data.load("fashion-mini", train=False)
    X, X_test = blocks_of_pixels(train), blocks_of_pixels(test)
    shrinkages = np.logspace(-4, 0, 13)
    figure, axes = new()
    for covariance, color in zip(TITLES, COLORS, strict=False):
        scores = []
        for shrinkage in shrinkages:
            learner = GaussianClassifier(covariance, shrinkage=shrinkage, device=device).fit(X, train.labels)
            scores.append(learner.score(X_test, test.labels))
        best = int(np.argmax(scores))
        print(
            f"images, {covariance} covariance: {scores[best]:.1%} right with shrinkage {shrinkages[best]:.2g}", end=", "
        )
        print(f"{scores[0]:.1%} with {shrinkages[0]:.2g}")
        axes.plot(shrinkages, scores, "o-", color=color, label=f"{covariance} covariance")
    axes.set(xscale="log", xlabel="shrinkage (1: all covariances are spheres)", ylabel="accuracy on test images")
    axes.legend()
    caption = (
        f"Images of clothes as 49 blocks of pixels, learned from {count}: own covariances have ten times as many numbers "
        "to estimate as a shared one, and gain by being moved towards spheres."
    )
    save(figure, "gaussian_classifier_shrinkage", caption)


def main() -> None:
    parser = argparse.ArgumentParser(description="Classify by a Gaussian density for each class.")
    parser.add_argument("--points", type=int, default=100, help="points of each class in the plane")
    parser.add_argument("--images", type=int, default=1000, help="how many of the 10,000 training images to learn from")
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda or cuda:N")
    options = parser.parse_args()
    draw_regions(options.points, options.device)
    draw_shrinkage(options.images, options.device)


if __name__ == "__main__":
    main()
