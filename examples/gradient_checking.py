"""Gradients from the tape beside gradients by finite differences: how far apart they are, and what each costs.

Learn:   checking a gradient; the relative error and what it should be; which step to take, and why float64.
Needs:   nothing: the data are drawn at random.
Shows:   the error against the step in float32 and float64, and the cost against the number of parameters.

    python examples/gradient_checking.py
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
from pictures import new, save

import gpunn
from gpunn import functional as F
from gpunn.checks import GradientError, gradcheck
from gpunn.tensor import record


def relative_error(analytic: np.ndarray, numeric: np.ndarray) -> float:
    """The course's rule: |a - n| / max(|a|, |n|), here of whole gradients."""
    return float(np.linalg.norm(analytic - numeric) / max(np.linalg.norm(analytic), np.linalg.norm(numeric)))


def numeric_gradient(f: Callable[[np.ndarray], float], x: np.ndarray, step: float) -> np.ndarray:
    """Central differences (f(x + h e_i) - f(x - h e_i)) / 2h: two evaluations for each element of x."""
    gradient = np.empty(x.shape)
    for place in np.ndindex(*x.shape):
        moved, lowered = x.copy(), x.copy()
        moved[place] += step
        lowered[place] -= step
        gradient[place] = (f(moved) - f(lowered)) / (2 * step)
    return gradient


def loss_of(weights: gpunn.Tensor, images: np.ndarray, labels: np.ndarray) -> gpunn.Tensor:
    hidden = gpunn.tensor(images, dtype=weights.dtype).matmul(weights).tanh()
    return F.cross_entropy(hidden, labels)


def wrong_square(x: gpunn.Tensor) -> gpunn.Tensor:
    """x^2 with a gradient that a slip made: 2.02 x for 2 x."""
    return record("square", x.data * x.data, (x,), lambda dout: (dout * 2.02 * x.data,))


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare gradients from the tape with finite differences.")
    parser.add_argument("--most", type=int, default=3000, help="about how many parameters the largest problem has")
    options = parser.parse_args()
    generator = np.random.default_rng(0)
    images, labels = generator.normal(size=(20, 8)), generator.integers(0, 5, 20)
    weights = generator.normal(size=(8, 5))

    steps = 10.0 ** -np.arange(1, 13)
    figure, (errors_axes, cost_axes) = new(rows=2, height=9.0)
    for dtype, style in (("float64", "o-"), ("float32", "s--")):
        leaf = gpunn.tensor(weights, dtype=dtype, requires_grad=True)
        loss_of(leaf, images, labels).backward()
        start, loss = leaf.numpy(), lambda w: loss_of(gpunn.tensor(w), images, labels).item()
        with gpunn.no_grad():
            errors = [relative_error(leaf.grad.numpy(), numeric_gradient(loss, start, step)) for step in steps]
        errors_axes.loglog(steps, errors, style, label=dtype)
        best = int(np.nanargmin(errors))
        print(f"{dtype}: least relative error {errors[best]:.1e}, with a step of {steps[best]:.0e}")
    errors_axes.axhspan(1e-16, 1e-7, color="#009E73", alpha=0.12, label="below 1e-7: right")
    errors_axes.set(
        xlabel="step h", ylabel="relative error", ylim=(1e-12, 3), title="Too large a step, and too small a one"
    )
    errors_axes.legend(loc="lower right")

    sizes, tape_seconds, numeric_seconds = [], [], []
    for columns in np.unique(np.geomspace(2, options.most / 8, 7).astype(int)):
        start, targets = generator.normal(size=(8, columns)), generator.integers(0, columns, 20)
        leaf = gpunn.tensor(start, requires_grad=True)
        begun = time.perf_counter()
        loss_of(leaf, images, targets).backward()
        middle = time.perf_counter()
        with gpunn.no_grad():
            numeric_gradient(lambda w, t=targets: loss_of(gpunn.tensor(w), images, t).item(), start, 1e-6)
        sizes.append(start.size)
        tape_seconds.append(middle - begun)
        numeric_seconds.append(time.perf_counter() - middle)
    cost_axes.loglog(
        sizes, numeric_seconds, "s-", color="#D55E00", label="finite differences: 2 evaluations a parameter"
    )
    cost_axes.loglog(sizes, tape_seconds, "o-", color="#0072B2", label="backpropagation: one walk back for all")
    cost_axes.set(xlabel="parameters", ylabel="seconds", title="What one gradient costs")
    cost_axes.legend()
    print(
        f"{sizes[-1]} parameters: differences take {numeric_seconds[-1] / tape_seconds[-1]:.0f} times as long as the tape"
    )
    caption = "Numerical gradients are good for checking, with h near 1e-5 in float64; for training they cost too much."
    save(figure, "gradient_checking", caption)

    checked = gpunn.tensor(weights, requires_grad=True)
    print("gradcheck of the loss:", gradcheck(lambda w: loss_of(w, images, labels), checked))
    try:
        gradcheck(wrong_square, checked[0].detach().requires_grad_())
    except GradientError as error:
        print(f"gradcheck of a wrong one: {error}")


if __name__ == "__main__":
    main()
