"""Hyperparameters of a nearest-neighbour classifier by cross-validation: the test images are looked at once, at the end.

Learn: training, validation and test data; k-fold cross-validation; a search over a grid; why the best score flatters.
Needs: matplotlib; the images come with gpunn.
Shows: accuracy over the folds against the number of neighbours, for two metrics, and the test accuracy of the choice.

    python examples/cross_validation.py
"""

import argparse

import numpy as np
from pictures import COLORS, new, save

from gpunn import data
from gpunn.classic import GridSearch, KNeighborsClassifier, StratifiedKFold, train_validation_test_split


def pixels_and_labels(count):
    """``count`` images of clothes as rows of 784 values from 0 to 1, and their labels."""
    images = data.load("fashion-mini", train=True)
    rows = train_validation_test_split(len(images), validation=0, test=count / len(images), labels=images.labels).test
    return images.images[rows].reshape(len(rows), -1) / 255, images.labels[rows]


def main() -> None:
    parser = argparse.ArgumentParser(description="Choose k and the metric of k nearest neighbours by cross-validation.")
    parser.add_argument("--images", type=int, default=1500, help="how many images in all, at least 100")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda or cuda:N")
    options = parser.parse_args()
    X, y = pixels_and_labels(options.images)
    split = train_validation_test_split(len(y), validation=0.2, test=0.2, labels=y)
    learned, held_out = np.concatenate([split.train, split.validation]), split.test

    # One validation part: quick, but its score depends on which rows it happens to hold.
    single = KNeighborsClassifier(3, device=options.device).fit(X[split.train], y[split.train])
    print(f"3 neighbours: accuracy {single.score(X[split.validation], y[split.validation]):.1%} on one validation part")

    # Folds: every row but those for the test is a validation row once.
    counts = [k for k in (1, 3, 5, 7, 11, 15, 21, 31) if k <= len(learned) // 4]
    grid = {"metric": ["l2", "cosine"], "n_neighbors": counts}
    search = GridSearch(KNeighborsClassifier(device=options.device), grid, StratifiedKFold(options.folds))
    search.fit(X[learned], y[learned])
    test_score = search.score(X[held_out], y[held_out])
    chosen = search.best_params_
    print(f"the search over {len(search.results_)} combinations chose {chosen}")
    print(f"its accuracy over {options.folds} folds is {search.best_score_:.1%}, on the test images {test_score:.1%}")

    figure, axes = new()
    for metric, color in zip(grid["metric"], COLORS, strict=False):
        results = [result for result in search.results_ if result["params"]["metric"] == metric]
        means, deviations = ([result[key] for result in results] for key in ("mean", "deviation"))
        # A little aside of each other, so that the bars can be told apart.
        places = np.array(counts) * (0.985 if metric == "l2" else 1.015)
        axes.errorbar(places, means, deviations, fmt="o-", color=color, capsize=4, label=f"{metric}, mean of the folds")
    axes.plot(chosen["n_neighbors"], test_score, "*", color=COLORS[5], markersize=16, label="test images, the choice")
    axes.set(xscale="log", xlabel="number of neighbours k", ylabel="accuracy")
    axes.set_xticks(counts, [str(k) for k in counts])
    axes.minorticks_off()
    axes.legend()
    caption = (
        f"Accuracy of k nearest neighbours on {len(learned)} images over {options.folds} folds (bars: one standard deviation "
        f"between folds), and of the chosen one on {len(held_out)} test images that took no part in the choice."
    )
    save(figure, "cross_validation", caption)


if __name__ == "__main__":
    main()
