"""The arithmetic of convolutional networks: what fits, how many parameters and connections, how far a layer sees.

Learn:   output sizes, strides that do not fit, shared weights counted as LeNet-5's paper does, receptive fields.
Needs:   nothing.
Shows:   windows over a row of pixels; LeNet-5's counts; receptive fields of LeNet-5, AlexNet and VGG16 by depth.

    python examples/convolution_arithmetic.py
"""

import argparse
import itertools

from matplotlib.patches import Rectangle
from pictures import COLORS, new, save

from gpunn import init, models, nn


def draw_windows(axes, size: int, kernel: int, stride: int) -> None:
    """A row of pixels, the windows below it, and in another colour the pixels that none of them sees."""
    count = models.output_size(size, kernel, stride, exact=False)
    seen = (count - 1) * stride + kernel
    for pixel in range(size):
        color = COLORS[4] if pixel < seen else COLORS[5]
        axes.add_patch(Rectangle((pixel, 0), 1, 1, facecolor=color, edgecolor="white"))
    for number in range(count):
        left = number * stride
        axes.plot([left + 0.08, left + kernel - 0.08], [-0.35 - 0.3 * (number % 3)] * 2, color=COLORS[0], linewidth=5)
    fits = "fits" if seen == size else f"pixels left over: {size - seen}"
    axes.set(
        xlim=(-0.2, size + 0.2), ylim=(-1.1, 1.1), aspect="equal", title=f"stride {stride}: {count} windows, {fits}"
    )
    axes.axis("off")


def windows(net: nn.Module) -> list[tuple[int, int]]:
    """(kernel, stride) of the convolutions and pools, in order."""
    found = [m for m in net.modules() if isinstance(m, (nn.Conv2d, nn.MaxPool2d))]
    first = [(m.kernel_size, m.stride) for m in found]
    return [tuple(v if isinstance(v, int) else v[0] for v in pair) for pair in first]


def main() -> None:
    argparse.ArgumentParser(description="Sizes, counts and receptive fields of convolutional networks.").parse_args()

    figure, axes = new(rows=3, height=7)
    for row, stride in zip(axes, (1, 2, 3), strict=True):
        draw_windows(row, 8, 3, stride)
    save(figure, "windows_and_strides", "Windows of 3 over 8 pixels: (8 - 3) / S + 1 is whole for S = 1 only.")
    print(f"8 pixels, windows of 3, stride 1: {models.output_size(8, 3)} outputs")
    for stride in (2, 3):
        try:
            models.output_size(8, 3, stride)
        except ValueError as error:
            print(error)
    print(f"ten 5x5 filters over 3 channels: {models.convolution_parameters(3, 10, 5)} parameters")

    lenet = models.lenet5_1998()
    counts = models.connections(lenet, (1, 32, 32))
    layers = ["c1", "s2", "c3", "s4", "c5", "f6", "output"]
    connected = [sum(count for name, count in counts.items() if name.split(".")[0] == layer) for layer in layers]
    trained = [nn.count_parameters(getattr(lenet, layer)) for layer in layers]
    for layer, parameters, count in zip(layers, trained, connected, strict=True):
        print(f"LeNet-5 of 1998, {layer:6}: {parameters:6,} parameters, {count:7,} connections")
    print(f"LeNet-5 of 1998, total : {sum(trained):6,} parameters, {counts.total:7,} connections")
    figure, bars = new()
    places = range(len(layers))
    for shift, counted, label, color in (
        (-0.2, connected, "connections", COLORS[0]),
        (0.2, trained, "parameters", COLORS[1]),
    ):
        bars.bar([place + shift for place in places], counted, width=0.4, color=color, label=label)
    bars.set(yscale="log", ylim=(1, 1e6), xticks=list(places), xticklabels=[layer.upper() for layer in layers])
    bars.set(xlabel="layer", ylabel="count", title="LeNet-5 as published: weights are shared")
    bars.legend(loc="upper center", ncols=2)
    save(
        figure,
        "lenet5_connections",
        "LeNet-5 of 1998: 340,908 connections by 60,000 parameters. The output's codes are fixed.",
    )

    figure, fields = new()
    with init.skip():  # the weights do not matter here
        networks = {"LeNet-5": models.lenet5(), "AlexNet": models.alexnet(), "VGG16": models.vgg16(image_size=32)}
    for (name, net), style in zip(networks.items(), ("o-", "s-", "^-"), strict=True):
        growth = list(itertools.accumulate(windows(net), lambda chain, window: [*chain, window], initial=[]))
        sizes = [models.receptive_field(chain) for chain in growth]
        fields.plot(range(len(sizes)), sizes, style, label=f"{name}: {sizes[-1]} pixels")
        print(f"{name}: receptive field {sizes[-1]} pixels after {len(sizes) - 1} convolutions and pools")
    fields.set(
        xlabel="convolutions and pools passed", ylabel="receptive field, pixels a side", title="How far a layer sees"
    )
    fields.xaxis.get_major_locator().set_params(integer=True)
    fields.legend()
    save(
        figure,
        "receptive_fields",
        "Each stride makes all later layers see further: small kernels, many layers, wide views.",
    )


if __name__ == "__main__":
    main()
