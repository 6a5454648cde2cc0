"""RMSprop."""

from __future__ import annotations

from gpunn.optim.optimizer import Batch, Optimizer, Options, Parameters


class RMSprop(Optimizer):
    """RMSprop: every element's gradient, divided by a running average of its magnitude.

        g = gradient + weight_decay * p                      (-gradient where maximize)
        v = alpha * v + (1 - alpha) * g^2
        a = alpha * a + (1 - alpha) * g                      only where centered, else a = 0
        d = g / (sqrt(v - a^2) + eps)
        b = momentum * b + d
        p = p - lr * b                                       (p - lr * d without momentum)

    Sources: T. Tieleman, G. Hinton, "Lecture 6.5: RMSprop", Coursera, 2012; A. Graves, "Generating sequences
    with recurrent neural networks", 2013 (centered). Where rounding makes v - a^2 negative, it is zero.

    params: Tensors or groups of them, see ``Optimizer``.
    lr, alpha, eps, weight_decay, momentum: numbers >= 0.  centered: divide by the standard deviation.
    maximize: ascend instead.
    Raises ValueError for options that are not allowed.
    """

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "alpha": alpha,
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum": momentum,
                "centered": centered,
                "maximize": maximize,
            },
        )

    def check(self, options: Options) -> None:
        self._expect(options, "lr alpha eps weight_decay momentum")

    def state_names(self, options: Options) -> tuple[str, ...]:
        momentum = ("momentum_buffer",) if options["momentum"] else ()
        centered = ("grad_avg",) if options["centered"] else ()
        return ("square_avg", *momentum, *centered)

    def update(self, options: Options, batch: Batch) -> None:
        batch.backend.rmsprop_(
            batch.params,
            batch.grads,
            batch.state["square_avg"],
            batch.state.get("momentum_buffer"),
            batch.state.get("grad_avg"),
            lr=float(options["lr"]),
            alpha=float(options["alpha"]),
            eps=float(options["eps"]),
            weight_decay=float(options["weight_decay"]),
            momentum=float(options["momentum"]),
            maximize=options["maximize"],
        )
