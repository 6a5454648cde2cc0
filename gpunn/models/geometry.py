"""The arithmetic of convolutional networks: sizes of outputs, parameters, connections, receptive fields.

`models.summary` shows these for a whole network; here is each formula by itself. Source of the formulas: V. Dumoulin and
F. Visin, "A guide to convolution arithmetic for deep learning", 2016; of the receptive field: A. Araujo, W. Norris and
J. Sim, "Computing receptive fields of convolutional neural networks", 2019.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from backends.geometry import output_length
from gpunn import nn
from gpunn.functional.window import pair

from .summary import Layer, run_layers


def output_size(
    size: int, kernel_size: int, stride: int = 1, padding: int = 0, dilation: int = 1, exact: bool = True
) -> int:
    """How many windows fit along one side: (W + 2P - (D (F - 1) + 1)) / S + 1.

    Args:
        size: W, the pixels of the input along this side.
        kernel_size: F, of the window; with ``dilation`` D its elements stand D pixels apart.
        stride: S, how far one window stands from the next.
        padding: P, zeros at each end.
        exact: windows that leave pixels over are an error; False rounds down, as `nn.Conv2d` and the pools do: they
            never look at the last pixels.

    Raises:
        ValueError: no window fits, or, with ``exact``, the stride does not divide the room there is.
    """
    for name, value, least in (
        ("size", size, 1), ("kernel_size", kernel_size, 1), ("stride", stride, 1), ("padding", padding, 0),
        ("dilation", dilation, 1),
    ):  # fmt: skip
        if value < least:
            raise ValueError(f"output_size: expected {name} of at least {least}, got {value}")
    room = size + 2 * padding - (dilation * (kernel_size - 1) + 1)
    if room < 0:
        raise ValueError(
            f"output_size: a window of {dilation * (kernel_size - 1) + 1} pixels does not fit into {size} + 2 * {padding}; "
            "use more padding, or a smaller kernel"
        )
    if exact and room % stride:
        fitting = [s for s in range(1, room + 1) if room % s == 0]
        paddings = [p for p in range(padding + stride) if p > padding and (room + 2 * (p - padding)) % stride == 0]
        advice = f"strides that fit: {', '.join(map(str, fitting))}"
        if paddings:
            advice += f"; with stride {stride}, padding {paddings[0]} fits"
        raise ValueError(
            f"output_size: windows of {kernel_size} with stride {stride} do not fit into {size} + 2 * {padding} pixels: "
            f"{room} / {stride} + 1 = {room / stride + 1:g}, and {room % stride} of the pixels would be left over; {advice}"
        )
    return output_length(size, kernel_size, stride, padding, dilation)


def convolution_parameters(
    in_channels: int, out_channels: int, kernel_size: int | tuple[int, int], groups: int = 1, bias: bool = True
) -> int:
    """K (F F C / groups) weights and K biases, for C channels in, K out, and a kernel of F x F."""
    height, width = pair(kernel_size, "convolution_parameters: kernel_size")
    return out_channels * (height * width * in_channels // groups) + (out_channels if bias else 0)


def receptive_field(layers: Iterable[tuple[int, ...]]) -> int:
    """How many pixels of the input one output depends on along a side: 1 + sum over l of D_l (F_l - 1) S_1 ... S_(l-1).

    Args:
        layers: (kernel, stride) or (kernel, stride, dilation) of each, the first layer first.
    """
    field, distance = 1, 1
    for kernel, stride, *dilation in layers:
        field += (dilation[0] if dilation else 1) * (kernel - 1) * distance
        distance *= stride
    return field


class Connections(dict[str, int]):
    """Connections by the layer's name; ``total`` is their sum."""

    @property
    def total(self) -> int:
        return sum(self.values())


def connections(net: nn.Module, input_shape: tuple[int, ...]) -> Connections:
    """How many connections each layer has, for one input of ``input_shape``, without the batch axis.

    A connection leads from an element of the input, or from the bias, to an element of the output; a convolution has few
    parameters and many connections, since all its outputs share the weights: H' W' K (F F C + 1). This is the count of
    Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, "Gradient-based learning applied to document recognition", 1998,
    section II.B: for LeNet-5 as built there (`models.lenet5_1998`), 340,908. Activations and dropout have none.
    """
    counts = Connections()
    for layer in run_layers(net, input_shape):
        if count := _connections(layer):
            counts[layer.name] = counts.get(layer.name, 0) + count
    return counts


def _connections(layer: Layer) -> int:
    module, outputs = layer.module, math.prod(layer.output_shape[1:])
    own = getattr(module, "connections", None)
    if own is not None:
        return int(own(layer.output_shape))
    if isinstance(module, nn.Conv2d):
        height, width = layer.output_shape[-2:]
        return height * width * nn.count_parameters(module)
    if isinstance(module, (nn.Linear, nn.Maxout)):
        return nn.count_parameters(module)
    if isinstance(module, (nn.MaxPool2d, nn.AvgPool2d)):
        return outputs * math.prod(pair(module.kernel_size, "kernel_size"))
    return 0


def require_fit(net: nn.Module, input_shape: tuple[int, ...]) -> None:
    """Check that in each convolution and pool the windows cover the whole input, padding included.

    Layers round down where they do not (AlexNet's first does, for 224 pixels): pixels at the right and at the bottom are
    then never looked at, which is allowed, but seldom meant.

    Raises:
        ShapeError: names the first layer whose windows leave pixels over, and what would fit.
    """
    for layer in run_layers(net, input_shape):
        module = layer.module
        if not isinstance(module, (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)):
            continue
        if module.padding == "same" or getattr(module, "ceil_mode", False):  # as many windows as cover all pixels
            continue
        padding = pair(0 if isinstance(module.padding, str) else module.padding, "padding", least=0)
        dilation = pair(getattr(module, "dilation", 1), "dilation")
        kernel, stride = pair(module.kernel_size, "kernel_size"), pair(module.stride, "stride")
        for side in (0, 1):
            size = layer.input_shape[-2 + side]
            try:
                output_size(size, kernel[side], stride[side], padding[side], dilation[side])
            except ValueError as error:
                where = f"{layer.name or 'the network'} ({type(module).__name__}), {('height', 'width')[side]}"
                raise nn.ShapeError(f"{where}: {str(error).removeprefix('output_size: ')}") from None
