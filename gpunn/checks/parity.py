"""Whether devices compute the same: one training step, operation by operation.

To compare what two devices make of a whole network would blame the innocent: errors add up on the way, and a ReLU or a maximum
that is nearly a tie may be decided otherwise. So the step is carried out once, exactly (see `gpunn.checks.trace`), and each
device is given the inputs of every single operation as they were at that point. What it returns is held against the float64
result for those very inputs, within the budget of that operation (see `gpunn.checks.budget`); its backward works on what its own
forward has saved. Then each device also takes the step by itself, from the first operation to the last.

Layers that `nn.Sequential` computes as one (batch normalization and its ReLU) are compared one by one, since a ReLU can be exact
only for an input that is given. In the step as a whole they are one again; that both give the same bits is a test of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import backends
from backends import Backend

from ..errors import GpunnError
from ..nn import Module
from ..optim import Optimizer
from . import budget
from .report import Operation, Outcome, Report
from .step import Done, Loss, Step
from .subject import Subject
from .trace import Backward, Call, watching


class ParityError(GpunnError, AssertionError):
    """A device computes something else than the reference; ``report`` has the table."""

    def __init__(self, report: Report) -> None:
        super().__init__(report.conclusion())
        self.report = report


def default_devices() -> list[str]:
    """The CPU, and the GPUs, or else the emulated one where there is a compiler for it."""
    at_hand = backends.available()
    gpus = [name for name in at_hand if name.startswith("cuda:")]
    return ["cpu", *(gpus or [name for name in at_hand if name == "cuda-emulated"])]


def parity(
    model: Module,
    batch: Any,
    *,
    devices: Sequence[str | Backend] | None = None,
    loss: Loss | None = None,
    optimizer: Callable[[Any], Optimizer] | None = None,
    clip_norm: float | None = None,
    dtype: Any = None,
    seed: int = 0,
) -> Report:
    """Take one training step with the same weights and batch on each device, and compare every operation with the reference.

    ::

        report = gpunn.checks.parity(net, (images, labels), devices=["cpu", "cuda"])
        print(report)                     # the table
        report.first_difference("cuda:0") # None, or the operation that differs first

    Args:
        model: is copied; in training mode or not, as it is.
        batch: arrays or tensors: the input; or a tuple ``(*inputs, target)``; or a dict of keyword arguments of ``forward``,
            where the entry "target" (or "labels") is what the loss gets.
        devices: names, or backends. None: the CPU and the GPUs, or the emulated one where there is no GPU.
        loss: of output and target, a number. None: cross-entropy for integer targets, mean squared error for others, and without
            a target the output itself, or the mean of its squares.
        optimizer: makes one for a list of parameters: ``lambda p: optim.Adam(p, lr=1e-3)``. None: SGD with Nesterov momentum.
            It steps twice, so that its state has a part in the second.
        clip_norm: clip the gradients to this norm before.
        dtype: to cast network and batch to. None: the network's own.
        seed: of dropout.

    Raises:
        backends.DeviceError: a device that cannot be had.
        ValueError: no device; a batch or a loss that makes no sense; whatever the network itself raises on the reference.
    """
    chosen = default_devices() if devices is None else devices
    if isinstance(chosen, (str, Backend)) or not chosen:
        raise ValueError(f'parity: expected a list of devices, got {chosen!r}; write devices=["cpu"]')
    found = [backends.get(device) if isinstance(device, str) else device for device in chosen]
    names = [backend.device for backend in found]
    if len(set(names)) < len(names):
        raise ValueError(f"parity: expected different devices, got {', '.join(names)}; name each once")
    step = Step(model, batch, loss, optimizer, clip_norm, dtype, seed)
    prepared = step.prepared(backends.get("reference"))
    comparison = _Comparison(
        [Subject(backend) for backend in found],
        {id(value.data): name for name, value in prepared.net.named_parameters()},
    )
    with watching(comparison, prepared.net):
        exact = prepared.run()
    outcomes = {backend.device: _whole_step(step, backend, exact, comparison) for backend in found}
    return Report(names, step.dtype.name, exact.loss, comparison.operations, outcomes)


def assert_parity(model: Module, batch: Any, **options: Any) -> Report:
    """`parity`, which raises where a device differs: for tests of one's own layers and networks.

    ::

        def test_my_block_on_every_device():
            block = MyBlock(16)
            images = gpunn.randn(4, 16, 8, 8)
            gpunn.checks.assert_parity(block, images, devices=["cpu", "cuda-emulated"])

    Raises:
        ParityError: names the first operation that differs, with its error and its budget.
    """
    report = parity(model, batch, **options)
    if not report:
        raise ParityError(report)
    return report


class _Comparison:
    """Hands every operation of the step to the devices, as it happens."""

    def __init__(self, subjects: list[Subject], parameters: dict[int, str]) -> None:
        self.subjects = subjects
        self.parameters = parameters
        self.oracle = Backend(np, "reference")  # not the one that is watched
        self.operations: list[Operation] = []
        self.epsilon = 0.0  # of the coarsest dtype in the forward pass
        self.loss_scale = 0.0  # how large the numbers are that the loss was added up from

    def forward(self, call: Call) -> None:
        operation = self._next("forward", call.path, call.name)
        budgets = budget.of_forward(self.oracle, call)
        self.epsilon = max([self.epsilon, *(budget.EPSILON.get(x.dtype.name, 0.0) for x in call.results)])
        if call.results[0].size == 1:
            self.loss_scale = max(self.loss_scale, budgets[0].scale)
        for subject in self.subjects:
            subject.forward(call, operation, budgets)

    def backward(self, call: Call, back: Backward) -> None:
        operation = self._next("backward", call.path, call.name)
        budgets = budget.of_backward(self.oracle, call, back)
        for subject in self.subjects:
            subject.backward(call, back, operation, budgets)

    def on_lists(
        self, name: str, lists: tuple[Any, ...], options: dict[str, Any], after: tuple[Any, ...], result: Any
    ) -> None:
        operation = self._next("update", "", name)
        for subject in self.subjects:
            subject.on_lists(name, lists, options, after, result, operation)
        names = [self.parameters.get(id(array), "") for array in lists[0]]
        for quantity in operation.quantities:
            list_name, _, number = quantity.name.rstrip("]").partition("[")
            if number and int(number) < len(names) and names[int(number)]:
                quantity.name = f"{list_name} {names[int(number)]}"

    def _next(self, phase: str, path: str, name: str) -> Operation:
        operation = Operation(phase, path, name)
        self.operations.append(operation)
        return operation


def _whole_step(step: Step, backend: Backend, exact: Done, comparison: _Comparison) -> Outcome:
    """The step on a device by itself, and how far it is from the exact one."""
    outcome = Outcome(loss_budget=comparison.epsilon**0.5)
    try:
        done = step.prepared(backend).run()
    except Exception as error:  # it is reported like any difference
        outcome.failure = f"raised {type(error).__name__}: {' '.join(str(error).split())}"
        return outcome
    outcome.loss = done.loss
    limit = budget.Budget(1, comparison.loss_scale, outcome.loss_budget)
    outcome.loss_error = limit.error(np.asarray(done.loss), np.asarray(exact.loss), np.dtype(np.float64))
    change = _norm({name: exact.after[name] - exact.before[name] for name in exact.before})
    if change > 0:
        outcome.update_error = _norm({name: done.after[name] - exact.after[name] for name in exact.after}) / change
    return outcome


def _norm(arrays: dict[str, np.ndarray]) -> float:
    return float(np.sqrt(sum(float((array * array).sum()) for array in arrays.values())))
