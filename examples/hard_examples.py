"""Training on the examples with the largest errors: what is gained, and what outliers make of it.

Learn:   `LargestErrorSampler`, which the loader asks for the images of each epoch; looking at what it chose.
Needs:   nothing: the images come with gpunn.
Shows:   test accuracy against steps, with right labels and with some wrong ones; the images that it trains on in the end.

    python examples/hard_examples.py
"""

import argparse

import numpy as np
from pictures import new, save, show

import gpunn
from gpunn import data, models, optim
from gpunn import functional as F


def with_wrong_labels(images: data.Dataset, share: float) -> tuple[data.Dataset, np.ndarray]:
    """Some labels replaced by wrong ones, and which."""
    numbers = np.random.default_rng(0)
    wrong = numbers.random(len(images)) < share
    labels = np.where(wrong, (images.labels + numbers.integers(1, 10, len(images))) % 10, images.labels)
    return data.Dataset(images.images, labels, images.classes), wrong


def losses(net, images: data.Dataset, normalize: data.Normalize) -> np.ndarray:
    """Of each image, in order."""
    with gpunn.no_grad():
        loader = data.DataLoader(images, 500, transforms=[normalize])
        return np.concatenate([F.cross_entropy(net(gpunn.tensor(x)), y, reduction="none").numpy() for x, y in loader])


def train(images, test, normalize, share: float, options) -> tuple[list, np.ndarray, np.ndarray]:
    """Test accuracy against steps, the images chosen for the last epoch, and the losses of all images in the end."""
    gpunn.manual_seed(0)
    net = models.mlp(hidden=(128,))
    optimizer = optim.SGD(net.parameters(), lr=0.03)
    sampler = data.LargestErrorSampler(len(images), share)
    loader = data.DataLoader(images, 25, sampler=sampler, transforms=[normalize])
    test_x = gpunn.tensor(normalize(test.images, 0, 0, 0))
    curve, done = [], 0
    while done < options.steps:
        if share < 1 and done >= options.warm_up:
            sampler.update(losses(net, images, normalize))
        chosen = sampler(loader.seed, loader.epoch)
        for x, labels in loader:
            optimizer.zero_grad()
            F.cross_entropy(net(gpunn.tensor(x)), labels).backward()
            optimizer.step()
            done += 1
        with gpunn.no_grad():
            curve.append((done, float((net(test_x).numpy().argmax(axis=1) == test.labels).mean())))
    return curve, chosen, losses(net, images, normalize)


def main() -> None:
    parser = argparse.ArgumentParser(description="Hard examples, on Fashion-MNIST.")
    parser.add_argument("--images", type=int, default=4000, help="how many images to learn from")
    parser.add_argument("--steps", type=int, default=1600, help="of each training")
    parser.add_argument("--warm-up", type=int, default=400, help="steps on random images first")
    parser.add_argument("--share", type=float, default=0.5, help="of the images, those with the largest errors")
    options = parser.parse_args()
    images, test = data.load("fashion-mini", train=True), data.load("fashion-mini", train=False)
    normalize = data.Normalize.of(images)
    few = images.subset(slice(options.images))

    figure, panels = new(2, 1, height=8, sharex=True, sharey=True)
    for axes, wrong_share in zip(panels, (0.0, 0.1), strict=True):
        given, wrong = with_wrong_labels(few, wrong_share)
        for name, share in (
            ("all images, shuffled", 1.0),
            (f"the {options.share:.0%} with the largest errors", options.share),
        ):
            curve, chosen, errors = train(given, test, normalize, share, options)
            last = float(np.mean([accuracy for _, accuracy in curve[-3:]]))
            axes.plot(*zip(*curve, strict=True), label=f"{name}: {last:.1%}")
            print(f"{wrong_share:.0%} of the labels wrong, {name}: test accuracy {last:.2%}; "
                  f"of those trained on in the end {wrong[chosen].mean():.0%} wrong", flush=True)  # fmt: skip
            if share == 1:
                hardest = np.argsort(-errors)[:12]
        title = f"{wrong_share:.0%} of the labels wrong" if wrong_share else "All labels right"
        axes.set(ylabel="test accuracy", title=title)
        axes.legend(loc="center right")
    panels[1].set_xlabel("step")
    save(
        figure,
        "hard_examples",
        "Training on the images with the largest errors alone: a danger where labels are wrong.",
    )

    figure, panels = new(3, 4, width=8, height=7.6)
    for axes, index in zip(panels.flat, hardest, strict=True):
        label = given.classes[given.labels[index]]
        title = f"“{label}”\nis: {few.classes[few.labels[index]]}" if wrong[index] else f"“{label}”\n(right)"
        show(axes, given.images[index, 0] / 255.0, title)
        axes.title.set_size(11)
    print(f"of the 12 images with the largest errors in the end {wrong[hardest].sum()} have a wrong label")
    save(figure, "hard_examples_chosen", "The images with the largest errors in the end, after training on all of them, with the "
         "labels they were given.")  # fmt: skip


if __name__ == "__main__":
    main()
