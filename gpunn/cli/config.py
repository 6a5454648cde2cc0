"""The options of `gpunn train`: one dataclass from which flags, TOML keys, defaults and help texts are made."""

from __future__ import annotations

import argparse
import math
import os
import re
import tomllib
from collections.abc import Callable
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from typing import Any

from gpunn import data, models
from gpunn.cli.parser import Parser, suggestion
from gpunn.errors import ConfigError

OPTIMIZERS = ("sgd", "adam", "adamw", "rmsprop", "adagrad")
SCHEDULES = ("none", "step", "cosine", "onecycle", "exponential", "plateau")
AUGMENTATIONS = ("flip", "crop", "cutout")
PRECISIONS = ("none", "bf16", "fp16")
# What "auto" means; for all other images it is a flip. A mirrored digit is no digit. Crops help where objects lie
# anywhere; Fashion-MNIST's fill the image, and there crops cost 1.5% of accuracy in 8 epochs.
AUGMENTATION_OF = {"mnist": "none", "cifar10": "flip,crop"}


@dataclass(frozen=True)
class Kind:
    """What an option's value may be, and how to say so."""

    type: type
    expected: str
    accepts: Callable[[Any], bool] = lambda value: True


def one_of(names: tuple[str, ...]) -> Kind:
    return Kind(str, "one of " + ", ".join(names), lambda value: value in names)


def _is_augmentation(text: str) -> bool:
    return text in ("auto", "none") or all(name in AUGMENTATIONS for name in text.split(","))


def _is_utf8(text: str) -> bool:
    """Not so what a shell hands over of bytes that are no UTF-8: they could be neither printed nor written."""
    return text.isascii() or text.encode(errors="replace").decode() == text


TEXT = Kind(str, "a text in UTF-8", _is_utf8)
# "reference", the plain computation that the tests hold the others against, and "cuda-emulated" are taken too, but not
# advertised: they are for tests.
DEVICE = Kind(
    str,
    "auto, cpu, cuda or cuda:N",
    lambda value: re.fullmatch(r"auto|cpu|reference|cuda(:\d+|-emulated)?", value) is not None,
)
SWITCH = Kind(bool, "true or false")
COUNT = Kind(int, "a whole number, 1 or more", lambda value: value >= 1)
SEED = Kind(int, "a whole number from 0 to 2**63 - 1", lambda value: 0 <= value < 2**63)  # TOML's largest
POSITIVE = Kind(float, "a number above 0", lambda value: 0 < value < math.inf)
NOT_NEGATIVE = Kind(float, "a number, 0 or more", lambda value: 0 <= value < math.inf)
FACTOR = Kind(float, "a number above 0 and below 1", lambda value: 0 < value < 1)
SHARE = Kind(float, "a number from 0 to below 1", lambda value: 0 <= value < 1)
AUGMENTATION = Kind(str, f"auto, none, or some of {', '.join(AUGMENTATIONS)} with commas between", _is_augmentation)


def option(
    default: Any, kind: Kind, help: str, *, metavar: str | None = None, only: dict[str, tuple[str, ...]] | None = None
) -> Any:
    """A field of ``TrainConfig``. ``only``: the values of another option with which this one has a meaning."""
    return field(default=default, metadata={"kind": kind, "help": help, "metavar": metavar, "only": only or {}})


