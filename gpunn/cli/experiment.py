"""What the commands share: images by name, the way they enter the network, and a network from a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpunn import nn
from gpunn.cli import config as options
from gpunn.cli.parser import suggestion
from gpunn.data import DataLoader, Dataset, Normalize
from gpunn.errors import CheckpointError, ConfigError
from gpunn.models import build, names
from gpunn.training import RunDirectory, evaluate, load, load_into


@dataclass
class Experiment:
    """What a checkpoint's description says beside the weights; enough to build the network and to feed it."""

    model: str
    data: str
    classes: list[str]
    in_channels: int
    image_size: tuple[int, int]
    mean: list[float]  # a number a channel, of pixels between 0 and 1
    std: list[float]
    batch_size: int
    result: str  # which checkpoint is the run's result: "last" or "best"

    @classmethod
    def of(cls, description: dict[str, Any]) -> Experiment:
        """Of a checkpoint. KeyError, TypeError or ValueError where the description is not what `train` writes."""
        values = {name: description[name] for name in cls.__dataclass_fields__}
        height, width = values.pop("image_size")
        described = cls(**values, image_size=(int(height), int(width)))
        channels = len(described.normalize().mean)
        if channels != described.in_channels:
            raise ValueError(f"mean and std of {channels} channels, images of {described.in_channels}")
        for name in ("model", "data", "result"):
            if not isinstance(values[name], str):
                raise TypeError(f"expected a text as {name}, got {values[name]!r}")
        if not isinstance(described.classes, list) or not all(isinstance(name, str) for name in described.classes):
            raise TypeError(f"expected a list of texts as classes, got {described.classes!r}")
        if not isinstance(described.batch_size, int) or described.batch_size < 1:
            raise ValueError(f"expected a batch_size of at least 1, got {described.batch_size!r}")
        return described

    def build(self) -> Any:
        height, width = self.image_size
        if height != width:
            raise ConfigError(f"the networks take square images, {self.data} has {height}x{width}; give --image-size")
        return build(self.model, len(self.classes), self.in_channels, height)

    def normalize(self) -> Normalize:
        return Normalize(self.mean, self.std)

    def loader(self, dataset: Dataset, batch_size: int | None = None) -> DataLoader:
        """The images of ``dataset`` in their order, none left out."""
        return DataLoader(dataset, batch_size or self.batch_size, transforms=[self.normalize()])


def check_model(name: str) -> None:
    """Raise ``ConfigError`` unless there is a classifier of this name: said before the images are read."""
    known = names(classifiers_only=True)
    if name not in known:
        what = "model {!r} gives no classes" if name in names() else "unknown model {!r}"
        raise ConfigError(f"{what.format(name)}{suggestion(name, known)}; expected one of {', '.join(known)}")


def evaluation_loss() -> nn.CrossEntropyLoss:
    """What is reported of test images: the cross-entropy, whatever smoothing training used."""
    return nn.CrossEntropyLoss()


def measure(net: Any, loader: DataLoader) -> tuple[float, float]:
    """(mean cross-entropy, accuracy) of the network on the images of ``loader``."""
    reading = evaluate(net, evaluation_loss(), loader)
    assert reading is not None
    assert reading.accuracy is not None
    return reading.loss, reading.accuracy


@dataclass
class Opened:
    """A trained network: on its device, in evaluation mode."""

    experiment: Experiment
    net: Any
    device: str
    epochs: int
    config: dict[str, Any]  # the options it was trained with
    file: Path


def open_checkpoint(path: str, device: str) -> Opened:
    """The network of a checkpoint, or of a run's folder (there its result)."""
    file = Path(path)
    if file.is_dir():
        file = _result_of(RunDirectory.open(file))
    checkpoint = load(file, with_optimizer=False)
    description = checkpoint.description
    try:
        experiment, epochs = Experiment.of(description), int(description["epochs"])
        config = options.from_checkpoint(dict(description["config"]), "config")
    except KeyError as error:
        raise CheckpointError(
            f"{file} does not say {error} of its model: it was not written by gpunn train; load it in Python"
        ) from error
    except (TypeError, ValueError) as error:
        message = " ".join(str(error).split())
        raise CheckpointError(
            f"{file} is damaged: its description of the model makes no sense ({message}); use another checkpoint"
        ) from error
    net = experiment.build()
    load_into(net, checkpoint.model, file)
    return Opened(experiment, net.to(device).eval(), device, epochs, config, file)


def _result_of(run: RunDirectory) -> Path:
    """The best checkpoint if the run held out images to judge by, else the last."""
    last = load(run.last_checkpoint, with_optimizer=False)
    return run.best_checkpoint if last.description.get("result") == "best" else run.last_checkpoint


def result_line(loss: float, accuracy: float, epochs: int, seconds: float, device: str) -> str:
    """The last line on standard output of `train` and `eval`, made to be read by scripts."""
    return f"test_loss={loss:.6f} test_accuracy={accuracy:.6f} epochs={epochs} seconds={seconds:.1f} device={device}"
