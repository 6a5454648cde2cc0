"""Gradients from the tape against central differences.

For a function f and a direction v, the derivative along v is (f(x + h v) - f(x - h v)) / 2h up to terms of h^2, and
also <gradient, v>; the two must agree. Source: J. Nocedal and S. Wright, "Numerical Optimization", 2nd edition 2006,
section 8.1; the measure |a - n| / max(|a|, |n|) is that of the course CS231n, "Gradient checks".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from backends import philox

from ..errors import GpunnError
from ..tape import enable_grad, no_grad
from ..tensor import Tensor

SMALL = 32  # an input of up to this many elements is also checked element by element
SEED = 0x6772616463686B  # of the directions and the weights of the outputs


class GradientError(GpunnError, ArithmeticError):
    """A gradient from the tape differs from the one by finite differences."""


class Derivative(NamedTuple):
    """One derivative, found in two ways: ``place`` says of which input, along what."""

    place: str
    analytic: float
    numeric: float
    of_one_element: bool

    @property
    def relative_error(self) -> float:
        """|a - n| / max(|a|, |n|); infinite where one of them is NaN."""
        difference, largest = abs(self.analytic - self.numeric), max(abs(self.analytic), abs(self.numeric))
        if difference != difference:
            return float("inf")
        return difference / largest if largest > 0 else 0.0

    def agrees(self, rtol: float, atol: float) -> bool:
        # A NaN on either side makes the comparison false.
        return abs(self.analytic - self.numeric) <= atol + rtol * max(abs(self.analytic), abs(self.numeric))


def gradcheck(
    function: Callable[..., Tensor],
    inputs: Tensor | Sequence[Any],
    *,
    step: float = 1e-6,
    rtol: float = 1e-5,
    atol: float = 1e-7,
    directions: int = 3,
    raise_exception: bool = True,
) -> bool:
    """Whether the gradients of ``function`` agree with central differences.

    Args:
        function: of ``inputs``, returns one tensor of any shape; it is reduced to a number by fixed random weights. It must
            give the same result each time: seed a dropout with a generator of its own, made within the function.
        inputs: a tensor, or all arguments of the function. Those that require gradients are checked; they are float64,
            in which a step of 1e-6 leaves about ten correct digits. Inputs are not written to.
        step: the length of a step along a direction, whose elements lie between -1 and 1.
        rtol, atol: analytic a and numeric n agree when |a - n| <= atol + rtol max(|a|, |n|).
        directions: how many random directions to try for each input; a small input is tried element by element as well.
        raise_exception: False returns False where True raises.

    Returns:
        True where all agree (also where the inputs are empty).

    Raises:
        GradientError: the worst derivative that does not agree, with input, element, both values and relative error.
        ValueError, TypeError: nothing to check, an input not in float64, a function that does not return a tensor or does
            not repeat.
    """
    arguments = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    checked = [i for i, x in enumerate(arguments) if isinstance(x, Tensor) and x.requires_grad]
    _require_valid(arguments, checked)
    weights, gradients = _analytic(function, arguments, checked)

    def difference(number: int, change: np.ndarray) -> float:
        """The derivative along ``change``; outputs are subtracted before they are summed, so that less cancels."""
        above, below = (_evaluate(function, arguments, number, sign * step * change) for sign in (1, -1))
        return float((weights * (above - below)).sum()) / (2 * step)

    wrong = [
        derivative
        for number in checked
        for derivative in _derivatives(number, gradients[number], difference, directions)
        if not derivative.agrees(rtol, atol)
    ]
    if not wrong:
        return True
    if raise_exception:
        worst = max(wrong, key=lambda d: (d.of_one_element, d.relative_error))
        raise GradientError(
            f"gradcheck: {worst.place}: analytic {worst.analytic:.9g}, numeric {worst.numeric:.9g}, "
            f"relative error {worst.relative_error:.2e}; expected at most {rtol:g} (and {atol:g} absolute)"
        )
    return False


def _require_valid(arguments: tuple[Any, ...], checked: list[int]) -> None:
    if not checked:
        raise ValueError(
            "gradcheck: expected at least one input that requires gradients, got none; use requires_grad=True"
        )
    for number in checked:
        if arguments[number].dtype != np.float64:
            raise ValueError(
                f"gradcheck: expected input {number} in float64, got {arguments[number].dtype.name}; use .double()"
            )


def _analytic(
    function: Callable[..., Tensor], arguments: tuple[Any, ...], checked: list[int]
) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """The weights of the outputs, and the gradient of their weighted sum for each input that is checked."""
    leaves = list(arguments)
    for number in checked:
        leaves[number] = arguments[number].detach().clone().requires_grad_()
    with enable_grad():
        out = function(*leaves)
    if not isinstance(out, Tensor):
        raise TypeError(f"gradcheck: expected the function to return a Tensor, got {type(out).__name__}")
    values = np.array(out.numpy(), dtype=np.float64)
    if not np.array_equal(values, _evaluate(function, arguments, checked[0], 0.0), equal_nan=True):
        raise ValueError(
            "gradcheck: the function gave two results for the same inputs; seed its random numbers within it"
        )
    weights = _random(0, out.shape)
    if out.requires_grad:
        out.backward(weights)
    found = {number: leaves[number].grad for number in checked}
    return weights, {
        number: np.zeros(leaves[number].shape) if grad is None else np.array(grad.numpy())
        for number, grad in found.items()
    }


def _evaluate(function: Callable[..., Tensor], arguments: tuple[Any, ...], number: int, change: Any) -> np.ndarray:
    """The function's values where input ``number`` is changed by ``change``."""
    x = arguments[number]
    moved = Tensor(x.backend.asarray(np.array(x.numpy()) + change), x.backend)
    with no_grad():
        out = function(*arguments[:number], moved, *arguments[number + 1 :])
    return np.array(out.numpy(), dtype=np.float64)


def _derivatives(
    number: int, gradient: np.ndarray, difference: Callable[[int, np.ndarray], float], directions: int
) -> list[Derivative]:
    found = []
    if gradient.size <= SMALL:
        for place in np.ndindex(gradient.shape):
            change = np.zeros(gradient.shape)
            change[place] = 1
            element = ", ".join(str(i) for i in place)
            where = f"input {number}, element [{element}]"
            found.append(Derivative(where, float(gradient[place]), difference(number, change), True))
    for direction in range(directions if gradient.size else 0):
        change = _random(1 + direction, gradient.shape)
        where = f"input {number}, random direction {direction} over all {gradient.size} elements"
        found.append(Derivative(where, float((gradient * change).sum()), difference(number, change), False))
    return found


def _random(stream: int, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers between -1 and 1, the same in each run."""
    return 2 * philox.uniform(SEED, stream, shape).astype(np.float64) - 1
