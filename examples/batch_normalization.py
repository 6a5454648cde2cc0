"""Batch normalization: its backward pass step by step, before or after the nonlinearity, and what differs in test mode.

Learn:  the computation graph of nn.BatchNorm1d, what normalization does to training, and why test mode is needed.
Needs:  nothing: the images come with gpunn.
Shows:  batch_normalization_training.png, batch_normalization_modes.png.

    python examples/batch_normalization.py
"""

import argparse
from dataclasses import fields

import numpy as np
from pictures import new, save

import gpunn
from gpunn import data, init, nn, optim
from gpunn import functional as F
from gpunn.classic import batch_normalization

Images = tuple[np.ndarray, np.ndarray]  # pixels (n, 784) and labels (n)
PLACES = {
    "none": lambda n: (nn.ReLU(),),
    "before the ReLU": lambda n: (nn.BatchNorm1d(n), nn.ReLU()),
    "after the ReLU": lambda n: (nn.ReLU(), nn.BatchNorm1d(n)),
}


def rounded(values: gpunn.Tensor) -> str:
    """All elements in one line; 0 for -0."""
    return str(values.numpy().ravel().round(3) + 0.0)


def step_by_step() -> None:
    """Four examples of one feature, with every intermediate and its gradient; then the same from the fused operation."""
    x = gpunn.tensor([[1.0], [2.0], [4.0], [9.0]], dtype="float64", requires_grad=True)
    weight, bias = gpunn.tensor([2.0], dtype="float64"), gpunn.tensor([0.5], dtype="float64")
    d_out = gpunn.tensor([[1.0], [0.0], [0.0], [-1.0]], dtype="float64")
    steps = batch_normalization.forward(x.detach(), weight, bias)
    gradients = batch_normalization.backward(steps, d_out)
    for field in fields(steps):
        value, gradient = getattr(steps, field.name), getattr(gradients, f"d_{field.name}", d_out)
        print(f"    {field.name:11} {rounded(value):28} gradient {rounded(gradient)}")
    out = F.batch_norm(x, None, None, weight, bias, training=True)
    out.backward(d_out)
    difference = np.abs(x.grad.numpy() - gradients.d_x.numpy()).max()
    print(f"fused in one operation: the gradient of x differs by {difference:.0e}")


def network(place: str, inputs: int, width: int = 100, depth: int = 5) -> nn.Sequential:
    """``depth`` hidden layers, with batch normalization at ``place``."""
    gpunn.manual_seed(0)
    layers: list[nn.Module] = []
    for i in range(depth):
        linear = nn.Linear(inputs if i == 0 else width, width)
        init.kaiming_normal_(linear.weight)
        layers += [linear, *PLACES[place](width)]
    return nn.Sequential(*layers, nn.Linear(width, 10))


def train(net: nn.Sequential, images: np.ndarray, labels: np.ndarray, lr: float, steps: int, batch: int) -> list[float]:
    """The loss at each of ``steps`` steps of descent on batches drawn at random."""
    optimizer = optim.SGD(net.parameters(), lr=lr)
    random = np.random.default_rng(0)
    losses = []
    net.train()
    for _ in range(steps):
        rows = random.choice(len(images), batch, replace=False)
        optimizer.zero_grad()
        loss = F.cross_entropy(net(gpunn.tensor(images[rows])), labels[rows])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def accuracy(net: nn.Sequential, images: np.ndarray, labels: np.ndarray, batch: int) -> float:
    """The share of right answers, given ``batch`` images at a time, in the mode that ``net`` is in."""
    right = 0
    with gpunn.no_grad():
        for start in range(0, len(images) - batch + 1, batch):
            rows = slice(start, start + batch)
            right += int((net(gpunn.tensor(images[rows])).numpy().argmax(axis=1) == labels[rows]).sum())
    return right / (len(images) // batch * batch)


def draw_training(train_set: Images, test_set: Images, steps: int, batch: int) -> None:
    """The loss in training, with batch normalization in different places and descent with a small and with a large step."""
    window = min(10, steps)
    figure, panels = new(2, 1, height=9.5, sharex=True)
    for axes, lr in zip(panels, (0.05, 0.5), strict=True):
        for place, style in zip(PLACES, (":", "-", "--"), strict=True):
            net = network(place, train_set[0].shape[1])
            losses = train(net, *train_set, lr, steps, batch)
            share = accuracy(net.eval(), *test_set, batch=len(test_set[0]))
            print(f"step {lr}: {place:16} loss {np.mean(losses[-20:]):.3f}, test accuracy {share:.1%}")
            smooth = np.convolve(losses, np.ones(window) / window, "valid")
            axes.plot(np.arange(window, steps + 1), smooth, style, label=place)
        axes.set(title=f"descent with step {lr}", ylabel=f"loss, mean of {window} batches", ylim=(0, 3.2))
        axes.legend(title="batch normalization")
    panels[1].set_xlabel("step")
    caption = "Five hidden layers: batch normalization, before or after the ReLU, makes training quicker and bear larger steps."
    save(figure, "batch_normalization_training", caption)


def draw_modes(train_set: Images, test_set: Images, steps: int, batch: int) -> None:
    """How many test images a network gets right in test mode, and in training mode by how many images it is given at a time."""
    net = network("before the ReLU", train_set[0].shape[1])
    train(net, *train_set, 0.05, steps, batch)
    in_test_mode = accuracy(net.eval(), *test_set, batch=1)
    sizes = [size for size in (2, 4, 8, 16, 32, 64, 128) if size <= len(test_set[0])]
    # In training mode the running statistics follow the batches, so it comes after the other.
    in_training_mode = [accuracy(net.train(), *test_set, batch=size) for size in sizes]
    print(f"test mode, one image at a time: {in_test_mode:.1%}; training mode, two: {in_training_mode[0]:.1%}")
    figure, axes = new()
    shares = np.multiply(in_training_mode, 100)
    axes.semilogx(sizes, shares, "o-", base=2, label="the batch's statistics (training mode)")
    axes.axhline(100 * in_test_mode, linestyle="--", color="C1", label="running statistics (test mode), any size")
    axes.set(xlabel="images given at a time", ylabel="test accuracy (%)", xticks=sizes, xticklabels=sizes)
    axes.legend(loc="lower right")
    caption = (
        "In training mode an answer depends on the images beside one; the fewer, the worse. Test mode needs no others."
    )
    save(figure, "batch_normalization_modes", caption)


def main() -> None:
    parser = argparse.ArgumentParser(description="Batch normalization step by step, in training and in test mode.")
    parser.add_argument("--images", type=int, default=4000, help="training images; of test images half as many")
    parser.add_argument("--steps", type=int, default=200, help="steps of training")
    parser.add_argument("--batch-size", type=int, default=64)
    options = parser.parse_args()
    step_by_step()
    counts = ((True, options.images), (False, options.images // 2))
    sets = [data.load("fashion-mini", train=part).subset(slice(count)) for part, count in counts]
    train_set, test_set = ((s.images.reshape(len(s), -1) / np.float32(255), s.labels) for s in sets)
    draw_training(train_set, test_set, options.steps, options.batch_size)
    draw_modes(train_set, test_set, options.steps, options.batch_size)


if __name__ == "__main__":
    main()
