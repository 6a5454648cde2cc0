"""One step of training: forward, loss, backward, clipping, update; in mixed precision where that is asked for."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from gpunn.dtypes import as_dtype
from gpunn.errors import ConfigError
from gpunn.mixed_precision import autocast
from gpunn.optim import clip_grad_norm_, clip_grad_value_
from gpunn.tensor import Tensor
from gpunn.training.scaling import GradScaler

PRECISIONS = {"bf16": "bfloat16", "fp16": "float16"}


class TrainingStep:
    """Called with a batch on the net's device, it trains ``net`` by one step.

    Arguments:
        amp: None, or "bf16" or "fp16": what products are computed in (`gpunn.autocast`). Parameters stay float32. fp16
            scales the loss (`GradScaler`), and a step whose gradients overflow changes nothing.
        clip_norm, clip_value: bounds for the norm of all gradients together and for each element.
    """

    def __init__(
        self,
        net: Any,
        loss: Callable[[Any, Any], Any],
        optimizer: Any,
        *,
        amp: str | None = None,
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        if amp is not None and amp not in PRECISIONS:
            raise ConfigError(f"amp: expected None, 'bf16' or 'fp16', got {amp!r}")
        dtype = next(iter(net.parameters())).dtype.name
        if amp is not None and dtype != "float32":
            raise ConfigError(f"amp: expected a net of float32, got one of {dtype}; leave amp out, or call net.float()")
        self.net, self.loss, self.optimizer = net, loss, optimizer
        self.clip_norm, self.clip_value = clip_norm, clip_value
        try:
            self.precision = None if amp is None else as_dtype(PRECISIONS[amp])
        except ImportError as error:
            raise ConfigError(f"amp: {error}") from error
        self.scaler = GradScaler() if amp == "fp16" else None

    def __call__(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The loss (a tensor of one element) and the net's outputs."""
        loss, outputs = self.gradients(inputs, targets)
        self.update()
        return loss, outputs

    def gradients(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """All of a step up to the gradients, as they go to the optimizer."""
        self.optimizer.zero_grad()
        with nullcontext() if self.precision is None else autocast(self.precision):
            outputs = self.net(inputs)
            loss = self.loss(outputs, targets)
        if self.scaler is None:
            loss.backward()
        else:
            self.scaler.scale(loss).backward()
            self.scaler.unscale_(self.optimizer)
        if self.clip_value is not None:
            clip_grad_value_(self.net.parameters(), self.clip_value)
        if self.clip_norm is not None:
            clip_grad_norm_(self.net.parameters(), self.clip_norm)
        return loss, outputs

    def update(self) -> None:
        """The optimizer's step."""
        if self.scaler is None:
            self.optimizer.step()
        else:
            self.scaler.step(self.optimizer)
            self.scaler.update()
