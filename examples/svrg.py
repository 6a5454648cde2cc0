"""SVRG beside stochastic gradient descent: a constant rate that converges all the same.

Learn:  what the noise of minibatches does near the minimum, and how a snapshot of the full gradient takes it away.
Needs:  matplotlib; the images come with gpunn.
Shows:  svrg: the loss above its minimum, and the noise of the steps, against the gradients that were computed.

    python examples/svrg.py
"""

import argparse

import numpy as np
from newton import two_classes
from pictures import new, save

import gpunn
from gpunn import functional as F
from gpunn import optim
from gpunn.optim.lr_scheduler import InverseTimeLR

BATCH = 10


class Problem:
    """Logistic regression with a little weight decay, in float64."""

    def __init__(self, images: int) -> None:
        self.inputs, self.labels = two_classes(images)
        self.count = len(self.labels)
        self.weights = gpunn.tensor(np.zeros(self.inputs.shape[1]), requires_grad=True)

    def loss(self, rows=slice(None)) -> gpunn.Tensor:
        """The mean loss of some rows; its gradient is left in ``weights.grad``."""
        scores = self.inputs[rows] @ self.weights
        loss = F.binary_cross_entropy_with_logits(scores, self.labels[rows]) + 5e-3 * (self.weights**2).sum()
        self.weights.grad = None
        loss.backward()
        return loss


def train(problem: Problem, method: str, lr: float, passes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradients of single examples so far in numbers of passes, the loss, and the noise of the last steps' gradients."""
    problem.weights.data[...] = 0
    optimizer = optim.SVRG([problem.weights], lr) if method == "SVRG" else optim.SGD([problem.weights], lr)
    schedule = InverseTimeLR(optimizer, decay=0.02) if "1/t" in method else None
    numbers = np.random.default_rng(0)
    used, spent, losses, noises = 0, [0.0], [problem.loss().item()], []
    while used < passes * problem.count:
        if isinstance(optimizer, optim.SVRG):
            optimizer.snapshot(problem.loss)
            used += problem.count
        noise = []
        for rows in np.array_split(numbers.permutation(problem.count), problem.count // BATCH):
            optimizer.step(lambda rows=rows: problem.loss(rows))
            used += len(rows) * (2 if isinstance(optimizer, optim.SVRG) else 1)
            noise.append(problem.weights.grad.numpy().copy())
            if schedule:
                schedule.step()
        spent.append(used / problem.count)
        losses.append(problem.loss().item())
        noises.append(np.sqrt(np.var(noise[-20:], axis=0).sum()))
    return np.array(spent), np.array(losses), np.array(noises)


def main() -> None:
    parser = argparse.ArgumentParser(description="SVRG beside SGD on logistic regression.")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--passes", type=int, default=90, help="gradients of each example, about")
    options = parser.parse_args()
    problem = Problem(options.images)
    newton = optim.Newton([problem.weights])
    best = min(newton.step(problem.loss).item() for _ in range(12))

    figure, axes = new(rows=2, width=7, height=9, sharex=True)
    for method, lr in [("SGD, constant rate", 1.0), ("SGD, rate falling as 1/t", 1.0), ("SVRG", 1.0)]:
        spent, losses, noises = train(problem, method, lr, options.passes)
        print(f"{method:26} {losses[-1] - best:.1e} above the minimum after {spent[-1]:.0f} passes")
        axes[0].semilogy(spent, np.maximum(losses - best, 1e-15), label=method)
        axes[1].semilogy(spent[1:], noises, label=method)
    axes[0].set(ylabel="loss above its minimum", title=f"logistic regression, batches of {BATCH}")
    axes[1].set(ylabel="deviation of the steps' gradients", xlabel="passes over the examples (gradients computed)")
    axes[0].legend()
    save(
        figure, "svrg", "The noise of SVRG's steps goes to zero with the distance to the minimum, that of SGD does not."
    )


if __name__ == "__main__":
    main()
