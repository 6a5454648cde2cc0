"""Transfer learning: what a network learned of five classes helps with five others, of which few images are at hand.

Learn:   freezing layers, a new head on a trained network, an optimizer for some parameters only; fine-tuning all of it.
Needs:   nothing: the images come with gpunn.
Shows:   the test accuracy of each epoch: with the layers frozen, fine-tuned, and from scratch.
Reaches: with five images of each new class, 86% of the test images; the same network from scratch, 82%.

    python examples/transfer_learning.py
"""

import argparse

import numpy as np
from pictures import new, save

import gpunn
from gpunn import Trainer, data, models, nn, optim
from gpunn.device import choose

KNOWN = (2, 3, 4, 5, 9)  # pullover, dress, coat, sandal, ankle boot: a thousand images each
NEW = (0, 1, 6, 7, 8)  # T-shirt, trouser, shirt, sneaker, bag: a handful each


def classes(images: data.Dataset, wanted: tuple[int, ...], each: int | None = None) -> data.Dataset:
    """The images of some classes, labelled 0, 1, ...; ``each`` bounds how many of a class."""
    chosen = np.concatenate([np.flatnonzero(images.labels == label)[:each] for label in wanted])
    labels = np.searchsorted(wanted, images.labels[chosen])
    return data.Dataset(images.images[chosen], labels, [images.classes[label] for label in wanted])


def fit(
    net: nn.Module, images: data.Dataset, test: data.Dataset, normalize: data.Normalize, epochs: int, lr: float = 1e-3
) -> tuple[list[int], list[float]]:
    """Train what is not frozen; returns at most 15 numbers of epochs, and the accuracy on ``test`` after each."""
    trainable = [parameter for parameter in net.parameters() if parameter.requires_grad]
    trainer = Trainer(net, nn.CrossEntropyLoss(), optim.Adam(trainable, lr=lr), progress="none")
    loader, test_loader = (data.DataLoader(part, 50, part is images, transforms=[normalize]) for part in (images, test))
    ends, accuracy = [], []
    for chunk in np.array_split(np.arange(1, epochs + 1), min(epochs, 15)):
        trainer.fit(loader, epochs=len(chunk))
        ends.append(int(chunk[-1]))
        accuracy.append(trainer.evaluate(test_loader)["accuracy"] or 0.0)
    return ends, accuracy


def main() -> None:
    parser = argparse.ArgumentParser(description="Transfer learning on Fashion-MNIST.")
    parser.add_argument("--epochs", type=int, default=3, help="on the five known classes")
    parser.add_argument("--new-epochs", type=int, default=60, help="on the few images of the five new classes")
    parser.add_argument("--images", type=int, default=5, help="how many images of each new class to learn from")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    options = parser.parse_args()
    gpunn.manual_seed(0)
    device, why = choose(options.device)
    print(f"device {device}: {why}")

    train, test = data.load("fashion-mini", train=True), data.load("fashion-mini", train=False)
    normalize = data.Normalize.of(train)
    few, new_test = classes(train, NEW, options.images), classes(test, NEW)

    net = models.lenet5(num_classes=5).to(device)
    _, accuracy = fit(net, classes(train, KNOWN), classes(test, KNOWN), normalize, options.epochs)
    print(f"known classes, all images: {accuracy[-1]:.2%}", flush=True)

    net.features.requires_grad_(False)  # the convolutions stay as they are
    net.classifier = nn.Linear(16 * 5 * 5, 5).to(device)  # a new head, with fresh weights
    runs = {"convolutions frozen": fit(net, few, new_test, normalize, options.new_epochs)}
    net.features.requires_grad_(True)  # now all of it, in small steps
    runs["then fine-tuned"] = fit(net, few, new_test, normalize, options.new_epochs, lr=1e-4)
    fresh = models.lenet5(num_classes=5).to(device)
    runs["from scratch"] = fit(fresh, few, new_test, normalize, 2 * options.new_epochs)
    transferred, tuned, scratch = (accuracy[-1] for _, accuracy in runs.values())
    print(f"fine-tuned after that: {tuned:.2%}")

    figure, axes = new()
    for name, (ends, accuracy) in runs.items():
        epochs = np.array(ends) + (options.new_epochs if name == "then fine-tuned" else 0)
        axes.plot(epochs, accuracy, marker="o", label=f"{name}: {accuracy[-1]:.1%}")
    title = f"Five new classes, {options.images} images each"
    axes.set(xlabel="epoch", ylabel="test accuracy on the new classes", title=title)
    axes.legend(loc="lower right")
    caption = "What was learned of five classes helps with five others, of which few images are at hand."
    save(figure, "transfer_learning", caption)
    print(f"new classes, {options.images} images each: transferred {transferred:.2%}, from scratch {scratch:.2%}")


if __name__ == "__main__":
    main()
