"""What the commands share: images by name, the way they enter the network, and a network from a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpunn import nn
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
        epochs, config = int(description["epochs"]), dict(description["config"])
        values = {name: description[name] for name in Experiment.__dataclass_fields__}
    except KeyError as error:
        raise CheckpointError(
            f"{file} does not say {error} of its model: it was not written by gpunn train; load it in Python"
        ) from error
    experiment = Experiment(**{**values, "image_size": tuple(values["image_size"])})
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
