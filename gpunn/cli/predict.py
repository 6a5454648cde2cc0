"""`gpunn predict`: names what is on an image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gpunn.cli import experiment
from gpunn.cli.config import from_flags
from gpunn.cli.eval import whole_number
from gpunn.cli.parser import Parser
from gpunn.data.images import read_image, without_warnings
from gpunn.device import choose
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
    device, _ = choose(from_flags({"device": given.device})["device"])
    opened = experiment.open_checkpoint(given.checkpoint, device)
    described = opened.experiment
    # All are read before the first is answered for: half an answer helps nobody.
    with without_warnings():
        images = [read_image(path, described.in_channels, described.image_size)[np.newaxis] for path in given.images]
    for path, image in zip(given.images, images, strict=True):
        print(_table(path, described.classes, probabilities(opened, image), top))
    return 0


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
