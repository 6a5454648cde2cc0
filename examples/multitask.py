"""Two tasks, one trunk: few images have a label of ten classes, many are sorted roughly; the rough labels help the fine ones.

Learn:   a network with two heads (`models.MultiTask`), a weighted sum of their losses, batches of a different size for each.
Needs:   nothing: the images come with gpunn.
Shows:   test accuracy of the ten classes against the number of images that have such a label, alone and with the second task.

    python examples/multitask.py
"""

import argparse

import numpy as np
from pictures import new, save

import gpunn
from gpunn import data, models, nn, optim
from gpunn import functional as F

# Top, trouser, dress, shoe, bag: how somebody in a hurry sorts Fashion-MNIST's ten classes.
ROUGH = np.array([0, 1, 0, 2, 0, 3, 0, 3, 4, 3])


def network() -> models.MultiTask:
    trunk = nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU())
    return models.MultiTask(trunk, {"class": nn.Linear(64, 10), "rough": nn.Linear(64, 5)})


def train(
    x: np.ndarray, labels: np.ndarray, labelled: int, weight: float, options: argparse.Namespace
) -> models.MultiTask:
    """The first ``labelled`` images have a class; all have a rough label, whose loss counts ``weight`` times."""
    gpunn.manual_seed(0)
    net = network()
    optimizer = optim.Adam(net.parameters())
    numbers = np.random.default_rng(0)
    for _ in range(options.steps):
        optimizer.zero_grad()
        chosen = numbers.integers(0, labelled, 32)
        loss = F.cross_entropy(net(gpunn.tensor(x[chosen]))["class"], labels[chosen])
        if weight:
            others = numbers.integers(0, options.images, 64)
            loss = loss + weight * F.cross_entropy(net(gpunn.tensor(x[others]))["rough"], ROUGH[labels[others]])
        loss.backward()
        optimizer.step()
    return net


def main() -> None:
    parser = argparse.ArgumentParser(description="Multitask learning on Fashion-MNIST.")
    parser.add_argument("--images", type=int, default=4000, help="how many images have a rough label")
    parser.add_argument("--steps", type=int, default=300, help="of each training")
    options = parser.parse_args()
    images, test = data.load("fashion-mini", train=True), data.load("fashion-mini", train=False)
    normalize = data.Normalize.of(images)
    x, test_x = normalize(images.images, 0, 0, 0), gpunn.tensor(normalize(test.images, 0, 0, 0))

    counts = (30, 60, 120, 250, 500)
    figure, axes = new()
    for name, weight in (("the ten classes alone", 0.0), ("with the rough labels", 1.0)):
        reached = []
        for count in counts:
            net = train(x, images.labels, count, weight, options)
            with gpunn.no_grad():
                answers = net(test_x)["class"].numpy().argmax(axis=1)
            reached.append(float((answers == test.labels).mean()))
        print(f"{name}: " + ", ".join(f"{a:.1%} of {n}" for n, a in zip(counts, reached, strict=True)), flush=True)
        axes.semilogx(counts, reached, marker="o", label=name)
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.minorticks_off()
    axes.set(xlabel="images that have a label of ten classes", ylabel="test accuracy, ten classes")
    axes.legend(loc="lower right")
    save(
        figure,
        "multitask",
        f"Rough labels of {options.images} images, five groups, help to learn ten classes from few.",
    )


if __name__ == "__main__":
    main()
