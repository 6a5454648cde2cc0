"""What goes wrong with activation functions: saturation, zig-zag gradients and dying units.

Learn:  why sigmoids make deep networks slow, why inputs should have mean 0, and how a large step kills ReLUs.
Needs:  nothing: the images come with gpunn.
Shows:  saturation.png, zig_zag.png, dying_units.png.

    python examples/saturation_and_dying_units.py
"""

import argparse

import numpy as np
from pictures import new, save

import gpunn
from gpunn import data, init, nn, optim
from gpunn import functional as F


def saturation(images: gpunn.Tensor, labels: np.ndarray, depth: int) -> None:
    """How large the gradient is at each layer of a deep network, for three activations."""
    figure, axes = new()
    for name, layer in (("sigmoid", nn.Sigmoid), ("tanh", nn.Tanh), ("ReLU", nn.ReLU)):
        fill = init.kaiming_normal_ if name == "ReLU" else init.xavier_normal_
        linears = [nn.Linear(images.shape[1] if i == 0 else 100, 100) for i in range(depth)]
        for linear in linears:
            fill(linear.weight)
        net = nn.Sequential(*(module for linear in linears for module in (linear, layer())), nn.Linear(100, 10))
        F.cross_entropy(net(images), labels).backward()
        sizes = [linear.weight.grad.norm().item() for linear in linears]
        print(f"{name:8} gradient of the first layer {sizes[0]:.1e}, of the last {sizes[-1]:.1e}")
        axes.semilogy(range(1, depth + 1), sizes, "o-", label=name)
    axes.set(xlabel="layer", ylabel="norm of the gradient of its weights", title="before the first step of training")
    axes.legend()
    save(
        figure,
        "saturation",
        "A sigmoid's derivative is at most 1/4: layer by layer the gradient is lost on its way back.",
    )


def zig_zag(steps: int) -> None:
    """Stochastic descent for one linear unit with two weights: inputs above 0, and the same ones with mean 0."""
    points = np.random.default_rng(0).uniform(0, 1, (steps, 2))
    best = np.array([1.2, -0.8])
    figure, panels = new(2, 1, height=10)
    for axes, (name, shift) in zip(panels, (("inputs in [0, 1]", 0.0), ("inputs with mean 0", 0.5)), strict=True):
        weights = gpunn.tensor([-0.8, 0.6], dtype="float64", requires_grad=True)
        optimizer = optim.SGD([weights], lr=0.4)
        path, together = [weights.tolist()], 0
        for point in points - shift:  # one example a step
            optimizer.zero_grad()
            error = (gpunn.tensor(point) * weights).sum() - float(point @ best)
            (error**2 / (2 * float(point @ point))).backward()  # at step 1 this example would become right
            together += int(np.prod(weights.grad.numpy()) > 0)
            optimizer.step()
            path.append(weights.tolist())
        left = np.linalg.norm(np.array(path[-1]) - best)
        print(
            f"{name}: both weights go the same way in {together} of {steps} steps, which end {left:.3f} from the best"
        )
        axes.plot(*np.array(path).T, "o-", markersize=4, linewidth=1.2, label=f"{steps} steps, one example each")
        axes.plot(*path[0], "s", color="black", markersize=9, label="first weights")
        axes.plot(*best, "*", color="black", markersize=15, label="best weights")
        axes.set(title=name, xlabel="w1", ylabel="w2", xlim=(-1.3, 1.6), ylim=(-1.2, 1.0), aspect="equal")
        axes.legend(loc="upper right")
    save(figure, "zig_zag", "Inputs of one sign move all weights of a unit up or down together. Where one must rise and the "
                            "other fall, descent zig-zags; inputs of mean 0 let them go apart.")  # fmt: skip


def dying_units(images: gpunn.Tensor, labels: np.ndarray, steps: int) -> None:
    """The share of the units of a layer that are above 0 for no image, in training with a good and with too large a step."""
    figure, (above, below) = new(2, 1, height=8.5, sharex=True)
    settings = [("ReLU, step 0.001", nn.ReLU(), 0.001), ("ReLU, step 0.1", nn.ReLU(), 0.1),
                ("leaky ReLU, step 0.1", nn.LeakyReLU(0.1), 0.1)]  # fmt: skip
    for (name, activation, lr), style in zip(settings, ("-", "--", ":"), strict=True):
        gpunn.manual_seed(0)
        hidden = nn.Sequential(nn.Linear(images.shape[1], 200), activation, nn.Linear(200, 200), activation)
        output = nn.Linear(200, 10)
        optimizer = optim.Adam([*hidden.parameters(), *output.parameters()], lr=lr)
        silent, losses = [], []
        for _ in range(steps):
            optimizer.zero_grad()
            units = hidden(images)
            loss = F.cross_entropy(output(units), labels)
            loss.backward()
            optimizer.step()
            silent.append(100 * float((~(units.numpy() > 0).any(axis=0)).mean()))
            losses.append(loss.item())
        print(f"{name:22} {silent[-1]:5.1f}% of the units are above 0 for no image, loss {losses[-1]:.5f}")
        above.plot(range(1, steps + 1), silent, style, label=name)
        below.semilogy(range(1, steps + 1), losses, style, label=name)
    above.set(ylabel="silent units (%)", title="units of the second hidden layer above 0 for no image", ylim=(-3, 103))
    above.legend(loc="center right")
    below.set(xlabel="step of Adam", ylabel="loss")
    save(figure, "dying_units", "A step that is too large makes ReLUs negative for every image. No gradient passes them, so they "
                                "stay so; leaky ReLUs come back.")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="Show saturation, zig-zag gradients and dying units.")
    parser.add_argument("--images", type=int, default=500, help="how many training images to use")
    parser.add_argument("--depth", type=int, default=10, help="hidden layers, for saturation")
    parser.add_argument("--steps", type=int, default=60, help="steps of training, for dying units")
    options = parser.parse_args()
    gpunn.manual_seed(0)
    pixels = data.load("fashion-mini", train=True).subset(slice(options.images))
    inputs = data.Standardize(dtype="float32").fit_transform(pixels.images.reshape(len(pixels), -1))
    images = gpunn.tensor(inputs)
    saturation(images, pixels.labels, options.depth)
    zig_zag(30)
    dying_units(images, pixels.labels, options.steps)


if __name__ == "__main__":
    main()
