"""Clothes told by the most similar pictures seen before: k nearest neighbours, by four metrics.

Learn: distances l1, l2, linf and cosine; what k does to the boundary; that nothing is learned and all work is at the end.
Needs: matplotlib; the images come with gpunn.
Shows: images with their nearest neighbours, the accuracy of each metric, and boundaries in the plane for k = 1 and 15.

    python examples/nearest_neighbors.py
"""

import argparse

import numpy as np
from pictures import COLORS, new, save, show

from gpunn import data
from gpunn.classic import KNeighborsClassifier

METRICS = ("l1", "l2", "linf", "cosine")


def draw_neighbours(learner, train, test, rows, count=5):
    """A line for each of ``rows`` of the test images: the image, then its nearest neighbours."""
    _, neighbours = learner.kneighbors(test.images[rows].reshape(len(rows), -1) / 255)
    figure, axes = new(len(rows), count + 1, width=7, height=1.45 * len(rows))
    for line, row, nearest in zip(axes, rows, neighbours, strict=True):
        show(line[0], test.images[row, 0] / 255, test.classes[test.labels[row]])
        line[0].title.set(fontsize=11, fontweight="bold")
        for panel, neighbour in zip(line[1:], nearest, strict=False):
            label = train.labels[neighbour]
            show(panel, train.images[neighbour, 0] / 255, train.classes[label])
            panel.title.set(fontsize=11, color=COLORS[2] if label == test.labels[row] else COLORS[5])
    caption = (
        "Test images (left) and their nearest training images by l2, the nearest first; green names are right, orange ones "
        "wrong."
    )
    save(figure, "nearest_neighbors_images", caption)


def draw_accuracies(scores, count):
    figure, axes = new(height=3.6)
    bars = axes.barh(list(scores), list(scores.values()), color=COLORS[0])
    axes.bar_label(bars, [f"{score:.1%}" for score in scores.values()], padding=4)
    axes.set(xlim=(0, 1), xlabel="accuracy on test images", ylabel="metric")
    axes.invert_yaxis()
    axes.grid(False)
    caption = (
        f"Five nearest neighbours among {count} images of clothes: linf sees only the pixel that differs the most."
    )
    save(figure, "nearest_neighbors_metrics", caption)


def draw_boundaries(device):
    """Two classes that overlap: one neighbour follows every point, fifteen vote the strays down."""
    random = np.random.default_rng(1)
    angles = np.pi * random.random(200)
    labels = np.repeat([0, 1], 100)
    moons = np.column_stack([np.cos(angles), np.sin(angles)])
    moons[labels == 1] = [1, 0.4] - moons[labels == 1]
    moons += 0.28 * random.normal(size=moons.shape)
    horizontal, vertical = np.meshgrid(np.linspace(-2, 3, 160), np.linspace(-1.6, 2, 160))
    places = np.column_stack([horizontal.ravel(), vertical.ravel()])
    figure, axes = new(rows=2, height=8, sharex=True)
    for panel, k in zip(axes, (1, 15), strict=True):
        learner = KNeighborsClassifier(k, device=device).fit(moons, labels)
        regions = learner.predict(places).reshape(horizontal.shape)
        panel.contourf(horizontal, vertical, regions, [-0.5, 0.5, 1.5], colors=COLORS[:2], alpha=0.2)
        for label in (0, 1):
            panel.plot(*moons[labels == label].T, "o", color=COLORS[label], markersize=5, label=f"class {label}")
        panel.set(title=f"k = {k}", ylabel="second feature")
        panel.grid(False)
    axes[0].legend(loc="upper right")
    axes[1].set_xlabel("first feature")
    caption = "The regions of 1 and of 15 nearest neighbours: a larger k gives a smoother boundary."
    save(figure, "nearest_neighbors_boundaries", caption)


def main() -> None:
    parser = argparse.ArgumentParser(description="Classify images of clothes by their nearest neighbours.")
    parser.add_argument("--images", type=int, default=2000, help="how many of the 10,000 training images to remember")
    parser.add_argument(
        "--tests", type=int, default=300, help="how many of the 2,000 test images to classify, at least 9"
    )
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda or cuda:N")
    options = parser.parse_args()
    train = data.load("fashion-mini", train=True).subset(slice(options.images))
    test = data.load("fashion-mini", train=False).subset(slice(options.tests))
    X, X_test = (part.images.reshape(len(part), -1) / 255 for part in (train, test))

    scores = {}
    for metric in METRICS:
        learner = KNeighborsClassifier(5, metric=metric, device=options.device).fit(X, train.labels)
        scores[metric] = learner.score(X_test, test.labels)
        print(f"{metric}: {scores[metric]:.1%} of {len(test)} test images right")
    draw_accuracies(scores, len(train))
    learner = KNeighborsClassifier(5, device=options.device).fit(X, train.labels)
    draw_neighbours(learner, train, test, rows=[0, 2, 4, 5, 8])
    draw_boundaries(options.device)


if __name__ == "__main__":
    main()
