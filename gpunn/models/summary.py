"""What a network is made of: for each layer output shape, parameters, multiply-adds and receptive field."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple

from gpunn import nn
from gpunn.functional.window import pair
from gpunn.tape import no_grad
from gpunn.tensor import Tensor


class Layer(NamedTuple):
    """A layer as it ran: its name in the network, and the shapes it took and gave, with the batch axis."""

    name: str
    module: nn.Module
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]


class Row(NamedTuple):
    """One layer. ``receptive_field`` is (height, width) in pixels of the input, None once a layer sees all of it."""

    name: str
    layer: str
    output_shape: tuple[int, ...]
    parameters: int
    multiply_adds: int
    receptive_field: tuple[int, int] | None


class Summary(NamedTuple):
    """The rows and their totals; ``str`` makes an aligned table."""

    input_shape: tuple[int, ...]
    rows: list[Row]
    parameters: int
    trainable: int
    multiply_adds: int

    def __str__(self) -> str:
        cells = [("name", "layer", "output", "parameters", "multiply-adds", "receptive field")]
        for row in self.rows:
            field = "all" if row.receptive_field is None else "x".join(map(str, row.receptive_field))
            shape = "x".join(map(str, row.output_shape))
            cells.append((row.name, row.layer, shape, f"{row.parameters:,}", f"{row.multiply_adds:,}", field))
        cells.append(("total", "", "", f"{self.parameters:,}", f"{self.multiply_adds:,}", ""))
        widths = [max(len(line[column]) for line in cells) for column in range(6)]
        lines = [
            "  ".join(
                cell.ljust(width) if column < 3 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in cells
        ]
        rule = "-" * max(map(len, lines))
        frozen = self.parameters - self.trainable
        footer = (
            f"input {'x'.join(map(str, self.input_shape))}, {self.trainable:,} parameters trained, {frozen:,} frozen"
        )
        return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1], footer])


def summary(net: nn.Module, input_shape: tuple[int, ...]) -> Summary:
    """Run one zero input of ``input_shape`` (without the batch axis: ``(C, H, W)``) and record what each layer does.

    Multiply-adds are those of convolutions and linear layers for one input; the others are not counted. Parameters
    used by several layers are counted once. The receptive field of an output element is how many input pixels it
    depends on, padding included: it starts at 1 with a distance of 1 pixel between neighbours, and each layer adds
    dilation * (kernel - 1) distances and multiplies the distance by its stride (A. Araujo, W. Norris and J. Sim,
    "Computing receptive fields of convolutional neural networks", 2019). Layers are taken as a chain, in the order in
    which they run; where branches meet, the figure counts all of them.
    """
    recorder = _Recorder()
    for layer in run_layers(net, input_shape):
        recorder.record(layer)
    trainable = sum(math.prod(value.shape) for value in net.parameters() if value.requires_grad)
    adds = sum(row.multiply_adds for row in recorder.rows)
    return Summary(tuple(input_shape), recorder.rows, nn.count_parameters(net), trainable, adds)


def run_layers(net: nn.Module, input_shape: tuple[int, ...]) -> list[Layer]:
    """Run one zero input of ``input_shape`` (without the batch axis) in evaluation mode; the layers in the order they ran.

    Layers are the modules that have none within. The network is left as it was.
    """
    like = next(net.parameters(), nn.Parameter([0.0]))
    x = Tensor(like.backend.zeros((1, *input_shape), dtype=like.dtype), like.backend)
    ran: list[Layer] = []

    def record(name: str, module: nn.Module, inputs: tuple, output: Any) -> None:
        first = output[0] if isinstance(output, tuple) else output
        ran.append(Layer(name, module, inputs[0].shape, first.shape))

    leaves = [(name, module) for name, module in net.named_modules() if next(module.children(), None) is None]
    handles = [module.register_forward_hook(partial(record, name)) for name, module in leaves]
    modes = [(module, module.training) for module in net.modules()]
    try:
        net.eval()
        with no_grad():
            net(x)
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes:
            module.training = training
    return ran


class _Recorder:
    """The rows so far, and the receptive field and the distance of neighbours after the last layer."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.counted: set[int] = set()
        self.field: tuple[int, int] | None = (1, 1)
        self.distance = (1, 1)

    def record(self, layer: Layer) -> None:
        name, module, before, after = layer
        parameters = 0
        for value in module.parameters():
            if id(value) not in self.counted:
                self.counted.add(id(value))
                parameters += math.prod(value.shape)
        self._grow(module, before, after)
        self.rows.append(
            Row(name, type(module).__name__, after[1:], parameters, multiply_adds(module, after), self.field)
        )

    def _grow(self, module: nn.Module, before: tuple[int, ...], after: tuple[int, ...]) -> None:
        if isinstance(module, (nn.Linear, nn.Maxout)):
            self.field = None
        window = _window(module, before, after)
        if window is None or self.field is None:
            return
        reach, stride = window
        self.field = (
            self.field[0] + (reach[0] - 1) * self.distance[0],
            self.field[1] + (reach[1] - 1) * self.distance[1],
        )
        self.distance = self.distance[0] * stride[0], self.distance[1] * stride[1]


def _window(module: nn.Module, before: tuple[int, ...], after: tuple[int, ...]) -> Any:
    """What a layer sees of its input, as ((height, width), stride); None for a layer that sees single elements."""
    if isinstance(module, (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)):
        kernel, dilation = pair(module.kernel_size, "kernel_size"), pair(getattr(module, "dilation", 1), "dilation")
        reach = tuple(d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True))
        return reach, pair(module.stride, "stride")
    if isinstance(module, nn.AdaptiveAvgPool2d):
        stride = tuple(max(size // windows, 1) for size, windows in zip(before[2:], after[2:], strict=True))
        sizes = zip(before[2:], after[2:], stride, strict=True)
        return tuple(max(size - (windows - 1) * step, 1) for size, windows, step in sizes), stride
    return None


def multiply_adds(module: nn.Module, output_shape: tuple[int, ...]) -> int:
    """The multiply-adds of one layer for one input, of which ``output_shape`` (with the batch axis) is the result."""
    outputs = math.prod(output_shape[1:])
    if isinstance(module, nn.Conv2d):
        return outputs * module.in_channels // module.groups * math.prod(module.kernel_size)
    if isinstance(module, nn.Linear):
        return outputs * module.in_features
    if isinstance(module, nn.Maxout):
        return outputs * module.pieces * module.in_features
    return 0
