"""Label smoothing: targets of 0.91 and 0.01 instead of 1 and 0, so that a network is not surer than it should be.

Learn:   the option ``label_smoothing`` of the cross-entropy; how sure a network is, and how often it is right when it is.
Needs:   nothing: the images come with gpunn.
Shows:   how sure it is of its answers; how often answers of each sureness are right, with and without smoothing.

    python examples/label_smoothing.py
"""

import argparse

import numpy as np
from pictures import new, save

import gpunn
from gpunn import Trainer, data, models, nn, optim
from gpunn import functional as F


def main() -> None:
    parser = argparse.ArgumentParser(description="Label smoothing on Fashion-MNIST.")
    parser.add_argument("--images", type=int, default=1000, help="how many images to learn from")
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--smoothing", type=float, default=0.1, help="the share of each target that is spread")
    options = parser.parse_args()
    images, test = data.load("fashion-mini", train=True), data.load("fashion-mini", train=False)
    normalize = data.Normalize.of(images)
    test_x = gpunn.tensor(normalize(test.images, 0, 0, 0))

    figure, axes = new(2, 1, height=8.5, sharex=True)
    edges = np.linspace(0.2, 1, 9)
    for number, smoothing in enumerate((0.0, options.smoothing)):
        gpunn.manual_seed(0)
        net = models.mlp(hidden=(256,))
        loss = nn.CrossEntropyLoss(label_smoothing=smoothing)
        loader = data.DataLoader(images.subset(slice(options.images)), 50, shuffle=True, transforms=[normalize])
        Trainer(net, loss, optim.Adam(net.parameters()), progress="none").fit(loader, epochs=options.epochs)
        with gpunn.no_grad():
            scores = net.eval()(test_x)
            probabilities = F.softmax(scores, 1).numpy()
            missed_by = F.cross_entropy(scores, test.labels).item()
        sure, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == test.labels
        name = f"smoothing {smoothing:g}"
        print(
            f"{name}: {right.mean():.2%} right, sure of {sure.mean():.2%} on average, test cross-entropy {missed_by:.3f}"
        )
        axes[0].hist(sure, bins=edges, alpha=0.6, label=f"{name}: sure of {sure.mean():.0%}, {right.mean():.0%} right")
        groups = np.clip(np.digitize(sure, edges) - 1, 0, len(edges) - 2)
        shares = [
            right[groups == group].mean() if (groups == group).sum() >= 10 else np.nan
            for group in range(len(edges) - 1)
        ]
        axes[1].plot((edges[1:] + edges[:-1]) / 2, shares, marker="os"[number], label=name)
    axes[1].plot((0.2, 1), (0.2, 1), color="black", linestyle="--", label="as sure as right")
    axes[0].set(ylabel="test images")
    axes[0].legend(loc="upper left")
    axes[1].set(xlabel="probability of the answer", ylabel="share that is right")
    axes[1].legend(loc="upper left")
    save(
        figure,
        "label_smoothing",
        "How sure a network is of its answers on test images, and how often it is right then.",
    )


if __name__ == "__main__":
    main()
