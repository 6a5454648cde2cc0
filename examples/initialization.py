"""How the first weights decide whether a deep network can learn: activations by depth, symmetry, and the loss that follows.

Learn:  what zeros, small, large, Xavier's, He's and 1/sqrt(n) weights do to the signal from layer to layer.
Needs:  nothing: the images come with gpunn.
Shows:  initialization_histograms.png, initialization_by_depth.png, initialization_loss.png.

    python examples/initialization.py
"""

import argparse

import numpy as np
from pictures import COLORS, new, save

import gpunn
from gpunn import data, init, nn, optim
from gpunn import functional as F

RULES = {
    "zeros": init.zeros_,
    "small: normal, 0.01": lambda w: init.normal_(w, std=0.01),
    "large: normal, 1": lambda w: init.normal_(w, std=1.0),
    "uniform, +-1/sqrt(n)": init.inverse_sqrt_uniform_,
    "Xavier, 1 / fan-in": lambda w: init.xavier_normal_(w, mode="fan_in"),
    "Xavier, 1 / fan-out": lambda w: init.xavier_normal_(w, mode="fan_out"),
    "Xavier, 2 / (in + out)": init.xavier_normal_,
    "He, 2 / fan-in": lambda w: init.kaiming_normal_(w, nonlinearity="relu"),
}
STYLES = ["k:", "C0-", "C1-", "C2--", "C3-", "C4:", "C5-.", "k-"]


def network(rule, activation, inputs: int, depth: int, width: int = 200) -> nn.Sequential:
    """``depth`` hidden layers and one for the 10 classes; weights by the rule, biases 0."""
    gpunn.manual_seed(0)
    with init.skip():  # a layer's own rule would only cost time here
        linears = [nn.Linear(inputs if i == 0 else width, width) for i in range(depth)] + [nn.Linear(width, 10)]
    for linear in linears:
        rule(linear.weight)
        init.zeros_(linear.bias)
    return nn.Sequential(*(module for linear in linears[:-1] for module in (linear, activation())), linears[-1])


def activations(net: nn.Sequential, images: gpunn.Tensor) -> list[np.ndarray]:
    """What each hidden layer hands on."""
    found = []
    with gpunn.no_grad():
        for linear, activation in zip(net[:-1:2], net[1::2], strict=True):
            images = activation(linear(images))
            found.append(images.numpy())
    return found


def draw_histograms(images: gpunn.Tensor, depth: int) -> None:
    """tanh's activations at four depths, for three rules."""
    rules = ["small: normal, 0.01", "large: normal, 1", "Xavier, 1 / fan-in"]
    layers = sorted({0, depth // 3, 2 * depth // 3, depth - 1})
    figure, axes = new(len(rules), len(layers), width=10, height=7.5, sharex=True, squeeze=False)
    for number, (row, rule) in enumerate(zip(axes, rules, strict=True)):
        found = activations(network(RULES[rule], nn.Tanh, images.shape[1], depth), images)
        for place, layer in zip(row, layers, strict=True):
            place.hist(found[layer].ravel(), bins=41, range=(-1, 1), density=True, color=COLORS[0])
            place.set(yticks=[], title="" if number else f"layer {layer + 1}")
            place.text(0.03, 0.97, f"std {found[layer].std():.1g}", transform=place.transAxes, va="top")
            place.margins(y=0.25)
        row[0].set_ylabel(rule)
    figure.supxlabel("activation behind tanh")
    save(figure, "initialization_histograms", "Activations of a deep tanh network before training: small weights let the signal "
         "vanish, large ones drive it to -1 and 1, Xavier's keep it.")  # fmt: skip


def draw_by_depth(images: gpunn.Tensor, depth: int) -> None:
    """The root of the mean square of the activations at each layer, behind tanh and behind ReLU."""
    figure, panels = new(2, 1, height=10, sharex=True)
    for axes, (name, activation) in zip(panels, (("tanh", nn.Tanh), ("ReLU", nn.ReLU)), strict=True):
        for (rule, fill), style in list(zip(RULES.items(), STYLES, strict=True))[1:]:
            found = activations(network(fill, activation, images.shape[1], depth), images)
            sizes = [np.sqrt(np.square(layer, dtype=np.float64).mean()) for layer in found]
            print(f"{name}, {rule:24} activations of size {sizes[0]:7.2g} in layer 1, {sizes[-1]:7.2g} in {depth}")
            axes.semilogy(range(1, depth + 1), sizes, style, label=rule)
        axes.set(title=f"behind {name}", ylabel="root mean square")
    panels[0].legend(loc="lower left", ncols=2)
    panels[1].set_xlabel("layer")
    save(figure, "initialization_by_depth", "How large activations are by depth: Xavier suits tanh, He suits ReLU.")


def draw_losses(images: gpunn.Tensor, labels: np.ndarray, depth: int, steps: int) -> None:
    """The first steps of training a deep ReLU network from each rule."""
    figure, axes = new(height=6)
    for (rule, fill), style in zip(RULES.items(), STYLES, strict=True):
        net = network(fill, nn.ReLU, images.shape[1], depth)
        optimizer = optim.SGD(net.parameters(), lr=0.02, momentum=0.9)
        losses = []
        for _ in range(steps):
            optimizer.zero_grad()
            loss = F.cross_entropy(net(images), labels)
            loss.backward()
            optim.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            losses.append(loss.item())
        equal = float((net[0].weight.numpy() == net[0].weight.numpy()[0]).mean())
        print(f"ReLU, {rule:24} loss {losses[-1]:9.3g} after {steps} steps; {equal:4.0%} of weights as those of unit 1")
        if losses[0] < 100:  # from large weights it starts far above the picture
            axes.plot(range(1, steps + 1), losses, style, label=rule)
    axes.set(xlabel="step", ylabel="loss", ylim=(0, 3.2), title=f"{depth} hidden layers with ReLU")
    axes.legend(loc="upper right", ncols=2)
    save(
        figure,
        "initialization_loss",
        "The same network and data, other first weights. From zeros all units stay equal and only the last biases learn; "
        "large weights begin far above the picture and are left out.",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare rules for the first weights of a deep network.")
    parser.add_argument("--images", type=int, default=300, help="how many training images to use")
    parser.add_argument("--depth", type=int, default=10, help="hidden layers")
    parser.add_argument("--steps", type=int, default=60, help="steps of training")
    options = parser.parse_args()
    pixels = data.load("fashion-mini", train=True).subset(slice(options.images))
    images = gpunn.tensor(data.Standardize(dtype="float32").fit_transform(pixels.images.reshape(len(pixels), -1)))
    draw_histograms(images, options.depth)
    draw_by_depth(images, options.depth)
    draw_losses(images, pixels.labels, options.depth, options.steps)


if __name__ == "__main__":
    main()
