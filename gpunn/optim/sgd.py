"""Stochastic gradient descent."""

from __future__ import annotations

from gpunn.optim.optimizer import Batch, Optimizer, Options, Parameters


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum.

        g = gradient + weight_decay * p                      (-gradient where maximize)
        b = g in the first step, then momentum * b + (1 - dampening) * g
        p = p - lr * d,   d = g + momentum * b with nesterov, b with momentum, g without

    Sources: H. Robbins, S. Monro, "A stochastic approximation method", 1951; B. Polyak, "Some methods of
    speeding up the convergence of iteration methods", 1964 (momentum); I. Sutskever et al., "On the
    importance of initialization and momentum in deep learning", ICML 2013 (Nesterov momentum). Unlike there,
    ``lr`` scales the buffer, as in PyTorch.

    params: Tensors or groups of them, see ``Optimizer``.  lr, momentum, weight_decay: numbers >= 0.
    dampening: a number.  nesterov: needs momentum > 0 and dampening = 0.  maximize: ascend instead.
    Raises ValueError for options that are not allowed.
    """

    counts_steps = False

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
            },
        )

    def check(self, options: Options) -> None:
        self._expect(options, "lr momentum weight_decay")
        momentum, dampening = options["momentum"], options["dampening"]
        if options["nesterov"] and (momentum <= 0 or dampening != 0):
            raise ValueError(
                f"SGD: nesterov needs momentum > 0 and dampening = 0, got momentum={momentum} and dampening={dampening}"
            )

    def state_names(self, options: Options) -> tuple[str, ...]:
        return ("momentum_buffer",) if options["momentum"] else ()

    def update(self, options: Options, batch: Batch) -> None:
        batch.backend.sgd_(
            batch.params,
            batch.grads,
            batch.state.get("momentum_buffer"),
            lr=float(options["lr"]),
            momentum=float(options["momentum"]),
            dampening=float(options["dampening"]),
            weight_decay=float(options["weight_decay"]),
            nesterov=options["nesterov"],
            maximize=options["maximize"],
            first_step=batch.fresh,
        )
