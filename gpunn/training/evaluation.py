"""How good a network is on a set of examples."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from gpunn.device import resolve
from gpunn.errors import DataError, NonFiniteError
from gpunn.tape import no_grad
from gpunn.tensor import Tensor
from gpunn.training.metrics import Reading, RunningMetrics

Batches = Iterable[tuple[Any, Any]]


def evaluate(
    net: Any, loss: Callable[[Any, Any], Any], batches: Batches, *, stop: Callable[[], bool] = lambda: False
) -> Reading | None:
    """Mean loss and accuracy over all examples, in evaluation mode and without gradients; the mode is put back.

    ``batches`` yields (inputs, targets), arrays of the host or Tensors. They go where the network's parameters are (to
    the CPU, as float32, where it has none). ``stop`` is asked after each; None is returned if it says so.
    Raises ``NonFiniteError`` when a loss is NaN or infinite, ``DataError`` when there are no batches.
    """
    home = next(iter(net.parameters()), None)
    backend, dtype = (resolve("cpu"), "float32") if home is None else (home.backend, home.dtype)
    running = RunningMetrics()
    was_training = net.training
    net.eval()
    try:
        with no_grad(), without_warnings():
            for inputs, targets in batches:
                inputs, targets = on_device(backend, dtype, inputs, targets)
                outputs = net(inputs)
                running.add(loss(outputs, targets), outputs, targets)
                if stop():
                    return None
    finally:
        net.train(was_training)
    if running.steps == 0:
        raise DataError("evaluation: the loader yields no batches; give it at least one example")
    reading = running.read()
    if reading.first_bad_step is not None:
        raise NonFiniteError(
            f"the loss became {reading.kind} in evaluation, batch {reading.first_bad_step}: "
            "train with a lower lr or with clip_norm, and look for NaN in the data"
        )
    return reading


def without_warnings() -> Any:
    """NumPy keeps quiet about overflow: that a loss is no number is said once, by ``NonFiniteError``."""
    return np.errstate(over="ignore", invalid="ignore", divide="ignore")


def on_device(backend: Any, dtype: Any, inputs: Any, targets: Any) -> tuple[Tensor, Tensor]:
    """A batch as Tensors: the inputs in the network's dtype, the targets in their own."""
    return _tensor(backend, inputs, dtype), _tensor(backend, targets, None)


def _tensor(backend: Any, values: Any, dtype: Any) -> Tensor:
    if isinstance(values, Tensor):  # if it lies on the device already, it stays there
        return values.detach().to(backend, dtype)
    return Tensor(backend.asarray(values, dtype), backend)
