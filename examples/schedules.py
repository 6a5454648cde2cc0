"""The learning-rate schedules, each drawn over a hundred epochs.

Learn:  what each schedule does to the rate, and which arguments it takes.
Needs:  matplotlib.
Shows:  schedules: a panel for each.

    python examples/schedules.py
"""

import argparse

from pictures import COLORS, new, save

import gpunn
from gpunn import optim
from gpunn.optim import lr_scheduler as schedules


def warm_up_then_cosine(optimizer, epochs):
    """Two schedules in a row."""
    warm_up = schedules.LinearLR(optimizer, start_factor=0.05, total_iters=epochs // 10)
    cosine = schedules.CosineAnnealingLR(optimizer, T_max=epochs - epochs // 10)
    return schedules.SequentialLR(optimizer, [warm_up, cosine], milestones=[epochs // 10])


SCHEDULES = {
    "step": lambda o, n: schedules.StepLR(o, step_size=max(1, n // 4), gamma=0.4),
    "several steps": lambda o, n: schedules.MultiStepLR(o, milestones=[n // 2, 3 * n // 4], gamma=0.1),
    "exponential": lambda o, n: schedules.ExponentialLR(o, gamma=0.02 ** (1 / n)),
    "polynomial": lambda o, n: schedules.PolynomialLR(o, total_iters=n, power=2),
    "$1/t$": lambda o, n: schedules.InverseTimeLR(o, decay=10 / n),
    r"$1/\sqrt{t}$": lambda o, n: schedules.InverseTimeLR(o, decay=10 / n, power=0.5),
    "cosine": lambda o, n: schedules.CosineAnnealingLR(o, T_max=n),
    "warm restarts": lambda o, n: schedules.CosineAnnealingWarmRestarts(o, T_0=max(1, n // 7), T_mult=2),
    "one cycle": lambda o, n: schedules.OneCycleLR(o, max_lr=0.1, total_steps=n),
    "warm-up, then cosine": warm_up_then_cosine,
    "on a plateau": lambda o, n: schedules.ReduceLROnPlateau(o, factor=0.3, patience=max(1, n // 8)),
    "any function": lambda o, n: schedules.LambdaLR(o, lambda t: 1.0 if (t // max(1, n // 10)) % 2 == 0 else 0.3),
}


def rates(make, epochs: int) -> tuple[list[float], list[float]]:
    """The learning rate and the momentum of each epoch."""
    optimizer = optim.SGD([gpunn.tensor([0.0], requires_grad=True)], lr=0.1, momentum=0.9)
    schedule = make(optimizer, epochs)
    found, momentum = [], []
    for epoch in range(epochs):
        found.append(optimizer.param_groups[0]["lr"])
        momentum.append(optimizer.param_groups[0]["momentum"])
        if isinstance(schedule, schedules.ReduceLROnPlateau):
            # A loss that gets better in the first third of the epochs, and again, a little, in the last.
            loss = max(1 - 3 * epoch / epochs, 0.2) - (0.1 if epoch > 0.8 * epochs else 0)
            schedule.step(loss)
        elif epoch + 1 < epochs:
            schedule.step()
    return found, momentum


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw all learning-rate schedules.")
    parser.add_argument("--epochs", type=int, default=100, help="20 or more")
    options = parser.parse_args()
    figure, axes = new(rows=6, columns=2, width=9, height=14, sharex=True)
    for panel, (name, make) in zip(axes.flat, SCHEDULES.items(), strict=True):
        found, momentum = rates(make, options.epochs)
        print(f"{name:22} first {found[0]:.4f}  largest {max(found):.4f}  last {found[-1]:.6f}")
        panel.step(range(options.epochs), found, where="post")
        panel.set(title=name, ylim=(0, 0.108))
        if name == "one cycle":
            other = panel.twinx()
            other.plot(momentum, "--", color=COLORS[1])
            other.set(ylim=(0.8, 1.0), yticks=[0.85, 0.95])
            other.set_ylabel("momentum (dashed)", color="#8a5f00", fontsize=11)
            other.grid(False)
    for panel in axes[-1]:
        panel.set_xlabel("epoch")
    for panel in axes[:, 0]:
        panel.set_ylabel("rate")
    save(figure, "schedules", "The learning rate in each epoch under each schedule; the initial rate is 0.1.")


if __name__ == "__main__":
    main()