@dataclass(frozen=True)
class TrainConfig:
    """Options of one training run. None means: chosen by the rules of ``resolved``."""

    model: str = option(
        "small_cnn", TEXT, f"the network: {', '.join(models.names(classifiers_only=True))}", metavar="NAME"
    )
    data: str = option("fashion-mini", TEXT, f"the images: {', '.join(data.names())}", metavar="NAME")
    data_dir: str | None = option(None, TEXT, "the folder the images are in (default: data)", metavar="DIR")
    download: bool = option(False, SWITCH, "fetch the images into --data-dir if they are not there")
    image_size: int | None = option(
        None, COUNT, "side in pixels to which the images are resized (default: they keep their own)", metavar="N"
    )
    device: str = option("auto", DEVICE, DEVICE.expected)
    amp: str = option(
        "none", one_of(PRECISIONS), "mixed precision: what matrix products and convolutions are computed in"
    )
    cuda_graph: bool = option(False, SWITCH, "on a GPU, record a training step once and let the device repeat it")
    epochs: int = option(8, COUNT, "how often to go through the training images", metavar="N")
    batch_size: int = option(128, COUNT, "images a step", metavar="N")
    optimizer: str = option("sgd", one_of(OPTIMIZERS), "how the weights are changed")
    lr: float | None = option(
        None,
        POSITIVE,
        "learning rate, the highest of its schedule (default: sgd 0.1 for a network with batch normalization and 0.03 "
        "for one without, adagrad 0.01, others 0.001)",
        metavar="RATE",
    )
    momentum: float | None = option(
        None, SHARE, "default: sgd 0.9, rmsprop 0", metavar="SHARE", only={"optimizer": ("sgd", "rmsprop")}
    )
    nesterov: bool | None = option(
        None, SWITCH, "Nesterov's momentum (default: with sgd, unless the momentum is 0)", only={"optimizer": ("sgd",)}
    )
    weight_decay: float | None = option(None, NOT_NEGATIVE, "default: sgd 0.0005, adamw 0.01, others 0", metavar="RATE")
    schedule: str = option("onecycle", one_of(SCHEDULES), "how the learning rate changes over the epochs")
    warmup: float | None = option(
        None,
        FACTOR,
        "share of the steps in which the rate rises (default: 0.25)",
        metavar="SHARE",
        only={"schedule": ("onecycle",)},
    )
    schedule_epochs: int | None = option(
        None,
        COUNT,
        "step: epochs between two drops (default: a third of all); plateau: epochs without a better validation loss "
        "before a drop (default: 3)",
        metavar="N",
        only={"schedule": ("step", "plateau")},
    )
    schedule_factor: float | None = option(
        None,
        FACTOR,
        "what a drop multiplies the rate by (default: exponential 0.9, others 0.1)",
        metavar="FACTOR",
        only={"schedule": ("step", "exponential", "plateau")},
    )
    label_smoothing: float = option(0.1, SHARE, "share of each label spread over all classes", metavar="SHARE")
    augment: str = option(
        "auto",
        AUGMENTATION,
        f"random changes of the training images: {AUGMENTATION.expected} "
        "(auto: none for mnist, flip,crop for cifar10, flip for others)",
        metavar="LIST",
    )
    clip_norm: float | None = option(None, POSITIVE, "bound for the norm of the gradients", metavar="NORM")
    validation: float = option(
        0.0,
        SHARE,
        "share of the training images held out: each epoch is measured on them, and the epoch with the lowest loss is "
        "the result; with 0 each epoch is measured on the test images, and the last epoch is the result",
        metavar="SHARE",
    )
    early_stopping: int | None = option(
        None, COUNT, "stop after N epochs without a lower validation loss (needs --validation)", metavar="N"
    )
    checkpoint_every: int | None = option(
        None, COUNT, "also save every N steps, not only after each epoch", metavar="N"
    )
    seed: int = option(0, SEED, "of weights, order, augmentation and dropout", metavar="N")
    out: str | None = option(None, TEXT, "the run's folder (default: runs/DATA-MODEL-NUMBER)", metavar="DIR")
    resume: bool = option(False, SWITCH, "go on with the run in --out, as if it had never stopped")
    config: str | None = option(None, TEXT, "read options from a TOML file; flags go before it", metavar="FILE.toml")

    def to_toml(self) -> dict[str, Any]:
        """What config.toml keeps: all but what belongs to one call."""
        return {name: value for name, value in asdict(self).items() if name not in ("resume", "config", "out")}


OPTIONS = {entry.name: entry for entry in fields(TrainConfig)}
KEYS = [name for name in OPTIONS if name != "config"]  # what may stand in a TOML file


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def add_flags(parser: Parser) -> None:
    """A flag for each option; flags that were not given are absent from the result."""
    for name, entry in OPTIONS.items():
        kind, text = entry.metadata["kind"], entry.metadata["help"]
        if kind.expected.startswith("one of "):
            text += f": {kind.expected.removeprefix('one of ')}"
        if entry.default not in (None, MISSING) and kind is not SWITCH:
            text += f" (default: {entry.default})"
        text = text.replace("%", "%%")
        if kind is SWITCH:
            action = "store_true" if name == "resume" else argparse.BooleanOptionalAction
            parser.add_argument(flag(name), dest=name, action=action, default=argparse.SUPPRESS, help=text)
        else:
            metavar = entry.metadata["metavar"] or name.upper()
            parser.add_argument(flag(name), dest=name, default=argparse.SUPPRESS, metavar=metavar, help=text)


def from_flags(given: dict[str, Any]) -> dict[str, Any]:
    """The values of flags as their types. Raises ``ConfigError`` that names a flag whose value is not allowed."""
    return {name: _checked(name, _from_text(name, value), flag(name)) for name, value in given.items()}


