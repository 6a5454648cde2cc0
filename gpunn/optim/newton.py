"""Newton's method, with the whole Hessian by finite differences of gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import product
from typing import Any

from gpunn.dtypes import is_number
from gpunn.errors import NonFiniteError
from gpunn.optim.optimizer import Optimizer, Options, Parameters
from gpunn.tape import enable_grad
from gpunn.tensor import Tensor

LARGEST = 4096  # parameters in all: the Hessian then takes 128 MiB


def hessian(closure: Callable[[], Any], params: Iterable[Tensor], step: float | None = None) -> Tensor:
    """The matrix of second derivatives of a loss, all parameters taken as one vector: (n, n), symmetric, float64.

        column j = (gradient(p + h_j e_j) - gradient(p - h_j e_j)) / (2 h_j),   h_j = step * max(1, |p_j|)

    then the mean of the matrix and its transpose. The error is of the order of h^2, and of the rounding divided by h.
    Source: J. Nocedal, S. Wright, "Numerical Optimization", 2nd edition 2006, section 8.1.

    closure: computes the loss anew and calls ``backward``; the gradients are cleared before. It must give the same each
    time: no dropout. It is called 2 n times.
    params: Tensors of one device; those to which the loss gives no gradient get rows and columns of zeros.
    step: None takes the cube root of the precision: 6e-6 for float64 and 5e-3 for float32, which gives about ten and
    four correct digits. The parameters and their gradients end as they were.
    Raises ValueError for no parameters or no elements, more than 4096 elements, or several devices.
    """
    if not callable(closure):
        raise TypeError(f"hessian: expected a closure that computes the loss and calls backward, got {closure!r}")
    tensors = _of_one_device("hessian", list(params))
    backend = tensors[0].backend
    gradients = [param.grad for param in tensors]
    columns = []
    with backend.scope():
        for param in tensors:
            size = float(backend.xp.finfo(param.dtype).eps) ** (1 / 3) if step is None else step
            places = product(*map(range, param.shape))
            columns += [_column(closure, tensors, param, index, size) for index in places]
        for param, gradient in zip(tensors, gradients, strict=True):
            param.grad = gradient
        matrix = backend.xp.stack(columns, axis=1)
        return Tensor((matrix + matrix.T) / 2, backend)


def _column(closure: Callable[[], Any], params: list[Tensor], param: Tensor, index: Any, size: float) -> Any:
    """The derivative of the gradient of all ``params`` by one element of ``param``."""
    kept = param.data[index].copy()
    change = size * max(1.0, abs(float(kept)))
    reached, gradients = [], []
    try:
        for sign in (1, -1):
            param.data[index] = kept + sign * change
            param.version.count += 1
            reached.append(float(param.data[index]))  # after rounding
            _evaluate(closure, params)
            gradients.append(_gradient(params))
    finally:
        param.data[index] = kept
        param.version.count += 1
    return (gradients[0] - gradients[1]) / (reached[0] - reached[1])


class Newton(Optimizer):
    """Newton's method: the step to where a parabola that fits the loss at this point has its minimum.

        p = p - lr * (H + damping I)^-1 g,    H the Hessian, g the gradient, of all parameters as one vector

    It finds the minimum of a quadratic in one step, whatever its condition; near a minimum the error is squared in each
    step. Far from it H may have negative eigenvalues: the step then goes up, to a saddle or a maximum. ``damping``
    shortens the step towards gradient descent (1 / damping becomes the step size); ``absolute`` takes the eigenvalues of
    H by magnitude, so that every step goes down if it is short enough.

    Sources: J. Nocedal, S. Wright, "Numerical Optimization", 2nd edition 2006, sections 2.2 and 3.3; Y. Dauphin et al.,
    "Identifying and attacking the saddle point problem in high-dimensional non-convex optimization", NIPS 2014
    (``absolute``).

    params: Tensors of one device, at most 4096 elements in all; one group alone. float64 is advised.
    lr, damping: numbers >= 0.  absolute: as above.  difference: the ``step`` of `hessian`.
    ``step`` needs a closure, which it calls 2 n + 1 times for n elements.
    Raises ValueError for options that are not allowed, TypeError for a step without a closure, NonFiniteError for a
    loss that is not finite, and ArithmeticError where H + damping I is singular.
    """

    counts_steps = False

    def __init__(
        self,
        params: Parameters,
        lr: float = 1.0,
        damping: float = 0.0,
        absolute: bool = False,
        difference: float | None = None,
    ) -> None:
        defaults = {"lr": lr, "damping": damping, "absolute": absolute, "difference": difference}
        super().__init__(params, defaults)

    def check(self, options: Options) -> None:
        self._expect(options, "lr damping")
        difference = options["difference"]
        if difference is not None and not (is_number(difference) and difference > 0):
            raise ValueError(f"Newton: expected difference > 0 or None, got {difference!r}")

    def add_param_group(self, group: Options) -> None:
        if self.param_groups:
            raise ValueError("Newton: expected one group of parameters, got several; its step is of all as one vector")
        super().add_param_group(group)
        _of_one_device("Newton", self.param_groups[0]["params"])

    def state_names(self, options: Options) -> tuple[str, ...]:
        return ()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step. ``closure`` computes the loss anew and calls ``backward``; what it first returns is returned."""
        if closure is None:
            raise TypeError("Newton: step needs a closure that computes the loss and calls backward")
        group = self.param_groups[0]
        loss = _evaluate(closure, group["params"])
        params = [param for param in group["params"] if param.grad is not None]
        if not params:
            return loss
        backend = params[0].backend
        xp = backend.xp
        with backend.scope():
            gradient = _gradient(params)
        curvature = hessian(closure, params, group["difference"])
        with backend.scope():
            matrix = curvature.data
            if not bool(xp.isfinite(matrix).all() & xp.isfinite(gradient).all()):
                raise NonFiniteError(
                    "Newton: a first or second derivative is not finite; start elsewhere, or raise damping"
                )
            values, vectors = xp.linalg.eigh(matrix)
            values = (xp.abs(values) if group["absolute"] else values) + float(group["damping"])
            magnitudes = xp.abs(values)
            if not bool(magnitudes.min() > len(values) * xp.finfo("float64").eps * magnitudes.max()):
                raise ArithmeticError("Newton: the Hessian is singular, so the step has no end; give damping > 0")
            direction = vectors @ ((vectors.T @ gradient) / values)
            begin = 0
            for param in params:
                part = direction[begin : begin + param.numel()].reshape(param.shape)
                param.data -= (float(group["lr"]) * part).astype(param.dtype)
                param.version.count += 1
                begin += param.numel()
        return loss


def _evaluate(closure: Callable[[], Any], params: list[Tensor]) -> Any:
    for param in params:
        param.grad = None
    with enable_grad():
        return closure()


def _gradient(params: list[Tensor]) -> Any:
    """The gradients of all parameters as one vector in float64; zeros for those that have none."""
    xp = params[0].backend.xp
    parts = [xp.zeros(param.numel()) if param.grad is None else param.grad.data.reshape(-1) for param in params]
    return xp.concatenate([part.astype("float64") for part in parts])


def _of_one_device(owner: str, params: list[Tensor]) -> list[Tensor]:
    if not params:
        raise ValueError(f"{owner}: got no parameters; expected at least one Tensor")
    if strange := [param for param in params if not isinstance(param, Tensor)]:
        raise TypeError(f"{owner}: expected Tensors, got {type(strange[0]).__name__}")
    if devices := sorted({param.device for param in params} - {params[0].device}):
        raise ValueError(f"{owner}: expected all parameters on one device, got '{params[0].device}' and '{devices[0]}'")
    if not 0 < (count := sum(param.numel() for param in params)) <= LARGEST:
        raise ValueError(
            f"{owner}: expected 1 to {LARGEST} elements in all, got {count}; the Hessian has as many rows and columns"
        )
    return params
