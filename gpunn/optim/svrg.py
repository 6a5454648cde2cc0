"""Stochastic variance reduced gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gpunn.optim.optimizer import Batch, Optimizer, Options, Parameters
from gpunn.tape import enable_grad
from gpunn.tensor import Tensor


class SVRG(Optimizer):
    """Stochastic variance reduced gradient: minibatch steps whose noise goes to zero, so that the rate need not.

        w = p, m = mean gradient of all examples at w                 in ``snapshot``, from time to time
        g = gradient of the minibatch at p - its gradient at w + m    in ``step``
        p = p - lr * (g + weight_decay * p)

    The mean of g over all minibatches is the gradient; its variance goes to zero as p and w come near the minimum. For
    a strongly convex loss the error shrinks by a fixed factor from one snapshot to the next, where that of SGD with a
    constant rate stays at its noise. A step costs two gradients; a snapshot is usual every one to five epochs.

    Source: R. Johnson, T. Zhang, "Accelerating stochastic gradient descent using predictive variance reduction",
    NIPS 2013.

        for epoch in range(epochs):
            optimizer.snapshot(lambda: loss_of(all_examples))
            for batch in batches:
                optimizer.step(lambda: loss_of(batch))

    where ``loss_of`` computes the mean loss, calls ``backward`` and returns the loss; the gradients are cleared before.

    params: Tensors or groups of them, see ``Optimizer``.  lr, weight_decay: numbers >= 0.
    The loss must be a function of parameters and examples alone: dropout and batch normalization in training mode
    break the method.
    Raises ValueError for options that are not allowed and for a step before the first snapshot.
    """

    counts_steps = False

    def __init__(self, params: Parameters, lr: float = 1e-2, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    def check(self, options: Options) -> None:
        self._expect(options, "lr weight_decay")

    def state_names(self, options: Options) -> tuple[str, ...]:
        return ("snapshot", "mean_gradient")

    def snapshot(self, closure: Callable[[], Any]) -> Any:
        """Remember where the parameters are and the gradient of all examples there.

        closure: computes the mean loss of all examples and calls ``backward``; what it returns is returned.
        """
        if not callable(closure):
            raise TypeError("SVRG: snapshot needs a closure that computes the loss of all examples and calls backward")
        loss = self._evaluate(closure)
        for param in self._parameters():
            if param.grad is None:
                self.state.pop(param, None)
                continue
            with param.backend.scope():
                self.state[param] = {"snapshot": param.data.copy(), "mean_gradient": param.grad.data.copy()}
        return loss

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step. ``closure`` computes the minibatch's mean loss and calls ``backward``.

        It is called twice, first at the snapshot and then at the parameters; what it returns there is returned. The
        parameters' ``grad`` is then the corrected gradient g.
        """
        if closure is None:
            raise TypeError("SVRG: step needs a closure that computes the loss of a minibatch and calls backward")
        params = [param for param in self._parameters() if param in self.state]
        if not params:
            raise ValueError(
                "SVRG: step before the first snapshot; call snapshot(closure) with the loss of all examples"
            )
        now = [param.data for param in params]
        try:
            for param in params:
                param.data = self.state[param]["snapshot"]
            self._evaluate(closure)
            old = [param.grad for param in params]
        finally:
            for param, data in zip(params, now, strict=True):
                param.data = data
        loss = self._evaluate(closure)
        for param in self._parameters():
            if param not in self.state:
                param.grad = None  # constant for the examples as a whole
        for param, gradient_there in zip(params, old, strict=True):
            if param.grad is None or gradient_there is None:
                raise ValueError(
                    f"SVRG: a parameter of shape {param.shape} has a gradient for all examples, but not for this minibatch"
                )
            with param.backend.scope():
                corrected = param.grad.data - gradient_there.data + self.state[param]["mean_gradient"]
                param.grad = Tensor(param.backend.asarray(corrected), param.backend)
        super().step()
        return loss

    def update(self, options: Options, batch: Batch) -> None:
        batch.backend.sgd_(
            batch.params,
            batch.grads,
            None,
            lr=float(options["lr"]),
            momentum=0.0,
            dampening=0.0,
            weight_decay=float(options["weight_decay"]),
            nesterov=False,
            maximize=False,
            first_step=False,
        )

    def _evaluate(self, closure: Callable[[], Any]) -> Any:
        self.zero_grad()
        with enable_grad():
            return closure()

    def _parameters(self) -> list[Tensor]:
        return [param for group in self.param_groups for param in group["params"]]
