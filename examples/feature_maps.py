"""What a convolutional network sees: its first filters, and the feature maps of an image on its way through.

Learn:   first-layer filters are edges and blobs; deeper maps are coarser, fewer pixels each, and say what is where.
Needs:   nothing: the images come with gpunn.
Shows:   the filters before and after training, and the maps of three images after each of two layers.

    python examples/feature_maps.py
"""

import argparse

import numpy as np
from pictures import DIVERGING, new, save, show, tiles

import gpunn
from gpunn import Trainer, data, init, nn, optim
from gpunn.device import choose


def filters_picture(axes, weights: np.ndarray, title: str) -> None:
    """The filters (16, 1, 5, 5) side by side: blue negative, white zero, red positive."""
    limit = np.abs(weights).max()
    sheet = tiles(weights[:, 0], columns=8, background=0.0)
    show(axes, sheet, title, cmap=DIVERGING, vmin=-limit, vmax=limit)


def main() -> None:
    parser = argparse.ArgumentParser(description="Show the filters and the feature maps of a small network.")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--images", type=int, default=10_000, help="how many of the 10,000 training images to use")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    options = parser.parse_args()
    gpunn.manual_seed(0)
    device, why = choose(options.device)
    print(f"device {device}: {why}")

    train = data.load("fashion-mini", train=True).subset(slice(options.images))
    test = data.load("fashion-mini", train=False)
    normalize = data.Normalize.of(train)
    first = nn.Sequential(nn.Conv2d(1, 16, 5, padding=2), nn.ReLU())
    second = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU())
    net = nn.Sequential(first, second, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32 * 7 * 7, 10)).to(device)
    init.normal_(first[0].weight, std=0.02)  # small, so that what the filters become does not hide in the noise
    before = first[0].weight.numpy().copy()
    trainer = Trainer(net, nn.CrossEntropyLoss(), optim.Adam(net.parameters(), lr=2e-3), progress="none")
    trainer.fit(data.DataLoader(train, 64, shuffle=True, transforms=[normalize]), epochs=options.epochs)
    accuracy = trainer.evaluate(data.DataLoader(test, 500, transforms=[normalize]))["accuracy"]
    print(f"test accuracy {accuracy:.2%}")

    figure, (above, below) = new(rows=2, height=4.6)
    filters_picture(above, before, "first-layer filters before training: noise")
    filters_picture(below, first[0].weight.numpy(), "and after: edges and blobs")
    save(figure, "first_layer_filters", "Sixteen 5x5 filters; red is positive, blue negative, white zero.")

    chosen = [int(np.flatnonzero(test.labels == label)[0]) for label in (7, 1, 8)]
    images = next(iter(data.DataLoader(test.subset(chosen), len(chosen), transforms=[normalize])))[0]
    with gpunn.no_grad():
        early = first(gpunn.tensor(images, device=device))
        late = second(early)
    print(f"an image {images.shape[1:]} becomes maps {early.shape[1:]}, then {late.shape[1:]}")
    figure, axes = new(rows=len(chosen), columns=3, width=11, height=8.6, width_ratios=(1, 1, 2))
    for row, index in enumerate(chosen):
        show(axes[row, 0], test.images[index, 0] / 255, test.classes[test.labels[index]])
        for axis, maps, columns, title in (
            (axes[row, 1], early, 4, "first layer"),
            (axes[row, 2], late, 8, "second layer"),
        ):
            values = maps.numpy()[row]
            sheet = tiles(values / max(float(values.max()), 1e-9), columns, gap=2, background=np.nan)
            show(axis, sheet, title if row == 0 else "", cmap="magma")
    save(
        figure,
        "feature_maps",
        "Bright is where a filter answers. The first layer outlines, the second picks out parts.",
    )


if __name__ == "__main__":
    main()
