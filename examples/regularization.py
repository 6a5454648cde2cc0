"""Penalties on weights and activations: what L2, L1 and a penalty on activations do where labels are few and some are wrong.

Learn:   penalties as terms of the loss; L2 makes weights small, L1 makes most of them 0; sparse activations.
Needs:   nothing: the images come with gpunn.
Shows:   test accuracy against strength, the weights as images, and how many hidden units answer to an image.

    python examples/regularization.py
"""

import argparse

import numpy as np
from pictures import DIVERGING, new, save, show

import gpunn
from gpunn import data, nn, optim
from gpunn import functional as F

PENALTIES = {"L2": F.l2_penalty, "L1": F.l1_penalty}


def prepare(images: data.Dataset, normalize: data.Normalize) -> tuple[gpunn.Tensor, np.ndarray]:
    return gpunn.tensor(normalize(images.images, 0, 0, 0)), images.labels


def fit(net, x, labels, steps: int, penalty=lambda net, x: 0.0) -> None:
    """Adam on all images at once, with a penalty in the loss."""
    optimizer = optim.Adam(net.parameters(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        (F.cross_entropy(net(x), labels) + penalty(net, x)).backward()
        optimizer.step()


def accuracy(net, x, labels) -> float:
    with gpunn.no_grad():
        return float((net(x).numpy().argmax(axis=1) == labels).mean())


def softmax_regression(train, steps: int, name: str, strength: float) -> nn.Module:
    gpunn.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 10))
    fit(net, *train, steps, lambda net, x: strength * PENALTIES[name](net[1].weight))
    return net


def draw_strengths(train, test, steps: int) -> dict[str, nn.Module]:
    """Accuracy against strength; returns the best network of each penalty."""
    plain = softmax_regression(train, steps, "L2", 0.0)
    best = {"none": plain}
    figure, axes = new()
    base = accuracy(plain, *test)
    axes.axhline(base, color="black", linestyle="--", label=f"no penalty: {base:.1%}")
    for name, strengths in {"L2": np.logspace(-2.5, 1, 8), "L1": np.logspace(-4, -1.5, 8)}.items():
        nets = [softmax_regression(train, steps, name, strength) for strength in strengths]
        reached = [accuracy(net, *test) for net in nets]
        best[name] = nets[int(np.argmax(reached))]
        axes.semilogx(strengths, reached, marker="o", label=f"{name}: at best {max(reached):.1%}")
        print(
            f"{name}: test accuracy {max(reached):.2%} at strength {strengths[np.argmax(reached)]:.2g}, without {base:.2%}"
        )
    axes.set(
        xlabel="strength of the penalty",
        ylabel="test accuracy",
        title="Softmax regression, a fifth of the labels wrong",
    )
    axes.legend(loc="upper left")
    save(figure, "regularization_strength", "Test accuracy against the strength of an L2 and of an L1 penalty.")
    return best


def draw_weights(best: dict[str, nn.Module], classes: list[str]) -> None:
    figure, rows = new(3, 3, width=8, height=8.6)
    for axes, (name, net) in zip(rows.T, best.items(), strict=True):
        weights = net[1].weight.numpy()
        zeros = (np.abs(weights) < 1e-2 * np.abs(weights).max()).mean()
        for row, label in zip(axes, (1, 5, 8), strict=True):
            limit = np.abs(weights[label]).max()
            title = f"{name}: {zeros:.0%} near 0\n{classes[label]}" if row is axes[0] else classes[label]
            show(row, weights[label].reshape(28, 28), title, cmap=DIVERGING, vmin=-limit, vmax=limit)
    save(
        figure, "regularization_weights", "Weights of three classes (red: for the class, blue: against it): without a penalty "
        "they fit noise, with L2 they are smooth, with L1 most are 0."
    )  # fmt: skip


def draw_activations(train, test, steps: int) -> None:
    figure, axes = new()
    for strength in (0.0, 0.0003, 0.003):
        gpunn.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 100), nn.ReLU(), nn.Linear(100, 10))
        fit(net, *train, steps, lambda net, x, strength=strength: strength * F.sparsity_penalty(net[:3](x)))
        with gpunn.no_grad():
            active = (net[:3](test[0]).numpy() > 1e-3).sum(axis=1)
        label = f"strength {strength:g}: accuracy {accuracy(net, *test):.1%}"
        axes.hist(active, bins=np.arange(0, 101, 4), alpha=0.6, label=label)
        print(f"sparsity penalty {strength:g}: {active.mean():.1f} of 100 units answer to an image")
    axes.set(xlabel="hidden units above 0, of 100", ylabel="test images", title="A penalty on the activations")
    axes.legend(loc="upper right")
    save(
        figure, "sparse_representation", "How many hidden units answer to an image, for three strengths of the penalty."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="L2, L1 and sparse activations on Fashion-MNIST.")
    parser.add_argument("--images", type=int, default=500, help="how many images to learn from")
    parser.add_argument("--steps", type=int, default=150, help="of each training")
    options = parser.parse_args()
    train_images, test_images = data.load("fashion-mini", train=True), data.load("fashion-mini", train=False)
    normalize = data.Normalize.of(train_images)
    x, labels = prepare(train_images.subset(slice(options.images)), normalize)
    numbers = np.random.default_rng(0)
    train = x, np.where(numbers.random(len(labels)) < 0.2, numbers.integers(0, 10, len(labels)), labels)
    test = prepare(test_images, normalize)

    best = draw_strengths(train, test, options.steps)
    draw_weights(best, train_images.classes)
    draw_activations(train, test, options.steps)


if __name__ == "__main__":
    main()
