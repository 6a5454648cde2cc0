"""Dropout: hidden units that are absent at random, plain and inverted, and what it does to overfitting.

Learn:   the two forms and that their means agree with what evaluation computes; training mode and evaluation mode.
Needs:   nothing: the images come with gpunn.
Shows:   one unit's output over many masks; training and test loss with and without dropout.

    python examples/dropout.py
"""

import argparse

import numpy as np
from pictures import COLORS, new, save

import gpunn
from gpunn import Trainer, data, models, nn, optim


def draw_masks(masks: int) -> None:
    """The output of one linear unit under many masks, in both forms."""
    gpunn.manual_seed(0)
    linear = nn.Linear(30, 1)
    x = np.random.default_rng(0).normal(size=(1, 30)).astype(np.float32)
    figure, axes = new(2, 1, height=7.5, sharex=True)
    for panel, inverted, color in zip(axes, (False, True), COLORS, strict=False):
        net = nn.Sequential(nn.Dropout(0.5, inverted=inverted), linear)
        with gpunn.no_grad():
            outputs = net.train()(gpunn.tensor(np.repeat(x, masks, axis=0))).numpy()[:, 0]
            evaluated = net.eval()(gpunn.tensor(x)).item()
        name = "inverted: x mask / (1 - p), then x" if inverted else "plain: x mask, then x (1 - p)"
        panel.hist(outputs, bins=60, color=color, alpha=0.6, label="in training, one mask each")
        panel.axvline(outputs.mean(), color="black", label=f"their mean: {outputs.mean():.3f}")
        panel.axvline(evaluated, color="black", linestyle=":", linewidth=4, label=f"in evaluation: {evaluated:.3f}")
        panel.set(ylabel="masks", title=name)
        panel.legend()
        print(f"{name}: mean over {masks} masks {outputs.mean():.4f}, in evaluation {evaluated:.4f}")
    axes[1].set_xlabel("output of the unit")
    save(figure, "dropout_forms", "Both forms of dropout: the mean over the masks is what evaluation computes.")


def draw_training(options: argparse.Namespace) -> None:
    images, test = data.load("fashion-mini", train=True), data.load("fashion-mini", train=False)
    normalize = data.Normalize.of(images)
    test_loader = data.DataLoader(test, 500, transforms=[normalize])
    figure, axes = new()
    for p, color in ((0.0, COLORS[0]), (0.5, COLORS[1])):
        gpunn.manual_seed(0)
        net = models.mlp(hidden=(256, 256), dropout=p)
        loader = data.DataLoader(images.subset(slice(options.images)), 100, shuffle=True, transforms=[normalize])
        trainer = Trainer(net, nn.CrossEntropyLoss(), optim.Adam(net.parameters()), progress="none")
        history = trainer.fit(loader, test_loader, epochs=options.epochs)
        accuracy = history[-1]["validation_accuracy"]
        label = f"dropout {p}" if p else "no dropout"
        epochs = [record["epoch"] for record in history]
        axes.plot(epochs, [r["train_loss"] for r in history], "--", color=color, label=f"{label}, training")
        axes.plot(
            epochs, [r["validation_loss"] for r in history], color=color, label=f"{label}, test: {accuracy:.1%} right"
        )
        print(f"{label}: test loss {history[-1]['validation_loss']:.3f}, test accuracy {accuracy:.2%}")
    axes.set(xlabel="epoch", ylabel="cross-entropy", title=f"{options.images} training images", ylim=(0, None))
    axes.legend()
    save(
        figure, "dropout_training", "With dropout the training loss falls more slowly, and the test loss does not rise."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Dropout on Fashion-MNIST.")
    parser.add_argument("--images", type=int, default=1000, help="how many images to learn from")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--masks", type=int, default=20_000)
    options = parser.parse_args()
    draw_masks(options.masks)
    draw_training(options)


if __name__ == "__main__":
    main()
