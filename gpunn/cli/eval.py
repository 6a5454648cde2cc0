"""`gpunn eval`: measures a trained network on test images."""

from __future__ import annotations

import time
from collections.abc import Sequence

from gpunn.cli import experiment
from gpunn.cli.config import COUNT, from_flags
from gpunn.cli.parser import Parser
from gpunn.data import Dataset, load
from gpunn.device import choose
from gpunn.errors import ConfigError, DataError

EXAMPLES = """
gpunn eval runs/first
gpunn eval runs/first/checkpoints/best.safetensors --data cifar10 --data-dir data --device cpu
"""


def parser() -> Parser:
    result = Parser("eval", "Measure a trained network on test images.", EXAMPLES)
    result.add_argument("checkpoint", metavar="RUN", help="a run's folder, or a checkpoint in it")
    result.add_argument("--data", metavar="NAME", help="the images (default: those it was trained on)")
    result.add_argument("--data-dir", metavar="DIR", help="the folder the images are in (default: as in training)")
    result.add_argument("--download", action="store_true", help="fetch the images if they are not there")
    result.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    result.add_argument("--batch-size", metavar="N", help="images a step (default: as in training)")
    return result


def main(argv: Sequence[str]) -> int:
    given = parser().parse(argv)
    batch_size = None if given.batch_size is None else whole_number("--batch-size", given.batch_size)
    device, _ = choose(from_flags({"device": given.device})["device"])
    opened = experiment.open_checkpoint(given.checkpoint, device)
    described, training = opened.experiment, opened.config
    dataset = load(
        given.data or described.data,
        given.data_dir or training.get("data_dir"),
        train=False,
        download=given.download,
        image_size=training.get("image_size"),
        seed=training.get("seed", 0),
    )
    check_fit(described, dataset, str(opened.file))
    started = time.perf_counter()
    loss, accuracy = experiment.measure(opened.net, described.loader(dataset, batch_size))
    seconds = time.perf_counter() - started
    print(experiment.result_line(loss, accuracy, opened.epochs, seconds, device))
    return 0


def check_fit(described: experiment.Experiment, dataset: Dataset, file: str) -> None:
    """Raise ``DataError`` unless the data set is of the kind that the network was trained for."""
    trained = (described.in_channels, described.image_size, len(described.classes))
    given = (dataset.in_channels, dataset.image_size, len(dataset.classes))
    if trained != given:
        raise DataError(
            f"{dataset.name} has {_kind(*given)}, but {file} was trained for {_kind(*trained)}; "
            f"give data of that kind ({described.data}, say)"
        )
    if dataset.classes != described.classes:
        raise DataError(
            f"{dataset.name} has the classes {_list(dataset.classes)}, but {file} was trained for "
            f"{_list(described.classes)}; give data with these classes in this order ({described.data}, say)"
        )


def _list(names: list[str], most: int = 12) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _kind(channels: int, size: tuple[int, int], classes: int) -> str:
    return f"images of {channels}x{size[0]}x{size[1]} in {classes} classes"


def whole_number(flag: str, text: str) -> int:
    """The value of a flag that must be 1 or more."""
    value = int(text) if text.isdecimal() else 0
    if not COUNT.accepts(value):
        raise ConfigError(f"{flag}: expected {COUNT.expected}, got {text!r}")
    return value
