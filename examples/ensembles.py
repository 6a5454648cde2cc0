"""Ensembles: several networks answer together. The error formula, bagging, and snapshots of one training.

Learn:   `Ensemble`, `bagging`, `Snapshots` with a cosine schedule; why members must differ.
Needs:   nothing: the images come with gpunn.
Shows:   the error of the mean against the number of members; accuracy of members and ensembles; the rate of the cycles.

    python examples/ensembles.py
"""

import argparse

import numpy as np
from pictures import COLORS, new, save

import gpunn
from gpunn import Trainer, data, models, nn, optim
from gpunn.optim.lr_scheduler import CosineAnnealingWarmRestarts
from gpunn.training import Callback, Ensemble, Snapshots, bagging, expected_squared_error


def draw_formula(trials: int) -> None:
    """Errors of variance 1 with a shared part: by the formula and by drawing them."""
    numbers = np.random.default_rng(0)
    members = np.arange(1, 21)
    figure, axes = new()
    for c, color in zip((1.0, 0.5, 0.2, 0.0), COLORS, strict=False):
        errors = np.sqrt(c) * numbers.normal(size=(trials, 1)) + np.sqrt(1 - c) * numbers.normal(size=(trials, 20))
        drawn = [(errors[:, :n].mean(axis=1) ** 2).mean() for n in members]
        axes.plot(
            members, [expected_squared_error(1.0, c, n) for n in members], color=color, label=f"covariance c = {c}"
        )
        axes.plot(members, drawn, "o", color=color, markersize=5)
    axes.set(xlabel="members n", ylabel="squared error of their mean", xticks=(1, 5, 10, 15, 20), ylim=(0, 1.35))
    axes.set_title("v / n + (n - 1) c / n, with v = 1")
    axes.legend(ncols=2, loc="upper center")
    save(
        figure,
        "ensemble_error",
        "The formula (lines) and a simulation (dots): members that make the same errors help nothing.",
    )


def measured(net: nn.Module, loader: data.DataLoader) -> dict:
    """Loss and accuracy."""
    return Trainer(net, nn.CrossEntropyLoss(), optim.SGD(net.parameters()), progress="none").evaluate(loader)


def draw_bagging(images: data.Dataset, normalize: data.Normalize, test: data.DataLoader, options) -> None:
    def train(sample: data.Dataset, number: int) -> nn.Module:
        gpunn.manual_seed(number)
        net = models.mlp(hidden=(128,))
        trainer = Trainer(net, nn.CrossEntropyLoss(), optim.Adam(net.parameters(), lr=2e-3), progress="none")
        trainer.fit(
            data.DataLoader(sample, 50, shuffle=True, seed=number, transforms=[normalize]), epochs=options.epochs
        )
        return net

    everybody = bagging(train, images, options.members)
    single = [measured(net, test)["accuracy"] for net in everybody.models]
    numbers = range(1, options.members + 1)
    together = [measured(Ensemble(everybody.models[:n]), test)["accuracy"] for n in numbers]
    print(f"bagging: members {np.mean(single):.2%} in the mean, all {options.members} together {together[-1]:.2%}")
    figure, axes = new()
    axes.plot(numbers, single, "o", label=f"each member: {np.mean(single):.1%} in the mean")
    axes.plot(numbers, together, marker="s", label=f"the first n together: {together[-1]:.1%} in the end")
    axes.set(xlabel="member n", ylabel="test accuracy", title="Bagging: each member has its own bootstrap sample")
    axes.set(xticks=numbers, ylim=(min(single) - 0.005, max(together) + 0.015))
    axes.legend(loc="upper left")
    save(figure, "bagging", "Test accuracy of networks trained on bootstrap samples, one by one and together.")


class Watch(Callback):
    """Notes the rate of each step and the test loss of each epoch."""

    def __init__(self, test: data.DataLoader) -> None:
        self.test = test
        self.rates: list[float] = []
        self.losses: list[float] = []

    def on_step_end(self, trainer: Trainer) -> None:
        self.rates.append(trainer.optimizer.param_groups[0]["lr"])

    def on_epoch_end(self, trainer: Trainer, record: dict) -> None:
        self.losses.append(trainer.evaluate(self.test)["loss"])


def draw_snapshots(images: data.Dataset, normalize: data.Normalize, test: data.DataLoader, options) -> None:
    gpunn.manual_seed(0)
    net = models.mlp(hidden=(128,))
    loader = data.DataLoader(images, 50, shuffle=True, transforms=[normalize])
    optimizer = optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-3)
    schedule = CosineAnnealingWarmRestarts(optimizer, T_0=options.epochs * len(loader))
    snapshots, watch = Snapshots(every=options.epochs), Watch(test)
    trainer = Trainer(
        net, nn.CrossEntropyLoss(), optimizer, scheduler=schedule, schedule_every="step", callbacks=[snapshots, watch],
        progress="none",
    )  # fmt: skip
    cycles = 5
    trainer.fit(loader, epochs=cycles * options.epochs)
    single, together = [measured(model, test) for model in snapshots.models], measured(snapshots.ensemble(), test)
    mean = np.mean([one["accuracy"] for one in single])
    print(f"snapshots: test accuracy {mean:.2%} in the mean, together {together['accuracy']:.2%}")
    figure, axes = new(2, 1, height=7.5, sharex=True)
    epochs = np.arange(1, cycles * options.epochs + 1)
    axes[0].plot(np.arange(1, len(watch.rates) + 1) / len(loader), watch.rates)
    axes[0].set(ylabel="learning rate", title=f"Snapshots at the ends of {cycles} cosine cycles")
    axes[1].plot(epochs, watch.losses, color=COLORS[0], label="the network, each epoch")
    ends = epochs[options.epochs - 1 :: options.epochs]
    label = f"snapshots: {mean:.1%} right in the mean"
    axes[1].plot(ends, [one["loss"] for one in single], "o", color=COLORS[1], markersize=9, label=label)
    axes[1].axhline(
        together["loss"], color="black", linestyle="--", label=f"together: {together['accuracy']:.1%} right"
    )
    axes[1].set(xlabel="epoch", ylabel="test cross-entropy", ylim=(None, 1.25 * max(watch.losses)))
    axes[1].legend(loc="upper right")
    save(
        figure,
        "snapshot_ensemble",
        "One training in cycles: at each end the network is kept, and all of them answer together.",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Ensembles on Fashion-MNIST.")
    parser.add_argument("--images", type=int, default=2000, help="how many images to learn from")
    parser.add_argument("--members", type=int, default=10, help="networks in bagging")
    parser.add_argument("--epochs", type=int, default=6, help="of each network, and of each cycle")
    parser.add_argument("--trials", type=int, default=5000, help="of the simulation")
    options = parser.parse_args()
    draw_formula(options.trials)
    images, test_images = data.load("fashion-mini", train=True), data.load("fashion-mini", train=False)
    normalize = data.Normalize.of(images)
    test = data.DataLoader(test_images, 500, transforms=[normalize])
    few = images.subset(slice(options.images))
    draw_bagging(few, normalize, test, options)
    draw_snapshots(few, normalize, test, options)


if __name__ == "__main__":
    main()
