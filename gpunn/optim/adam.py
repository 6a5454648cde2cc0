"""Adam and AdamW."""

from __future__ import annotations

import math

from gpunn.optim.optimizer import Batch, Optimizer, Options, Parameters


class Adam(Optimizer):
    """Adam: momentum over RMSprop, both corrected for their start from zero.

        g = gradient + weight_decay * p                      (-gradient where maximize)
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g^2
        w = max(w, v) with amsgrad, v without
        p = p - lr * m / (1 - beta1^t) / (sqrt(w / (1 - beta2^t)) + eps)      in step t = 1, 2, ...

    Sources: D. Kingma, J. Ba, "Adam: a method for stochastic optimization", ICLR 2015; S. Reddi, S. Kale,
    S. Kumar, "On the convergence of Adam and beyond", ICLR 2018 (amsgrad).

    params: Tensors or groups of them, see ``Optimizer``.  lr, eps, weight_decay: numbers >= 0.
    betas: beta1 and beta2, both in [0, 1).  amsgrad: as above.  maximize: ascend instead.
    bias_correction: False leaves out the divisions by 1 - beta1^t and 1 - beta2^t. As m and v start from zero, the
    first steps are then about (1 - beta1) / sqrt(1 - beta2) times as long as they should be.
    Raises ValueError for options that are not allowed.
    """

    decoupled = False  # whether weight decay goes past the averages, straight to the parameter

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        bias_correction: bool = True,
    ) -> None:
        defaults: Options = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
        }
        if not bias_correction:  # only then is it there: PyTorch has no such option, and its states are to be loaded
            defaults["bias_correction"] = False
        super().__init__(params, defaults)

    def check(self, options: Options) -> None:
        self._expect(options, "lr eps weight_decay")
        if not isinstance(options["betas"], (tuple, list)) or len(options["betas"]) != 2:
            raise ValueError(f"{self._name}: expected betas=(beta1, beta2), got betas={options['betas']!r}")
        self._expect(dict(zip(("beta1", "beta2"), options["betas"], strict=True)), "beta1 beta2", below=1)

    def state_names(self, options: Options) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq", "max_exp_avg_sq") if options["amsgrad"] else ("exp_avg", "exp_avg_sq")

    def update(self, options: Options, batch: Batch) -> None:
        beta1, beta2 = options["betas"]
        batch.backend.adam_(
            batch.params,
            batch.grads,
            batch.state["exp_avg"],
            batch.state["exp_avg_sq"],
            batch.state.get("max_exp_avg_sq"),
            lr=float(options["lr"]),
            beta1=float(beta1),
            beta2=float(beta2),
            eps=float(options["eps"]),
            weight_decay=float(options["weight_decay"]),
            decoupled=self.decoupled,
            # beta^t goes to 0 with t, and the corrections to 1: in step "infinity" there are none.
            step=batch.step if options.get("bias_correction", True) else math.inf,
            maximize=options["maximize"],
        )


class AdamW(Adam):
    """Adam with decoupled weight decay: the parameter shrinks by itself, the averages see the gradient alone.

        p = p * (1 - lr * weight_decay), then Adam's step with g = gradient

    Source: I. Loshchilov, F. Hutter, "Decoupled weight decay regularization", ICLR 2019.

    Arguments and errors are Adam's.
    """

    decoupled = True

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        bias_correction: bool = True,
    ) -> None:
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize, bias_correction=bias_correction
        )
