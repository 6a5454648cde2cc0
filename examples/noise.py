"""Noise as a teacher: on the inputs of a linear model it is an L2 penalty; a network that saw noise bears it better.

Learn:   `nn.GaussianNoise` as a layer, `data.GaussianNoise` as a transform, and what noise on the inputs amounts to.
Needs:   nothing: the images come with gpunn.
Shows:   weights learned with noise beside the closed form of L2; test accuracy against the noise of the test images.

    python examples/noise.py
"""

import argparse

import numpy as np
from pictures import COLORS, new, save

import gpunn
from gpunn import Trainer, data, models, nn, optim
from gpunn import functional as F


def learn_with_noise(x: np.ndarray, y: np.ndarray, std: float, steps: int) -> np.ndarray:
    """Least squares by descent on noisy copies of the examples; the mean of the later weights, around which they jump."""
    copies = 40
    inputs, targets = gpunn.tensor(np.tile(x, (copies, 1))), gpunn.tensor(np.tile(y, copies))
    noise = nn.GaussianNoise(std)
    w = gpunn.tensor(np.zeros(x.shape[1]), requires_grad=True)
    optimizer = optim.SGD([w], lr=0.1)
    later = []
    for step in range(steps):
        optimizer.zero_grad()
        F.mse_loss(noise(inputs) @ w, targets).backward()
        optimizer.step()
        if step >= steps // 2:
            later.append(w.numpy().copy())
    return np.mean(later, axis=0)


def compare_with_l2(steps: int) -> None:
    """The mean of (y - (x + e)'w)^2 over the noise e is (y - x'w)^2 + std^2 w'w, least at (X'X + n std^2 I)^-1 X'y."""
    numbers = np.random.default_rng(0)
    x = numbers.normal(size=(30, 5))
    y = x @ np.array([2.0, -1.5, 1.0, 0.5, 0.0]) + 0.5 * numbers.normal(size=30)
    figure, axes = new()
    fine, stds = np.linspace(0, 2, 100), (0.0, 0.5, 1.0, 1.5, 2.0)
    closed = np.array([np.linalg.solve(x.T @ x + 30 * std**2 * np.eye(5), x.T @ y) for std in fine])
    learned = np.array([learn_with_noise(x, y, std, steps) for std in stds])
    for weight in range(5):
        axes.plot(
            fine, closed[:, weight], color=COLORS[weight], label="L2 of strength $2\\,std^2$" if weight == 0 else None
        )
        dots = "noise of this std" if weight == 0 else None
        axes.plot(stds, learned[:, weight], "o", color=COLORS[weight], markersize=8, label=dots)
    exact = np.array([np.linalg.solve(x.T @ x + 30 * std**2 * np.eye(5), x.T @ y) for std in stds])
    print(
        f"linear model: weights learned with noise and those of L2 differ by at most {np.abs(learned - exact).max():.3f}"
    )
    axes.set(xlabel="standard deviation of the noise", ylabel="weights", title="Noise on the inputs is an L2 penalty")
    axes.legend()
    save(figure, "noise_and_l2", "Five weights of a linear model: trained with noise on its inputs (dots), and the closed form "
         "of least squares with an L2 penalty (lines).")  # fmt: skip


def train_on_images(options: argparse.Namespace) -> None:
    images, test = data.load("fashion-mini", train=True), data.load("fashion-mini", train=False)
    normalize = data.Normalize.of(images)
    few = images.subset(slice(options.images))
    stds = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    figure, axes = new()
    for trained_with in (0.0, 0.3, 0.6):
        gpunn.manual_seed(0)
        net = models.mlp(hidden=(256,))
        transforms = [data.GaussianNoise(trained_with), normalize]
        loader = data.DataLoader(few, 100, shuffle=True, transforms=transforms)
        trainer = Trainer(net, nn.CrossEntropyLoss(), optim.Adam(net.parameters()), progress="none")
        trainer.fit(loader, epochs=options.epochs)
        loaders = [data.DataLoader(test, 500, transforms=[data.GaussianNoise(std), normalize]) for std in stds]
        accuracy = [trainer.evaluate(noisy)["accuracy"] for noisy in loaders]
        axes.plot(stds, accuracy, marker="o", label=f"trained with noise of std {trained_with}")
        print(
            f"trained with noise {trained_with}: accuracy {accuracy[0]:.2%}, at noise 0.8 {accuracy[4]:.2%}", flush=True
        )
    axes.set(xlabel="noise of the test images (std; pixels are in [0, 1])", ylabel="test accuracy", ylim=(0, 1))
    axes.legend(loc="lower left")
    save(
        figure,
        "noise_training",
        "A network that was trained on noisy images bears noise; it pays on clean ones.",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Noise injection.")
    parser.add_argument("--images", type=int, default=2000, help="how many images to learn from")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--steps", type=int, default=300, help="of the linear model")
    options = parser.parse_args()
    gpunn.manual_seed(0)
    compare_with_l2(options.steps)
    train_on_images(options)


if __name__ == "__main__":
    main()
