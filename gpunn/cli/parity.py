"""`gpunn parity`: one training step on several devices, and the first operation that differs from the reference."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import backends
from backends import philox
from gpunn import optim
from gpunn.checks import default_devices, parity
from gpunn.checks.step import seeded
from gpunn.cli.eval import whole_number
from gpunn.cli.parser import Parser, suggestion
from gpunn.dtypes import as_dtype
from gpunn.errors import ConfigError
from gpunn.models import build, names
from gpunn.models.catalog import CATALOG

EXAMPLES = """
gpunn parity vgg11_bn
gpunn parity lenet5 --devices cpu,cuda --dtype float64
gpunn parity mlp --optimizer adam --json
"""
DTYPES = ("float32", "float64", "float16", "bfloat16")
OPTIMIZERS: dict[str, Callable[[Any], optim.Optimizer]] = {
    # Every term of the rules has a part in the update.
    "sgd": lambda parameters: optim.SGD(parameters, lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4),
    "adam": lambda parameters: optim.Adam(parameters, lr=1e-3, weight_decay=5e-4),
    "adamw": lambda parameters: optim.AdamW(parameters, lr=1e-3),
    "rmsprop": lambda parameters: optim.RMSprop(parameters, lr=1e-3, momentum=0.9, weight_decay=5e-4),
    "adagrad": lambda parameters: optim.Adagrad(parameters, lr=0.01, weight_decay=5e-4),
}
CHANNELS, CLASSES = 3, 10
LEAST_SIZE = 32  # of the images, in pixels a side, unless the model needs more
# Not the streams of weights and dropout, which count up from 0.
IMAGES, LABELS = 2**62, 2**62 + 1


def parser() -> Parser:
    result = Parser(
        "parity",
        "Take one training step with the same weights and batch on each device, and compare every operation,\n"
        "forward and backward, and the optimizer's update, with the reference in float64.\n"
        "Exit code 1, and the name of the first operation, where one differs.",
        EXAMPLES,
    )
    result.add_argument("model", metavar="MODEL", help=", ".join(names()))
    result.add_argument(
        "--devices", metavar="LIST", help="cpu, cuda, cuda:N, cuda-emulated, reference (default: all at hand)"
    )
    add_batch(result)
    result.add_argument("--dtype", default="float32", help=f"{', '.join(DTYPES)} (default: float32)")
    result.add_argument("--optimizer", default="sgd", help=f"{', '.join(OPTIMIZERS)} (default: sgd)")
    result.add_argument("--json", action="store_true", help="print the whole report as JSON")
    return result


def add_batch(result: Parser) -> None:
    """The flags that say which batch a model is given."""
    result.add_argument("--batch-size", metavar="N", default="4", help="images in the batch (default: 4)")
    result.add_argument(
        "--image-size", metavar="N", help=f"pixels a side (default: {LEAST_SIZE}, or what the model needs)"
    )
    result.add_argument("--seed", metavar="N", default="0", help="of weights, images and dropout (default: 0)")


def main(argv: Sequence[str]) -> int:
    given = parser().parse(argv)
    one_of("--dtype", given.dtype, DTYPES)
    try:
        as_dtype(given.dtype)
    except ImportError as error:
        raise ConfigError(f"--dtype: {error}") from error
    one_of("--optimizer", given.optimizer, OPTIMIZERS)
    devices = _devices(given.devices)
    net, batch, seed = model_and_batch(given)
    report = parity(net, batch, devices=devices, optimizer=OPTIMIZERS[given.optimizer], dtype=given.dtype, seed=seed)
    print(json.dumps(report.to_dict(), indent=1) if given.json else report)
    return 0 if report else 1


def _devices(text: str | None) -> list[str]:
    if text is None:
        return default_devices()
    devices = [backends.get(name.strip()).device for name in text.split(",")]
    if len(set(devices)) < len(devices):
        raise ConfigError(f"--devices: expected different devices, got {text!r}; name each once, as in cpu,cuda")
    return devices


def model_and_batch(given: Any) -> tuple[Any, tuple[np.ndarray, np.ndarray], int]:
    """The model of ``given.model``, random images with their labels (of the autoencoder: themselves), and the seed."""
    one_of("MODEL", given.model, names())
    count = whole_number("--batch-size", given.batch_size)
    least = max(LEAST_SIZE, CATALOG[given.model].least_size)
    size = least if given.image_size is None else whole_number("--image-size", given.image_size)
    if not given.seed.isdecimal():
        raise ConfigError(f"--seed: expected a whole number of at least 0, got {given.seed!r}")
    seed = int(given.seed)
    with seeded(seed):
        net = build(given.model, CLASSES, CHANNELS, size)
    images = philox.normal(seed, IMAGES, (count, CHANNELS, size, size))
    if not CATALOG[given.model].classifies:
        return net, (images, images), seed
    return net, (images, philox.integers(seed, LABELS, CLASSES, count)), seed


def one_of(flag: str, given: str, allowed: Any) -> None:
    """Raise ``ConfigError`` unless ``given`` is allowed."""
    if given not in allowed:
        raise ConfigError(
            f"{flag}: unknown {given!r}{suggestion(given, allowed)}; expected one of {', '.join(allowed)}"
        )
