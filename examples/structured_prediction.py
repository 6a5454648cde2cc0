"""Structured support vector machines: a tree in which some mistakes are worse than others, and sets of labels.

Learn: joint features, loss-augmented inference, the tree distance and the Hamming loss as costs of a mistake.
Needs: matplotlib. The images come with gpunn.
Shows: confusions of a machine that knows the tree of clothes beside one that does not; and two garments in one image.

    python examples/structured_prediction.py
"""

import argparse

import numpy as np
from pictures import new, save, show

from gpunn import data
from gpunn.classic import MultilabelProblem, StructuredSVM, TreeProblem

TREE = {
    "tops": "clothes", "legs": "clothes", "shoes": "clothes", "Bag": "clothes",
    "T-shirt/top": "tops", "Pullover": "tops", "Coat": "tops", "Shirt": "tops",
    "Trouser": "legs", "Dress": "legs",
    "Sandal": "shoes", "Sneaker": "shoes", "Ankle boot": "shoes",
}  # fmt: skip


def load(train, count):
    """``count`` images (n, 784) between 0 and 1, their numbers of classes, and the names of the classes."""
    images = data.load("fashion-mini", train=train)
    order = np.random.default_rng(0).permutation(len(images))[:count]
    return images.images[order].reshape(len(order), -1) / np.float32(255), images.labels[order], images.classes


def tree_distance(options):
    """The tree's machine, which pays by the distance, and a flat one for which all mistakes are alike, for several C."""
    X, y, names = load(True, options.images)
    new_X, new_y, _ = load(False, None)
    tree = TreeProblem(TREE)
    flat = TreeProblem(dict.fromkeys(tree.leaves, "clothes"))
    right, new_right = np.array(names)[y], np.array(names)[new_y]
    edges = tree.distances[tree.encode(new_right)]
    prices = [0.0003, 0.001, 0.003, 0.01, 0.03]
    figure, axes = new(rows=3, height=17, gridspec_kw={"height_ratios": [3, 3, 2]})
    for panel, problem, name, style in zip(axes, (tree, flat), ("tree", "flat"), ("o-", "s--"), strict=False):
        means = []
        for price in prices:
            learner = StructuredSVM(problem, C=price, epochs=options.epochs, device=options.device).fit(X, right)
            answers = learner.predict(new_X)
            distance = edges[np.arange(len(edges)), tree.encode(answers)]
            means.append(distance.mean())
            far = np.mean(distance > 2)
            found = f"{np.mean(distance == 0):.1%} right, {far:.1%} far, on average {means[-1]:.3f} edges"
            print(f"{name}, C = {price:<6g}  {found}", flush=True)
            if price == 0.001:
                draw_confusions(panel, tree, new_right, answers)
                panel.set_title(f"the {name} machine, C = {price:g}: {far:.1%} far, on average {means[-1]:.2f} edges")
        axes[2].plot(prices, means, style, label=f"the {name} machine")
    axes[2].set(xscale="log", xlabel="C, the price of a mistake", ylabel="mean distance (edges)")
    axes[2].legend()
    caption = (
        "How often a garment (row) is called another (column), in percent; lines part the branches of the tree. Where weights "
        "must be small, the tree's machine, whose leaves share those of their branch, keeps its mistakes nearer; where "
        "mistakes are dear, the flat one has fewer of them."
    )
    save(figure, "structured_prediction_tree", caption)


def draw_confusions(panel, problem, right, answers):
    leaves = problem.leaves
    share = np.array([[100 * np.mean(answers[right == row] == column) for column in leaves] for row in leaves])
    panel.imshow(share, cmap="Blues", vmin=0, vmax=40)
    for (row, column), value in np.ndenumerate(share):
        if value >= 0.5:
            panel.text(
                column,
                row,
                f"{value:.0f}",
                ha="center",
                va="center",
                fontsize=11,
                color="white" if value > 25 else "black",
            )
    for place in range(1, len(leaves)):
        if problem.parents[leaves[place]] != problem.parents[leaves[place - 1]]:
            panel.axhline(place - 0.5, color="black", linewidth=1)
            panel.axvline(place - 0.5, color="black", linewidth=1)
    panel.set_xticks(range(len(leaves)), leaves, rotation=45, ha="right")
    panel.set_yticks(range(len(leaves)), leaves)
    panel.set(xlabel="answer", ylabel="garment")
    panel.grid(False)


def overlay(X, y, classes, random):
    """Pairs of images laid over each other, the brighter pixel wins; and the set of their classes (n, K)."""
    other = random.permutation(len(X))
    sets = np.zeros((len(X), classes), np.int64)
    sets[np.arange(len(X)), y] = 1
    sets[np.arange(len(X)), y[other]] = 1
    return np.maximum(X, X[other]), sets


def sets_of_labels(options):
    """Which garments lie over each other?"""
    random = np.random.default_rng(0)
    X, y, names = load(True, options.images)
    new_X, new_y, _ = load(False, None)
    X, sets = overlay(X, y, len(names), random)
    new_X, new_sets = overlay(new_X, new_y, len(names), random)
    learner = StructuredSVM(MultilabelProblem(len(names)), C=0.1, epochs=options.epochs, device=options.device)
    answers = learner.fit(X, sets).predict(new_X)
    print(
        f"sets: {learner.score(new_X, new_sets):.1%} of the labels right (none at all: {1 - new_sets.mean():.1%}), "
        f"{np.mean((answers == new_sets).all(axis=1)):.1%} of the sets whole",
        flush=True,
    )
    figure, axes = new(rows=2, columns=3, width=9.5, height=7.4)
    for panel, image, right, found in zip(axes.flat, new_X, new_sets, answers, strict=False):
        show(panel, image.reshape(28, 28))
        lines = [", ".join(np.array(names)[row > 0]) or "nothing" for row in (right, found)]
        panel.set_title(f"{lines[0]}\nfound: {lines[1]}", fontsize=11)
    save(
        figure,
        "structured_prediction_sets",
        "Two garments over each other, and the set of labels that the machine answers.",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Structured support vector machines: a tree, and sets of labels.")
    parser.add_argument("--images", type=int, default=1500, help="how many training images to use")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:N or reference")
    options = parser.parse_args()
    tree_distance(options)
    sets_of_labels(options)


if __name__ == "__main__":
    main()
