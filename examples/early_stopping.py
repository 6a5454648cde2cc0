"""Early stopping: training longer fits the noise, so keep the weights of the epoch that was best on held-out images.

Learn:   the callback `EarlyStopping`; that it does what an L2 penalty does.
Needs:   nothing: the images come with gpunn.
Shows:   training and validation loss with the epoch that is kept; the path of descent beside that of the L2 penalty.

    python examples/early_stopping.py
"""

import argparse

import numpy as np
from pictures import COLORS, new, save

import gpunn
from gpunn import Trainer, data, models, nn, optim
from gpunn import functional as F
from gpunn.training import EarlyStopping


def with_wrong_labels(images: data.Dataset, share: float) -> data.Dataset:
    """Some labels replaced by random ones, as in data that were labelled in a hurry."""
    numbers = np.random.default_rng(0)
    wrong = numbers.random(len(images)) < share
    labels = np.where(wrong, numbers.integers(0, 10, len(images)), images.labels)
    return data.Dataset(images.images, labels, images.classes)


def train(options: argparse.Namespace) -> None:
    images, test = data.load("fashion-mini", train=True), data.load("fashion-mini", train=False)
    normalize = data.Normalize.of(images)
    learned = with_wrong_labels(images.subset(slice(options.images)), 0.2)
    held_out = images.subset(slice(5000, 6000))
    validation, test_loader = (data.DataLoader(part, 500, transforms=[normalize]) for part in (held_out, test))

    def fit(*callbacks: EarlyStopping) -> tuple[list[dict], float]:
        gpunn.manual_seed(0)
        net = models.mlp(hidden=(256,))
        trainer = Trainer(
            net, nn.CrossEntropyLoss(), optim.Adam(net.parameters()), callbacks=callbacks, progress="none"
        )
        loader = data.DataLoader(learned, 100, shuffle=True, transforms=[normalize])
        return trainer.fit(loader, validation, epochs=options.epochs), trainer.evaluate(test_loader)["accuracy"]

    history, of_the_last = fit()
    stopping = EarlyStopping(options.patience)
    stopped, of_the_best = fit(stopping)
    print(f"all {len(history)} epochs: test accuracy {of_the_last:.2%}")
    print(f"stopped after {len(stopped)}, weights of epoch {stopping.best_epoch}: test accuracy {of_the_best:.2%}")

    epochs = [record["epoch"] for record in history]
    figure, axes = new()
    axes.plot(epochs, [record["train_loss"] for record in history], label="training images")
    axes.plot(epochs, [record["validation_loss"] for record in history], label="held-out images")
    axes.axvline(stopping.best_epoch, color="black", linestyle="--", label=f"best epoch: {stopping.best_epoch}")
    axes.axvline(len(stopped), color="black", linestyle=":", label=f"patience of {options.patience} is over")
    title = f"Test accuracy {of_the_best:.1%}, instead of {of_the_last:.1%} in the end"
    axes.set(xlabel="epoch", ylabel="cross-entropy", title=title, ylim=(0, None))
    axes.legend()
    save(
        figure,
        "early_stopping",
        "A fifth of the training labels is wrong: the network learns them by heart if it is let.",
    )


def compare_with_l2() -> None:
    """On 1/2 sum h_i (w_i - m_i)^2 from 0: after t steps descent is about where an L2 penalty of 1 / (lr t) has its least."""
    h, m, lr, steps = np.array([0.1, 1.0]), np.array([2.0, 1.0]), 0.1, 400
    curvature = gpunn.tensor(h)
    w = gpunn.tensor(np.zeros(2), requires_grad=True)
    optimizer = optim.SGD([w], lr=lr)
    path = [np.zeros(2)]
    for _ in range(steps):
        optimizer.zero_grad()
        F.l2_penalty(curvature.sqrt() * (w - m)).backward()
        optimizer.step()
        path.append(w.numpy().copy())
    descent = np.array(path)
    strengths = np.logspace(3, -3, 200)[:, np.newaxis]
    ridge = h / (h + strengths) * m

    figure, axes = new()
    x, y = np.meshgrid(np.linspace(-0.3, 2.5, 200), np.linspace(-0.3, 1.6, 200))
    loss = 0.5 * (h[0] * (x - m[0]) ** 2 + h[1] * (y - m[1]) ** 2)
    axes.contour(x, y, loss, levels=np.array([0.01, 0.05, 0.1, 0.2, 0.35, 0.55]), colors="0.7", linewidths=1)
    axes.plot(*descent.T, label="descent, step after step")
    axes.plot(*ridge.T, linestyle="--", label="least with L2, strength falling")
    for number, t in enumerate((10, 30, 100)):
        penalized = h / (h + 1 / (lr * t)) * m
        axes.plot(*descent[t], "o", color=COLORS[2 + number], markersize=9, label=f"{t} steps")
        axes.plot(*penalized, "s", color=COLORS[2 + number], markersize=9, label=f"L2 of strength {1 / (lr * t):.2g}")
    axes.plot(*m, "k*", markersize=14, label="least of the loss")
    axes.set(
        xlabel="$w_1$ (flat direction)", ylabel="$w_2$ (steep direction)", title="Stopping early is like an L2 penalty"
    )
    axes.legend(loc="lower right", fontsize=10)
    save(
        figure,
        "early_stopping_and_l2",
        "Descent that stops after t steps, and L2 of strength 1 / (lr t): circle and square.",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Early stopping on Fashion-MNIST with wrong labels.")
    parser.add_argument("--images", type=int, default=1000, help="how many images to learn from")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--patience", type=int, default=5)
    options = parser.parse_args()
    train(options)
    compare_with_l2()


if __name__ == "__main__":
    main()
