"""One training step of a network, to be carried out on any device with the same weights, batch and random numbers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from backends import Backend

from .. import functional as F
from ..dtypes import as_dtype, is_floating
from ..nn import Module
from ..optim import SGD, Optimizer, clip_grad_norm_
from ..random import default_generator
from ..tensor import Tensor, move

Loss = Callable[..., Tensor]
TARGETS = ("target", "targets", "label", "labels")
UPDATES = 2  # the second works with the state that the first has left, which starts from zeros


@dataclass
class Batch:
    """A batch as NumPy arrays: what the network is called with, and the target of the loss, None where there is none."""

    inputs: tuple[Any, ...]
    named: dict[str, Any]
    target: Any

    @classmethod
    def of(cls, batch: Any) -> Batch:
        """An array or a tensor: the input. A tuple or list: inputs, and last the target. A dict: the network's keyword arguments,
        of which the one called target, targets, label or labels is the loss's.
        """
        if isinstance(batch, Mapping):
            named = {name: _host(value) for name, value in batch.items()}
            target = next((name for name in TARGETS if name in named), None)
            return cls((), named, None if target is None else named.pop(target))
        if isinstance(batch, (tuple, list)):
            if len(batch) < 2:
                raise ValueError(
                    f"parity: expected a batch of inputs and a target, got a {type(batch).__name__} of {len(batch)}; "
                    "pass a single input as it is"
                )
            *inputs, target = (_host(value) for value in batch)
            return cls(tuple(inputs), {}, target)
        return cls((_host(batch),), {}, None)


def _host(value: Any) -> Any:
    return None if value is None else np.asarray(value.numpy() if isinstance(value, Tensor) else value)


def default_loss(output: Any, target: Any = None) -> Tensor:
    """Cross-entropy for labels, the mean square of the difference for numbers; without a target the output, if it is a number,
    else the mean of its squares.
    """
    output = output[0] if isinstance(output, tuple) else output
    if target is None:
        return output if output.ndim == 0 else (output * output).mean()
    return F.mse_loss(output, target) if is_floating(target.dtype) else F.cross_entropy(output, target)


def default_optimizer(parameters: Iterable[Tensor]) -> Optimizer:
    """Every term of the rule has a part in the update."""
    return SGD(parameters, lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4)


@dataclass
class Done:
    """What a step leaves: the loss, and parameters before and after it, by name, in float64 on the host."""

    loss: float
    before: dict[str, np.ndarray]
    after: dict[str, np.ndarray]


class Step:
    """A training step that can be repeated; the network that is given is left alone.

    Args:
        loss: of the output and the target (of the output alone where there is none).
        optimizer: makes one for the parameters.
        clip_norm: the norm that the gradients are clipped to; None for no clipping.
        dtype: to cast network and batch to; None for the network's own.
    """

    def __init__(
        self,
        net: Module,
        batch: Any,
        loss: Loss | None,
        optimizer: Callable[[Any], Optimizer] | None,
        clip_norm: float | None,
        dtype: Any,
        seed: int,
    ) -> None:
        self.net = copy.deepcopy(net)
        self.net.zero_grad()
        if dtype is not None:
            self.net.to(dtype=dtype)
        dtypes = [value.dtype for value in self.net.parameters() if is_floating(value.dtype)]
        self.dtype = as_dtype(dtype) if dtype is not None else dtypes[0] if dtypes else np.dtype(np.float32)
        self.batch = Batch.of(batch)
        self.loss = default_loss if loss is None else loss
        self.optimizer = optimizer or default_optimizer
        self.clip_norm = clip_norm
        self.seed = seed

    def prepared(self, backend: Backend) -> Prepared:
        """Copies of all that it needs on a device."""
        net = on_device(copy.deepcopy(self.net), backend)
        loss = on_device(copy.deepcopy(self.loss), backend) if isinstance(self.loss, Module) else self.loss
        if isinstance(loss, Module):
            loss.to(dtype=self.dtype)
        trained = [value for value in net.parameters() if value.requires_grad]

        def tensor(array: Any, differentiable: bool = True) -> Any:
            if array is None:
                return None
            floating = is_floating(array.dtype)
            values = backend.asarray(array.astype(self.dtype) if floating else array.copy())
            # Where nothing is trained, the gradients of the inputs are looked at.
            return Tensor(values, backend, requires_grad=floating and differentiable and not trained)

        inputs = tuple(tensor(x) for x in self.batch.inputs)
        named = {name: tensor(x) for name, x in self.batch.named.items()}
        target = tensor(self.batch.target, differentiable=False)
        optimizer = self.optimizer(trained) if trained else None
        return Prepared(self, net, loss, optimizer, inputs, named, target)


@dataclass
class Prepared:
    """A step on a device."""

    step: Step
    net: Module
    loss: Loss
    optimizer: Optimizer | None
    inputs: tuple[Tensor, ...]
    named: dict[str, Tensor]
    target: Tensor | None

    def run(self) -> Done:
        """Forward, loss, backward, clipping, and the update twice."""
        before = self._parameters()
        with seeded(self.step.seed):
            output = self.net(*self.inputs, **self.named)
            loss = self.loss(output) if self.target is None else self.loss(output, self.target)
            if not isinstance(loss, Tensor) or loss.numel() != 1:
                got = f"shape {loss.shape}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
                raise ValueError(f"parity: expected a loss of one element, got {got}; pass loss=, with a mean")
            value = float(loss.item())
            if loss.requires_grad:
                loss.backward()
            if self.optimizer is not None:
                if self.step.clip_norm is not None:
                    clip_grad_norm_(self.net.parameters(), self.step.clip_norm)
                for _ in range(UPDATES):
                    self.optimizer.step()
        return Done(value, before, self._parameters())

    def _parameters(self) -> dict[str, np.ndarray]:
        return {name: np.array(value.numpy(), np.float64) for name, value in self.net.named_parameters()}


def on_device(module: Module, backend: Backend) -> Any:
    """The module with its parameters and buffers on a device that may not be known by name."""
    for value in [*module.parameters(), *module.buffers()]:
        with backend.scope():
            # A copy, also where the device is the host: devices must not share memory with each other.
            value.data = move(value.data, value.backend, backend).copy(order="K")
        value.backend, value.grad = backend, None
    return module


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """The default generator starts from ``seed``, and is left as it was found."""
    state = default_generator.get_state()
    default_generator.manual_seed(seed)
    try:
        yield
    finally:
        default_generator.set_state(state)
