"""Hogwild: several processes that descend on the same weights at once, without locks.

Learn:  how often steps are lost when processes write at once, and that sparse steps converge all the same.
Needs:  matplotlib.
Shows:  hogwild: the loss against the steps of all processes together, and the share of writes that were lost.

    python examples/hogwild.py
    python examples/hogwild.py --processes 1 2 4 8
"""

import argparse
import itertools

import numpy as np
from pictures import new, save

import gpunn
from gpunn import optim

FEATURES, ACTIVE, EXAMPLES, POINTS = 2000, 20, 4000, 20


def examples() -> tuple[np.ndarray, np.ndarray]:
    """Texts as bags of words: the indices of the words in each, and a label that a hidden linear model gives."""
    numbers = np.random.default_rng(0)
    words = np.stack([numbers.choice(FEATURES, ACTIVE, replace=False) for _ in range(EXAMPLES)])
    hidden = numbers.standard_normal(FEATURES)
    return words, (hidden[words].sum(axis=1) + numbers.logistic(size=EXAMPLES) > 0).astype(float)


def mean_loss(weights: np.ndarray, words: np.ndarray, labels: np.ndarray) -> float:
    return float(np.logaddexp(0, (1 - 2 * labels) * weights[words].sum(axis=1)).mean())


def descend(shared, number: int, steps: int) -> None:
    """One process: logistic regression, a text at a time; a step touches the weights of its words alone."""
    weights, done, trace = shared
    words, labels = examples()
    numbers = np.random.default_rng([0, number])
    for step in range(1, steps + 1):
        row = numbers.integers(EXAMPLES)
        sign = 1 - 2 * labels[row]
        slope = sign / (1 + np.exp(-sign * weights.data[words[row]].sum()))
        weights.data[words[row]] -= 0.1 * slope
        done.data[number] = step
        if step * POINTS // steps > (step - 1) * POINTS // steps:
            trace.data[number, step * POINTS // steps - 1] = done.data.sum(), mean_loss(weights.data, words, labels)


def count(shared, number: int, elements: int, times: int) -> None:
    """Add 1 to some of the elements, many times."""
    numbers = np.random.default_rng([1, number])
    (counts,) = shared
    for _ in range(times):
        counts.data[numbers.choice(len(counts.data), elements, replace=False)] += 1


def leaf(values) -> gpunn.Tensor:
    return gpunn.tensor(values, dtype="float64", requires_grad=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Lock-free descent by several processes.")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--steps", type=int, default=40_000, help="of all processes together")
    parser.add_argument("--writes", type=int, default=10_000, help="of each of two processes, for the count of losses")
    options = parser.parse_args()

    figure, axes = new(rows=2, width=7, height=9)
    for processes, style in zip(options.processes, itertools.cycle(["-", "--", ":", "-."]), strict=False):
        weights, done, trace = (leaf(np.zeros(shape)) for shape in (FEATURES, processes, (processes, POINTS, 2)))
        optim.hogwild(descend, [weights, done, trace], processes, arguments=(max(POINTS, options.steps // processes),))
        loss = mean_loss(weights.numpy(), *examples())
        label = "1 process" if processes == 1 else f"{processes} processes"
        print(f"{label}, {int(done.numpy().sum())} steps together: loss {loss:.4f}")
        measured = trace.numpy().reshape(-1, 2)
        axes[0].plot(*measured[measured[:, 0].argsort()].T, style, linewidth=2.5, label=label)
    axes[0].set(xlabel="steps of all processes", ylabel="loss", title="sparse logistic regression")
    axes[0].legend()

    sizes, lost = (1, 10, 100, 1000), []
    for elements in sizes:
        counts = leaf(np.zeros(1000))
        optim.hogwild(count, [counts], 2, arguments=(elements, options.writes))
        expected = 2 * elements * options.writes
        lost.append(100 * (1 - counts.numpy().sum() / expected))
        print(f"writes to {elements} of 1000 elements: {lost[-1]:.3f}% of the increments were lost")
    axes[1].bar_label(axes[1].bar([str(size) for size in sizes], lost), fmt="%.2f")
    axes[1].set(
        xlabel="elements that a step writes, of 1000",
        ylabel="lost increments in %",
        title="two processes that count without locks",
    )
    save(figure, "hogwild", "Sparse steps seldom meet: hardly any is lost, and several processes go the way of one.")


if __name__ == "__main__":
    main()
