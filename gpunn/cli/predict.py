"""`gpunn predict`: names what is on an image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gpunn.cli import experiment
from gpunn.cli.eval import whole_number
from gpunn.cli.parser import Parser
from gpunn.device import choose
from gpunn.errors import DataError
from gpunn.functional import softmax
from gpunn.tape import no_grad
from gpunn.tensor import tensor

EXAMPLES = """
gpunn predict runs/first photo.jpg
gpunn predict runs/first/checkpoints/best.safetensors shoe.png bag.png --top 3
"""


def parser() -> Parser:
    result = Parser("predict", "Name what is on an image: the classes with their probabilities.", EXAMPLES)
    result.add_argument("checkpoint", metavar="RUN", help="a run's folder, or a checkpoint in it")
    result.add_argument("images", metavar="IMAGE", nargs="+", help="image files (PNG, JPEG, ...)")
    result.add_argument("--top", default="5", metavar="N", help="how many classes to show (default: 5)")
    result.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    return result


def main(argv: Sequence[str]) -> int:
    given = parser().parse(argv)
    top = whole_number("--top", given.top)
    device, _ = choose(given.device)
    opened = experiment.open_checkpoint(given.checkpoint, device)
    described = opened.experiment
    # All are read before the first is answered for: half an answer helps nobody.
    images = [read_image(path, described.in_channels, described.image_size) for path in given.images]
    for path, image in zip(given.images, images, strict=True):
        print(_table(path, described.classes, probabilities(opened, image), top))
    return 0


def read_image(path: str, channels: int, size: tuple[int, int]) -> np.ndarray:
    """The image as the network takes it: (1, channels, height, width) of uint8; stretched if its shape differs."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(file)
            if image.mode == "I" or image.mode.startswith("I;16"):
                # 16 bits a pixel: the upper eight, as for training. Pillow's own conversion would clip at 255.
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            image = image.convert("L" if channels == 1 else "RGB")
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist; give the path of an image file") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} is not an image that can be read: {' '.join(str(error).split())}") from error
    pixels = np.asarray(image.resize((size[1], size[0]), Image.Resampling.BILINEAR), dtype=np.uint8)
    return pixels.reshape(1, size[0], size[1], channels).transpose(0, 3, 1, 2)


def probabilities(opened: experiment.Opened, image: np.ndarray) -> np.ndarray:
    """The probability of each class for one image (1, C, H, W): float array of shape (classes,)."""
    # Normalization draws no random numbers, so the seed and the stream that each transform is given don't matter.
    pixels = opened.experiment.normalize()(image, seed=0, stream=0, start=0)
    with no_grad():
        return softmax(opened.net(tensor(pixels, device=opened.device)), 1).numpy()[0]


def _table(path: str, classes: list[str], shares: np.ndarray, top: int) -> str:
    best = np.argsort(-shares, kind="stable")[:top]
    width = max(len(classes[index]) for index in best)
    return "\n".join([path, *(f"  {classes[index]:<{width}}  {shares[index]:7.2%}" for index in best)])
