"""Adagrad."""

from __future__ import annotations

from gpunn.optim.optimizer import Batch, Optimizer, Options, Parameters


class Adagrad(Optimizer):
    """Adagrad: a learning rate for each element that shrinks with the gradients it has seen.

        g = gradient + weight_decay * p                      (-gradient where maximize)
        s = s + g^2                                          (from initial_accumulator_value)
        p = p - lr / (1 + (t - 1) * lr_decay) * g / (sqrt(s) + eps)      in step t = 1, 2, ...

    Source: J. Duchi, E. Hazan, Y. Singer, "Adaptive subgradient methods for online learning and stochastic
    optimization", JMLR 2011.

    params: Tensors or groups of them, see ``Optimizer``.
    lr, lr_decay, weight_decay, initial_accumulator_value, eps: numbers >= 0.  maximize: ascend instead.
    Raises ValueError for options that are not allowed.
    """

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "lr_decay": lr_decay,
                "weight_decay": weight_decay,
                "initial_accumulator_value": initial_accumulator_value,
                "eps": eps,
                "maximize": maximize,
            },
        )

    def check(self, options: Options) -> None:
        self._expect(options, "lr lr_decay weight_decay initial_accumulator_value eps")

    def state_names(self, options: Options) -> tuple[str, ...]:
        return ("sum",)

    def initial_value(self, name: str, options: Options) -> float:
        return float(options["initial_accumulator_value"])

    def update(self, options: Options, batch: Batch) -> None:
        batch.backend.adagrad_(
            batch.params,
            batch.grads,
            batch.state["sum"],
            lr=float(options["lr"]) / (1 + (batch.step - 1) * float(options["lr_decay"])),
            weight_decay=float(options["weight_decay"]),
            eps=float(options["eps"]),
            maximize=options["maximize"],
        )