def from_toml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The options in a TOML file. Raises ``ConfigError`` that names file and key."""
    try:
        with open(path, "rb") as file:
            table = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not a TOML file: {error}") from error
    options = {}
    for key, value in table.items():
        name = key.replace("-", "_")  # as the flag is spelled, or as the attribute is
        if name not in KEYS:
            raise ConfigError(f"{path}: unknown key {key!r}{suggestion(name, KEYS)}; gpunn train --help lists all")
        if name == "augment" and isinstance(value, list) and all(isinstance(entry, str) for entry in value):
            value = ",".join(value) or "none"
        options[name] = _checked(name, value, f"{path}: {key}")
    return options


def from_checkpoint(table: dict[str, Any], where: str) -> dict[str, Any]:
    """The options in a checkpoint's description; keys of another version of gpunn are passed over.

    Raises ``ConfigError`` that names ``where`` and a key whose value is not allowed.
    """
    given = {name: value for name, value in table.items() if name in KEYS and value is not None}
    return {name: _checked(name, value, f"{where}: {name}") for name, value in given.items()}


def build(explicit: dict[str, Any]) -> TrainConfig:
    """The options that were given, over the defaults. Raises ``ConfigError`` for those that don't go together."""
    config = TrainConfig(**explicit)
    for name, value in explicit.items():
        for other, allowed in OPTIONS[name].metadata["only"].items():
            if value is not None and getattr(config, other) not in allowed:
                raise ConfigError(
                    f"{flag(name)} has a meaning only with {flag(other)} {' or '.join(allowed)}, "
                    f"not with {getattr(config, other)}; leave it out"
                )
    if config.nesterov and config.momentum == 0:
        raise ConfigError("--nesterov needs a momentum above 0; leave out --momentum 0 or --nesterov")
    if config.validation == 0 and (config.early_stopping is not None or config.schedule == "plateau"):
        what = "--early-stopping" if config.early_stopping is not None else "--schedule plateau"
        raise ConfigError(f"{what} goes by a validation loss; hold out training images, as by --validation 0.1")
    return config


def resolved(config: TrainConfig, *, has_batchnorm: bool) -> TrainConfig:
    """Every option that was left to a rule, set by that rule."""
    optimizer, schedule = config.optimizer, config.schedule
    momentum = {"sgd": 0.9, "rmsprop": 0.0}.get(optimizer) if config.momentum is None else config.momentum
    rates = {"sgd": 0.1 if has_batchnorm else 0.03, "adagrad": 0.01}
    chosen: dict[str, Any] = {
        "lr": rates.get(optimizer, 0.001),
        "weight_decay": {"sgd": 5e-4, "adamw": 0.01}.get(optimizer, 0.0),
        "momentum": momentum,
        "nesterov": bool(momentum) if optimizer == "sgd" else None,
        "warmup": 0.25 if schedule == "onecycle" else None,
        "schedule_epochs": {"step": max(config.epochs // 3, 1), "plateau": 3}.get(schedule),
        "schedule_factor": {"step": 0.1, "plateau": 0.1, "exponential": 0.9}.get(schedule),
    }
    chosen = {name: value for name, value in chosen.items() if getattr(config, name) is None}
    if config.augment == "auto":
        chosen["augment"] = AUGMENTATION_OF.get(config.data, "flip")
    return replace(config, **chosen)


# Options that may differ when a run goes on, since they don't change what is computed (devices agree to rounding).
FREE_ON_RESUME = ("device", "cuda_graph", "data_dir", "download", "checkpoint_every", "out", "resume", "config")
SCHEDULES_OF_ANY_LENGTH = ("none", "step", "exponential", "plateau")


def resumed(run_config: dict[str, Any], explicit: dict[str, Any], run: str) -> TrainConfig:
    """The configuration of the run that goes on. Raises ``ConfigError`` that names an option that contradicts it."""
    before = TrainConfig(**run_config)
    for name, value in explicit.items():
        old = getattr(before, name)
        if name in FREE_ON_RESUME or value == old:
            continue
        if name == "augment" and value == "auto":
            continue  # the rule that chose it then
        if name == "epochs" and before.schedule in SCHEDULES_OF_ANY_LENGTH:
            continue
        why = f" (its schedule {before.schedule} was laid out for {old} epochs)" if name == "epochs" else ""
        raise ConfigError(
            f"{flag(name)} {value} contradicts the run in {run}, which has {old}{why}; "
            "leave it out, or start another run with another --out"
        )
    return replace(before, **{name: value for name, value in explicit.items() if value != "auto" or name == "device"})


def _from_text(name: str, value: Any) -> Any:
    kind = OPTIONS[name].metadata["kind"]
    if isinstance(value, str) and kind.type in (int, float):
        try:
            return kind.type(value)
        except ValueError:
            return value  # the check of its type says what was expected
    return value


def _checked(name: str, value: Any, where: str) -> Any:
    kind = OPTIONS[name].metadata["kind"]
    if kind.type is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not kind.type or not kind.accepts(value):
        names = kind.expected.removeprefix("one of ").split(", ") if kind.expected.startswith("one of ") else ()
        if kind is AUGMENTATION:
            names = ("auto", "none", *AUGMENTATIONS)
        hint = suggestion(value, names) if isinstance(value, str) else ""
        raise ConfigError(f"{where}: expected {kind.expected}, got {value!r}{hint}")
    if kind is AUGMENTATION and value not in ("auto", "none"):
        return ",".join(known for known in AUGMENTATIONS if known in value.split(","))  # one order, none twice
    return value
