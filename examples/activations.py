"""The activation functions of the course, each with its derivative, and softmax with its Jacobian.

Learn:  what each function does to a number and to the gradient that comes back; how softmax ties its outputs together.
Needs:  nothing.
Shows:  activations.png, softmax_jacobian.png.

    python examples/activations.py
"""

import argparse

import numpy as np
from pictures import DIVERGING, new, save

import gpunn
from gpunn import functional as F

ACTIVATIONS = {
    "sigmoid: 1 / (1 + exp(-x))": F.sigmoid,
    "tanh": F.tanh,
    "ReLU: max(0, x)": F.relu,
    "softplus: log(1 + exp(x))": F.softplus,
    "leaky ReLU, slope 0.1": lambda x: F.leaky_relu(x, 0.1),
    "PReLU: the slope, here 0.4, is learned": lambda x: F.prelu(x, gpunn.tensor([0.4], dtype=x.dtype, device=x.device)),
    "ELU: exp(x) - 1 for x < 0": F.elu,
    "maxout of -x - 1, x / 4 and 2x - 3": lambda x: F.maxout(F.stack([-x - 1, x / 4, 2 * x - 3], dim=1), 3).squeeze(1),
}


def with_derivative(function, x: np.ndarray, device: str) -> tuple[np.ndarray, np.ndarray]:
    """f(x) and f'(x): each output depends on one input, so the gradient of their sum holds all derivatives."""
    points = gpunn.tensor(x, device=device, requires_grad=True)
    out = function(points)
    out.sum().backward()
    return out.detach().numpy(), points.grad.numpy()


def draw_activations(points: int, device: str) -> None:
    x = np.linspace(-4, 4, points)
    figure, axes = new(4, 2, width=9.5, height=13, sharex=True)
    for place, (name, function) in zip(axes.flat, ACTIVATIONS.items(), strict=True):
        values, slopes = with_derivative(function, x, device)
        # A derivative that jumps is drawn with a gap.
        slopes = np.where(np.abs(np.diff(slopes, prepend=slopes[0])) > 0.2, np.nan, slopes)
        place.plot(x, values, label="f(x)")
        place.plot(x, slopes, "--", label="f'(x)")
        place.set(title=name, ylim=(-1.6, 4.2))
        print(f"{name:40} derivative between {np.nanmin(slopes):5.2f} and {np.nanmax(slopes):4.2f}")
    axes[0, 0].legend(loc="upper left")
    for place in axes[-1]:
        place.set_xlabel("x")
    save(figure, "activations", "Activation functions (solid) and their derivatives (dashed), found by the tape.")


def draw_softmax(points: int, device: str) -> None:
    """Three scores, of which the first moves; and the nine derivatives at one place."""
    first = np.linspace(-4, 6, points)
    scores = np.stack([first, np.zeros_like(first), np.ones_like(first)], axis=1)
    probabilities = F.softmax(gpunn.tensor(scores, device=device), dim=1).numpy()
    jacobian = F.softmax_jacobian(gpunn.tensor([1.5, 0.0, 1.0], dtype="float64", device=device)).numpy()
    print("Jacobian of softmax at (1.5, 0, 1):", *np.array_str(jacobian, precision=3).splitlines(), sep="\n    ")
    figure, (left, right) = new(2, 1, height=9)
    for i, style in enumerate(("-", "--", ":")):
        left.plot(first, probabilities[:, i], style, label=f"s{i + 1}")
    left.set(title="softmax of (x1, 0, 1)", xlabel="x1", ylabel="probability")
    left.legend()
    image = right.imshow(jacobian, cmap=DIVERGING, vmin=-0.5, vmax=0.5)
    for i, j in np.ndindex(3, 3):
        right.text(j, i, f"{jacobian[i, j]:.3f}", ha="center", va="center")
    right.set(title="ds_i / dx_j = s_i (1 if i = j else 0) - s_i s_j", xticks=range(3), yticks=range(3))
    right.set(xticklabels=["x1", "x2", "x3"], yticklabels=["s1", "s2", "s3"])
    right.grid(False)
    figure.colorbar(image, ax=right)
    save(figure, "softmax_jacobian", "Softmax and its Jacobian at (1.5, 0, 1): every row and every column sums to 0.")


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the activation functions and their derivatives.")
    parser.add_argument("--points", type=int, default=401, help="how many points a curve has")
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda or cuda:N")
    options = parser.parse_args()
    draw_activations(options.points, options.device)
    draw_softmax(options.points, options.device)


if __name__ == "__main__":
    main()
