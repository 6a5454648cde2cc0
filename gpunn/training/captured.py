"""A training step that the device repeats by itself: recorded once as a CUDA graph, then launched as one piece.

A small network's step is a hundred kernels of a few microseconds each, and the host needs longer to ask for them than the
device to run them. A graph is asked for once. The results are those of `TrainingStep`, bit for bit: learning rates and
random streams reach the kernels through memory (see `backends.cuda.capture`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from backends.cuda.capture import CaptureError, Recording
from gpunn.errors import ConfigError
from gpunn.nn import Module
from gpunn.random import default_generator
from gpunn.tensor import Tensor
from gpunn.training.step import TrainingStep

# Run as they are before a step is captured: kernels are compiled, plans made and the optimizer's state begun in them.
WARM_UP_STEPS = 2


class CapturedStep(TrainingStep):
    """A `TrainingStep` that is captured with the first shape of batch that has come a few times.

    Batches of another shape (an epoch's last) run as they are. So does Python code in the net's ``forward`` and in the
    loss: it runs when the step is captured, and its effects on the device are repeated. What is returned lies in memory
    that the next step overwrites.

    Raises:
        ConfigError: the device has no graphs, the loss is scaled by the host (amp="fp16"), or the step does what a graph
            cannot repeat, such as reading a number from the device.
    """

    def __init__(self, net: Any, loss: Any, optimizer: Any, *, amp: str | None = None, **options: Any) -> None:
        super().__init__(net, loss, optimizer, amp=amp, **options)
        device = next(iter(net.parameters())).device
        if not device.startswith("cuda"):
            raise ConfigError(f"cuda_graph: expected a CUDA device, got '{device}'; leave cuda_graph out")
        if amp == "fp16":
            raise ConfigError("cuda_graph: amp 'fp16' asks the host about every step's gradients; use amp 'bf16'")
        self._seen: Counter[Any] = Counter()
        self._graph: _Graph | None = None

    def __call__(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        graph = self._graph
        if graph is not None and graph.takes(inputs, targets):
            if graph.is_current():
                graph.load(inputs, targets)
                if graph.prepare():
                    return graph.run()
            self._graph = None  # an array was replaced, or an option changed that the kernels have as an argument
            self._seen.clear()
        form = _form(inputs, targets)
        self._seen[form] += 1
        if self._graph is not None or self._seen[form] <= WARM_UP_STEPS:
            return super().__call__(inputs, targets)
        self._graph = graph = _Graph(self, inputs, targets)
        prepared = graph.prepare()
        assert prepared, "the optimizer asks for another step than a moment ago"
        return graph.run()


class _Graph:
    """A step captured with one batch: the arrays that the batches go into, the kernels, and the arrays of the results."""

    def __init__(self, step: TrainingStep, inputs: Tensor, targets: Tensor) -> None:
        self.step, self.backend = step, inputs.backend
        self.inputs, self.targets = inputs.clone(), targets.clone()
        modules = [step.net, step.loss] if isinstance(step.loss, Module) else [step.net]
        self._modules = [part for module in modules for part in module.modules()]
        self._parameters = [p for module in modules for p in module.parameters()]
        self._buffers = [b for module in modules for b in module.buffers()]
        self._seed = default_generator.seed
        self._draws = 0  # random streams that a step takes
        self.recording = Recording(self.backend)
        with self._host_unmoved():
            try:
                self.recording.capture(self._work, first_stream=default_generator.stream)
            except CaptureError as error:
                raise ConfigError(f"cuda_graph: {error}") from error
        self._recorded = self._dependencies()

    def _work(self) -> None:
        default_generator.stream = 0
        loss, outputs = self.step.gradients(self.inputs, self.targets)
        with self.recording.host_half():
            self.step.update()
        self._draws = default_generator.stream
        if self._draws != self.recording.draws:
            raise CaptureError(
                "a captured step can repeat no other random numbers than those of nn.Dropout with the default generator; "
                "train without cuda_graph"
            )
        self._loss, self._outputs = loss.detach(), outputs.detach()
        self._gradients = [p.grad for p in self._parameters]

    def takes(self, inputs: Tensor, targets: Tensor) -> bool:
        return _form(inputs, targets) == _form(self.inputs, self.targets)

    def is_current(self) -> bool:
        """Whether the kernels' arrays still are the net's and the optimizer's own, and the seed and modes the same."""
        now = self._dependencies()
        return (
            self._seed == default_generator.seed
            and len(now) == len(self._recorded)
            and all(a is b for a, b in zip(now, self._recorded, strict=True))
        )

    def load(self, inputs: Tensor, targets: Tensor) -> None:
        """Put a batch where the kernels read it."""
        self.inputs.copy_(inputs)
        self.targets.copy_(targets)

    def prepare(self) -> bool:
        """Do the host's half of a step. False, and nothing has moved, if the kernels are not what it now asks for."""
        self._restore_gradients()
        before = self._counts()
        if not self.recording.refill(self.step.update):
            self._set_counts(before)
            return False
        if self._draws:
            self.recording.set_first_stream(default_generator.stream)
        default_generator.stream += self._draws
        return True

    def run(self) -> tuple[Tensor, Tensor]:
        """Let the device do its half. Returns the loss and the outputs, in memory that the next run overwrites."""
        with self._host_unmoved():
            self.recording.launch()
        self._restore_gradients()
        return self._loss, self._outputs

    def _restore_gradients(self) -> None:
        for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
            parameter.grad = gradient

    def _dependencies(self) -> list[Any]:
        """All that the kernels depend on and that somebody might replace; to be compared by identity."""
        states = self.step.optimizer.state.values()
        return [
            *(value for p in self._parameters for value in (p.data, p.requires_grad)),
            *(buffer.data for buffer in self._buffers),
            *(value for state in states for name, value in state.items() if name != "step"),
            *(module.training for module in self._modules),
        ]

    def _counts(self) -> list[Any]:
        """Where the host counts: the number of steps of each parameter."""
        return [state.get("step") for state in self.step.optimizer.state.values()]

    def _set_counts(self, counts: list[Any]) -> None:
        for state, count in zip(self.step.optimizer.state.values(), counts, strict=True):
            if count is not None:
                state["step"] = count

    @contextmanager
    def _host_unmoved(self) -> Iterator[None]:
        """Whatever runs within, the optimizer and the random numbers stand afterwards where they stood."""
        counts, random = self._counts(), default_generator.get_state()
        try:
            yield
        finally:
            self._set_counts(counts)
            default_generator.set_state(random)


def _form(inputs: Tensor, targets: Tensor) -> Any:
    """What two batches must have in common to go through the same kernels."""
    return inputs.shape, inputs.dtype, targets.shape, targets.dtype
