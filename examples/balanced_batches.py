"""Mini-batches balanced over classes: rare classes come as often as common ones.

Learn:   `BalancedSampler`, which the loader asks for the order of each epoch.
Needs:   nothing: the images come with gpunn.
Shows:   how many of each class are in the batches; the share of each class that is recognized.

    python examples/balanced_batches.py
"""

import argparse

import numpy as np
from pictures import new, save

import gpunn
from gpunn import Trainer, data, models, nn, optim

RARE = (1, 4, 6, 7, 9)  # trouser, coat, shirt, sneaker, ankle boot


def main() -> None:
    parser = argparse.ArgumentParser(description="Balanced mini-batches on Fashion-MNIST.")
    parser.add_argument("--common", type=int, default=300, help="images of each common class")
    parser.add_argument("--rare", type=int, default=10, help="images of each rare class")
    parser.add_argument("--steps", type=int, default=600, help="of each training")
    options = parser.parse_args()
    images, test = data.load("fashion-mini", train=True), data.load("fashion-mini", train=False)
    normalize = data.Normalize.of(images)
    test_x = gpunn.tensor(normalize(test.images, 0, 0, 0))
    counts = [options.rare if label in RARE else options.common for label in range(10)]
    kept = np.concatenate([np.flatnonzero(images.labels == label)[:count] for label, count in enumerate(counts)])
    uneven = images.subset(np.sort(kept))

    figure, panels = new(2, 1, height=7.5, sharex=True)
    places = np.arange(10)
    for number, (name, sampler) in enumerate(
        {"shuffled": None, "balanced": data.BalancedSampler(uneven.labels)}.items()
    ):
        gpunn.manual_seed(0)
        loader = data.DataLoader(uneven, 50, shuffle=sampler is None, sampler=sampler, transforms=[normalize])
        shown = np.mean([np.bincount(labels, minlength=10) for _, labels in loader], axis=0)
        net = models.mlp(hidden=(128,))
        trainer = Trainer(net, nn.CrossEntropyLoss(), optim.Adam(net.parameters()), progress="none")
        trainer.fit(loader, epochs=max(1, round(options.steps / len(loader))))
        with gpunn.no_grad():
            right = net.eval()(test_x).numpy().argmax(axis=1) == test.labels
        recognized = np.array([right[test.labels == label].mean() for label in range(10)])
        rare = recognized[list(RARE)].mean()
        print(f"{name}: {right.mean():.2%} of the test images right, {rare:.2%} of the rare classes", flush=True)
        panels[0].bar(places + 0.4 * number - 0.2, shown, width=0.4, label=name)
        label = f"{name}: {right.mean():.0%} of all, {rare:.0%} of the rare"
        panels[1].bar(places + 0.4 * number - 0.2, recognized, width=0.4, label=label)
    names = [f"{label} (rare)" if number in RARE else label for number, label in enumerate(uneven.classes)]
    panels[1].set_xticks(places, names, rotation=40, ha="right")
    for axes, what in zip(panels, ("images in a batch of 50", "share recognized"), strict=True):
        axes.set_ylabel(what)
        axes.legend(ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    save(figure, "balanced_batches", f"Five classes have {options.common} images, five {options.rare}: what batches hold, and "
         "how many test images of each class are recognized.")  # fmt: skip


if __name__ == "__main__":
    main()
