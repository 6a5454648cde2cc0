"""Adagrad with the full matrix."""

from __future__ import annotations

from typing import Any

from gpunn.errors import NonFiniteError
from gpunn.optim.optimizer import Batch, Optimizer, Options, Parameters
from gpunn.tensor import Tensor

LARGEST = 4096  # elements of a parameter: its matrix then takes 128 MiB, and every step an eigendecomposition of it


class FullAdagrad(Optimizer):
    """Adagrad with the full matrix: it learns directions, where ``Adagrad`` learns one rate for each coordinate.

        g = gradient + weight_decay * p, as one vector       (-gradient where maximize)
        S = S + g g'                                         (from zero)
        p = p - lr * (S^(1/2) + eps I)^-1 g

    ``Adagrad`` is this with the diagonal of S alone. Unlike it, a rotation of the coordinates changes nothing. S is
    singular until as many independent gradients have been seen as there are coordinates; on its null space, in which
    no gradient has had a part, the inverse counts as zero.

    Source: J. Duchi, E. Hazan, Y. Singer, "Adaptive subgradient methods for online learning and stochastic
    optimization", JMLR 2011, section 1.1 (with the pseudo-inverse).

    params: Tensors or groups of them, see ``Optimizer``. Each parameter of n elements has a matrix of its own,
    (n, n) in float64, and a step takes in the order of n^3 operations: for small problems; n is at most 4096.
    lr, weight_decay, eps: numbers >= 0.  maximize: ascend instead.
    Raises ValueError for options that are not allowed and for a parameter that is too large, NonFiniteError for a
    gradient that is not finite.
    """

    counts_steps = False

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-2,
        weight_decay: float = 0.0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "eps": eps, "maximize": maximize})

    def check(self, options: Options) -> None:
        self._expect(options, "lr weight_decay eps")
        for param in options.get("params", ()):
            if param.numel() > LARGEST:
                raise ValueError(
                    f"FullAdagrad: expected parameters of at most {LARGEST} elements, got one of shape {param.shape}; "
                    "use Adagrad for it"
                )

    def state_names(self, options: Options) -> tuple[str, ...]:
        return ("sum_of_outer_products",)

    def new_state(self, name: str, param: Tensor, options: Options) -> Any:
        return param.backend.zeros((param.numel(), param.numel()), dtype="float64")

    def update(self, options: Options, batch: Batch) -> None:
        xp = batch.backend.xp
        for param, grad, total in zip(batch.params, batch.grads, batch.state["sum_of_outer_products"], strict=True):
            if not param.size:
                continue
            gradient = (-grad if options["maximize"] else grad).astype("float64").reshape(-1)
            gradient += float(options["weight_decay"]) * param.reshape(-1)
            if not bool(xp.isfinite(gradient).all()):  # or it would stay in the sum for ever
                raise NonFiniteError(
                    f"FullAdagrad: the gradient of a parameter of shape {param.shape} is not finite; "
                    "look for the first operation that gives NaN or infinity, or lower the learning rate"
                )
            total += xp.outer(gradient, gradient)
            values, vectors = xp.linalg.eigh(total)
            # Rounding leaves the zeros among the eigenvalues a little above or below zero.
            seen = values > param.size * xp.finfo("float64").eps * values[-1]
            roots = xp.sqrt(xp.where(seen, values, 1.0)) + float(options["eps"])
            direction = vectors @ (xp.where(seen, 1.0 / roots, 0.0) * (vectors.T @ gradient))
            param -= (float(options["lr"]) * direction).reshape(param.shape).astype(param.dtype)
