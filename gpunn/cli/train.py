"""`gpunn train`: trains a network on images and keeps the run in a folder."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gpunn
from gpunn import nn, optim
from gpunn.cli import config as options
from gpunn.cli import experiment
from gpunn.cli.config import TrainConfig
from gpunn.cli.experiment import Experiment
from gpunn.cli.main import INTERRUPTED
from gpunn.cli.parser import Parser
from gpunn.data import Cutout, DataLoader, Dataset, Normalize, RandomCrop, RandomHorizontalFlip, load
from gpunn.device import choose
from gpunn.errors import ConfigError, DataError
from gpunn.training import RunDirectory, Trainer, TrainingInterrupted

EXAMPLES = """
gpunn train
gpunn train --model lenet5 --data mnist --data-dir data --download --epochs 3
gpunn train --model vgg11_bn --data cifar10 --data-dir data --epochs 6 --out runs/first
gpunn train --resume --out runs/first
"""
RUNS = "runs"
CROP_PADDING = 8  # an image of 32 pixels is moved by up to 4: 32 / 8


def parser() -> Parser:
    result = Parser(
        "train",
        "Train a network on images. With no options: a small network on the images that come with the package.",
        EXAMPLES,
    )
    options.add_flags(result)
    return result


def main(argv: Sequence[str]) -> int:
    given = options.from_flags(vars(parser().parse(argv)))
    if "config" in given:
        given = {**options.from_toml(given["config"]), **given}
    config, run = _configuration(given)
    experiment.check_model(config.model)
    device, why = choose(config.device)

    train_set, held_out, held_out_name = _load_data(config)
    described = _describe(config, train_set)
    gpunn.manual_seed(config.seed)
    net = described.build()
    has_batchnorm = any(isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)) for module in net.modules())
    config = options.resolved(config, has_batchnorm=has_batchnorm)
    train_loader = DataLoader(
        train_set,
        config.batch_size,
        shuffle=True,
        seed=config.seed,
        transforms=[*_augmentation(config, train_set.image_size), described.normalize()],
        # Batch normalization can learn nothing from a single image whose maps have shrunk to one pixel: where one is
        # left over at the end of an epoch, it is left out. The order is another each epoch, and so is that image.
        drop_last=has_batchnorm and len(train_set) > config.batch_size > 1 and len(train_set) % config.batch_size == 1,
    )
    optimizer = _optimizer(config, net.to(device))
    scheduler = _scheduler(config, optimizer, steps=config.epochs * len(train_loader))

    trainer = Trainer(
        net,
        nn.CrossEntropyLoss(label_smoothing=config.label_smoothing),
        optimizer,
        scheduler=scheduler,
        schedule_every="step" if config.schedule in ("onecycle", "cosine") else "epoch",
        amp=None if config.amp == "none" else config.amp,
        cuda_graph=config.cuda_graph,
        clip_norm=config.clip_norm,
        early_stopping=config.early_stopping,
        checkpoint_every=config.checkpoint_every,
        evaluation_loss=experiment.evaluation_loss(),
        validation_name=held_out_name,
        description={**vars(described), "config": config.to_toml()},
    )

    # The folder is made last, when nothing can be wrong any more with what was asked for.
    if run is None:
        name = f"{config.data.replace(':', '-').replace('/', '-')}-{config.model}"
        run = RunDirectory.create(config.out) if config.out else RunDirectory.next_free(RUNS, name)
    run.write_config(config.to_toml())
    parameters = sum(parameter.numel() for parameter in net.parameters())
    channels, (height, width) = train_set.in_channels, train_set.image_size
    print(f"model   {config.model}: {parameters:,} parameters")
    print(
        f"data    {config.data}: {len(train_set):,} training and {len(held_out):,} {held_out_name} images "
        f"of {channels}x{height}x{width}, {len(train_set.classes)} classes"
    )
    print(f"device  {device}: {why}")
    print(f"run     {run.path}", flush=True)
    trainer.run_directory = run
    try:
        history = trainer.fit(train_loader, described.loader(held_out), epochs=config.epochs, resume=config.resume)
    except TrainingInterrupted as stop:
        return _say_how_to_resume(stop, run.path)
    print(_result(config, described, run, history, device))
    return 0


def _configuration(given: dict[str, Any]) -> tuple[TrainConfig, RunDirectory | None]:
    """The options, and the run that goes on (None: a new one)."""
    if not given.get("resume"):
        return options.build(given), None
    if given.get("out") is None:
        raise ConfigError("--resume needs --out with the folder of the run to go on with, as in --out runs/first")
    run = RunDirectory.open(given["out"])
    if not run.config_path.exists():
        raise ConfigError(f"{run.path} has no config.toml, so it cannot go on; start another run with another --out")
    return options.resumed(options.from_toml(run.config_path), given, str(run.path)), run


def _load_data(config: TrainConfig) -> tuple[Dataset, Dataset, str]:
    """Training images, the images that each epoch is measured on, and what these are called."""
    train_set = _load(config, train=True)
    if len(train_set.classes) < 2:
        raise DataError(
            f"{config.data} has one class ({', '.join(train_set.classes)}), and then every answer is right; "
            "expected at least two, each a folder beside the other"
        )
    if config.validation > 0:
        train_set, held_out = train_set.split(config.validation, config.seed)
        return train_set, held_out, "validation"
    return train_set, _load(config, train=False), "test"


def _load(config: TrainConfig, train: bool) -> Dataset:
    return load(config.data, config.data_dir, train, config.download, image_size=config.image_size, seed=config.seed)


def _describe(config: TrainConfig, train_set: Dataset) -> Experiment:
    normalize = Normalize.of(train_set)
    return Experiment(
        model=config.model,
        data=config.data,
        classes=train_set.classes,
        in_channels=train_set.in_channels,
        image_size=train_set.image_size,
        mean=list(normalize.mean),
        std=list(normalize.std),
        batch_size=config.batch_size,
        result="best" if config.validation > 0 else "last",
    )


def _augmentation(config: TrainConfig, image_size: tuple[int, int]) -> list[Any]:
    side = min(image_size)
    transforms: dict[str, Callable[[], Any]] = {
        "flip": RandomHorizontalFlip,
        "crop": lambda: RandomCrop(image_size, padding=max(side // CROP_PADDING, 1)),
        "cutout": lambda: Cutout(max(side // 4, 1)),
    }
    return [transforms[name]() for name in config.augment.split(",") if name != "none"]


def _optimizer(config: TrainConfig, net: Any) -> optim.Optimizer:
    kinds: dict[str, Callable[..., optim.Optimizer]] = {
        "sgd": optim.SGD,
        "adam": optim.Adam,
        "adamw": optim.AdamW,
        "rmsprop": optim.RMSprop,
        "adagrad": optim.Adagrad,
    }
    given = {name: getattr(config, name) for name in ("lr", "weight_decay", "momentum", "nesterov")}
    # What has no meaning for an optimizer is None.
    return kinds[config.optimizer](net.parameters(), **{k: v for k, v in given.items() if v is not None})


def _scheduler(config: TrainConfig, optimizer: optim.Optimizer, steps: int) -> Any:
    schedules: Any = optim.lr_scheduler
    if config.schedule == "onecycle":
        # The momentum stays as it is: cycling it helps little and would surprise who gave --momentum.
        return schedules.OneCycleLR(
            optimizer, max_lr=config.lr, total_steps=steps, pct_start=config.warmup, cycle_momentum=False
        )
    if config.schedule == "cosine":
        return schedules.CosineAnnealingLR(optimizer, T_max=steps)
    if config.schedule == "step":
        return schedules.StepLR(optimizer, step_size=config.schedule_epochs, gamma=config.schedule_factor)
    if config.schedule == "exponential":
        return schedules.ExponentialLR(optimizer, gamma=config.schedule_factor)
    if config.schedule == "plateau":
        return schedules.ReduceLROnPlateau(optimizer, factor=config.schedule_factor, patience=config.schedule_epochs)
    return None


def _result(
    config: TrainConfig, described: Experiment, run: RunDirectory, history: list[dict[str, Any]], device: str
) -> str:
    """The last line: of the last epoch, or, where images were held out, of the epoch that was best on them."""
    seconds = sum(record["seconds"] for record in history)
    if described.result == "last":
        last = history[-1]
        return experiment.result_line(last["test_loss"], last["test_accuracy"], last["epoch"], seconds, device)
    started = time.perf_counter()
    best = experiment.open_checkpoint(str(run.best_checkpoint), device)
    loss, accuracy = experiment.measure(best.net, described.loader(_load(config, train=False)))
    seconds += time.perf_counter() - started
    return experiment.result_line(loss, accuracy, best.epochs, seconds, device)


def _say_how_to_resume(stop: TrainingInterrupted, path: Path) -> int:
    command = shlex.join(["gpunn", "train", "--resume", "--out", str(path)])
    print(f"gpunn: {stop}; go on with: {command}", file=sys.stderr)
    return INTERRUPTED
