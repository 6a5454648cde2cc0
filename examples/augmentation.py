"""Augmentation: changed images with the same label teach a network what does not matter.

Learn:   the transforms of `gpunn.data`, a loader that applies them, and what they are worth.
Needs:   nothing: the images come with gpunn.
Shows:   what each transform makes of a few images; accuracy on test images that are shifted, with and without augmentation.

    python examples/augmentation.py
"""

import argparse

from pictures import new, save, show, tiles

import gpunn
from gpunn import Trainer, data, models, nn, optim

TRANSFORMS = {
    "as they are": (),
    "crop": (data.RandomCrop(padding=4),),
    "flip": (data.RandomHorizontalFlip(),),
    "rotation by up to 25 degrees": (data.RandomRotation(25),),
    "shift by up to 4 pixels": (data.RandomShift(4),),
    "blur": (data.RandomBlur(0.3, 1.5),),
    "noise": (data.GaussianNoise(0.1),),
    "cutout": (data.Cutout(10),),
}
AUGMENTATION = (data.RandomHorizontalFlip(), data.RandomShift(3), data.RandomRotation(8))


def draw_transforms(images: data.Dataset) -> None:
    """One line of images for each transform; the same images in all of them."""
    figure, panels = new(len(TRANSFORMS), 1, width=7, height=8.6)
    chosen = images.images[[0, 1, 2, 3, 6, 8, 9, 11, 12]]
    for axes, (name, transforms) in zip(panels, TRANSFORMS.items(), strict=True):
        changed = chosen
        for transform in transforms:
            changed = transform(changed, 3, 1, 0)  # seed, stream and first position: which random numbers
        show(axes, tiles(changed[:, 0] / 255.0, columns=len(chosen), gap=3), name)
    save(figure, "augmentation", "Nine images, and what each transform makes of them.")


def compare(options: argparse.Namespace, images: data.Dataset, test: data.Dataset) -> None:
    normalize = data.Normalize.of(images)
    shifts = (0, 1, 2, 3, 4, 6)
    figure, axes = new()
    for name, transforms in (("without augmentation", ()), ("flip, shift and rotation", AUGMENTATION)):
        gpunn.manual_seed(0)
        net = models.lenet5()
        few = images.subset(slice(options.images))
        loader = data.DataLoader(few, 25, shuffle=True, transforms=[*transforms, normalize])
        trainer = Trainer(net, nn.CrossEntropyLoss(), optim.Adam(net.parameters()), progress="none")
        trainer.fit(loader, epochs=options.epochs)
        loaders = [data.DataLoader(test, 500, transforms=[data.RandomShift(shift), normalize]) for shift in shifts]
        accuracy = [trainer.evaluate(shifted)["accuracy"] for shifted in loaders]
        axes.plot(shifts, accuracy, marker="o", label=name)
        print(
            f"{name}: test accuracy {accuracy[0]:.2%}, of images shifted by up to 4 pixels {accuracy[4]:.2%}",
            flush=True,
        )
    axes.set(xlabel="test images are shifted by up to ... pixels", ylabel="test accuracy", ylim=(0, 1))
    axes.set_title(f"LeNet-5, {options.images} training images")
    axes.legend(loc="lower left")
    save(figure, "augmentation_training", "On test images as they are, which are centred, augmentation costs a little; but a "
         "network that saw shifted images knows others again.")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="Augmentation of Fashion-MNIST.")
    parser.add_argument("--images", type=int, default=500, help="how many images to learn from")
    parser.add_argument("--epochs", type=int, default=24)
    options = parser.parse_args()
    images, test = data.load("fashion-mini", train=True), data.load("fashion-mini", train=False)
    draw_transforms(images)
    compare(options, images, test)


if __name__ == "__main__":
    main()
