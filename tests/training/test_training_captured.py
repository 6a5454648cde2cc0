"""The captured step ends with the bits of the plain one, whatever changes from step to step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import backends
import gpunn
from backends import LabelError, emulator
from gpunn import data, nn, optim
from gpunn import functional as F
from gpunn.errors import ConfigError
from gpunn.training import Callback, Trainer, load

DEVICE = "cuda:0" if "cuda:0" in backends.available() else "cuda-emulated"
pytestmark = pytest.mark.skipif(
    DEVICE == "cuda-emulated" and emulator.missing() is not None, reason=str(emulator.missing())
)
EPOCHS = 2
STEPS = 7  # an epoch: 6 of 8 images and one of 4

OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "sgd": lambda params: optim.SGD(params, lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-3),
    "adam": lambda params: optim.Adam(params, lr=0.01),
    "adamw": lambda params: optim.AdamW(params, lr=0.01, amsgrad=True),
    "rmsprop": lambda params: optim.RMSprop(params, lr=0.01, momentum=0.5, centered=True),
    "adagrad": lambda params: optim.Adagrad(params, lr=0.05, lr_decay=0.1),
}


def images(count: int = 52) -> data.Dataset:
    numbers = np.random.default_rng(0)
    pixels = numbers.integers(0, 256, (count, 1, 6, 6)).astype(np.uint8)
    return data.Dataset(pixels, numbers.integers(0, 3, count), list("abc"), "noise")


def loader(count: int = 52) -> data.DataLoader:
    return data.DataLoader(images(count), 8, shuffle=True)


def network() -> nn.Module:
    gpunn.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3), nn.Linear(48, 8), nn.Tanh(),
        nn.Dropout(0.5), nn.Linear(8, 3),
    )  # fmt: skip


def build(
    kind: str = "sgd", *, cuda_graph: bool, net: Any = None, cycle_momentum: bool = False, **options: Any
) -> Trainer:
    net = (net or network()).to(DEVICE)
    optimizer = OPTIMIZERS[kind](net.parameters())
    scheduler = options.pop("scheduler", None) or optim.lr_scheduler.OneCycleLR(
        optimizer, 0.05, total_steps=EPOCHS * STEPS, cycle_momentum=cycle_momentum and kind in ("sgd", "adam")
    )
    return Trainer(
        net, nn.CrossEntropyLoss(label_smoothing=0.1), optimizer, scheduler=scheduler, cuda_graph=cuda_graph,
        progress="none", **options,
    )  # fmt: skip


def outcome(trainer: Trainer) -> tuple[dict[str, bytes], list[Any]]:
    """The bits of weights, statistics and optimizer state, and the figures of each epoch."""
    arrays = {name: value.numpy().tobytes() for name, value in trainer.net.state_dict().items()}
    for index, state in trainer.optimizer.state_dict()["state"].items():
        arrays |= {f"{index}/{name}": np.asarray(value).tobytes() for name, value in state.items()}
    return arrays, [(record["train_loss"], record["train_accuracy"]) for record in trainer.history]


def captured(trainer: Trainer) -> bool:
    return getattr(trainer._step, "_graph", None) is not None


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_the_same_bits(kind: str) -> None:
    """Dropout's masks, the bias corrections, the schedule, and the smaller batch at the end of an epoch."""
    plain, subject = build(kind, cuda_graph=False), build(kind, cuda_graph=True)
    for trainer in (plain, subject):
        gpunn.manual_seed(3)
        trainer.fit(loader(), epochs=EPOCHS)
    assert captured(subject)
    assert outcome(subject) == outcome(plain)


@pytest.mark.parametrize("options", [{"clip_norm": 0.5}, {"clip_value": 0.01}, {"amp": "bf16"}], ids=str)
def test_the_same_bits_with(options: dict[str, Any]) -> None:
    if "amp" in options:
        pytest.importorskip("ml_dtypes")
    plain, subject = build(cuda_graph=False, **options), build(cuda_graph=True, **options)
    for trainer in (plain, subject):
        gpunn.manual_seed(3)
        trainer.fit(loader(), epochs=EPOCHS)
    assert captured(subject)
    assert outcome(subject) == outcome(plain)


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_a_momentum_that_changes(kind: str) -> None:
    """Whether it reaches the kernels through memory or as an argument, for which the step is captured anew."""
    plain, subject = (build(kind, cuda_graph=graph, cycle_momentum=True) for graph in (False, True))
    for trainer in (plain, subject):
        gpunn.manual_seed(3)
        trainer.fit(loader(), epochs=EPOCHS)
    assert outcome(subject) == outcome(plain)


class Stop(Exception):  # noqa: N818 - no error
    pass


class StopAt(Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, trainer: Trainer) -> None:
        if trainer.step == self.step:
            raise Stop


@pytest.mark.parametrize("resumed_with_graph", [True, False])
def test_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resumed_with_graph: bool) -> None:
    monkeypatch.setattr("gpunn.training.trainer.draw_curves", lambda *arguments, **options: True)
    gpunn.manual_seed(3)
    build("adam", cuda_graph=False, run_directory=tmp_path / "whole").fit(loader(), epochs=EPOCHS)
    parts = {"run_directory": tmp_path / "parts", "checkpoint_every": 2}
    gpunn.manual_seed(3)
    with pytest.raises(Stop):
        build("adam", cuda_graph=True, callbacks=[StopAt(6)], **parts).fit(loader(), epochs=EPOCHS)
    build("adam", cuda_graph=resumed_with_graph, **parts).fit(loader(), epochs=EPOCHS, resume=True)
    whole, other = (load(tmp_path / name / "checkpoints" / "last.safetensors") for name in ("whole", "parts"))
    for name, array in whole.model.items():
        assert array.tobytes() == other.model[name].tobytes(), name
    assert whole.training["random"] == other.training["random"]


class Meddle(Callback):
    """Changes what the captured kernels depend on, at step 5."""

    def __init__(self, change: Callable[[Trainer], object]) -> None:
        self.change = change
        self.graphs: list[Any] = []  # before the change, and one step after it

    def on_step_end(self, trainer: Trainer) -> None:
        if trainer.step in (5, 6):
            self.graphs.append(getattr(trainer._step, "_graph", None))
        if trainer.step == 5:
            self.change(trainer)


# A step begins without gradients, and weights are loaded into the arrays that are there.
HARMLESS = ("the gradients", "the weights")


def halved(net: nn.Module) -> dict[str, np.ndarray]:
    return {name: (v.numpy() / 2).astype(v.numpy().dtype) for name, v in net.state_dict().items()}


def freeze(trainer: Trainer) -> None:
    trainer.net[0].weight.requires_grad = False


CHANGES: dict[str, Callable[[Trainer], object]] = {
    "a seed": lambda trainer: gpunn.manual_seed(9),
    "the optimizer's state": lambda trainer: trainer.optimizer.load_state_dict(trainer.optimizer.state_dict()),
    "the weights": lambda trainer: trainer.net.load_state_dict(halved(trainer.net)),
    "the optimizer's memory": lambda trainer: trainer.optimizer.state.clear(),
    "a frozen layer": freeze,
    "a layer in evaluation": lambda trainer: trainer.net[1].eval(),
    "the gradients": lambda trainer: trainer.optimizer.zero_grad(),
    "an option of the optimizer": lambda trainer: trainer.optimizer.param_groups[0].update(weight_decay=0.1),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_on_the_way(change: str) -> None:
    """On the emulator the step is computed anew by each launch: that it was captured anew has to be looked at."""
    meddle = Meddle(CHANGES[change])
    plain = build(cuda_graph=False, callbacks=[Meddle(CHANGES[change])])
    subject = build(cuda_graph=True, callbacks=[meddle])
    for trainer in (plain, subject):
        gpunn.manual_seed(3)
        trainer.fit(loader(), epochs=EPOCHS)
    assert outcome(subject) == outcome(plain)
    before, after = meddle.graphs
    assert before is not None
    assert after is (before if change in HARMLESS else None)
    assert captured(subject)


class Look(Callback):
    """Reads the figures after every step, as a progress bar does now and then."""

    def on_step_end(self, trainer: Trainer) -> None:
        trainer._running.read()


def test_a_label_out_of_range_is_an_error_whichever_step_it_is_in() -> None:
    dataset = images(64)
    dataset.labels[41] = 7  # in the sixth step
    subject = build(cuda_graph=True, callbacks=[Look()])
    with pytest.raises(LabelError, match=r"label 7 in row 1 is out of range: expected 0 <= label <= 2"):
        subject.fit(data.DataLoader(dataset, 8), epochs=1)
    assert subject.step == 6
    assert F.relu(gpunn.tensor([1.0], device=DEVICE)).tolist() == [1.0]


class Peeking(nn.Module):
    def forward(self, x: Any) -> Any:
        return x if x.sum().item() != 0 else -x


class Noisy(nn.Module):
    def forward(self, x: Any) -> Any:
        return x + gpunn.rand(*x.shape, device=x.device)


class OwnGenerator(nn.Module):
    generator = gpunn.Generator(4)

    def forward(self, x: Any) -> Any:
        return F.dropout(x, 0.5, generator=self.generator)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (Peeking(), "cuda_graph: a captured step cannot read numbers from the device"),
        (nn.BatchNorm2d(1, momentum=None), "cuda_graph: a captured step cannot read numbers from the device"),
        (Noisy(), "cuda_graph: a captured step can repeat no other random numbers than those of nn.Dropout"),
        (OwnGenerator(), "cuda_graph: a captured step can repeat no other random numbers than those of nn.Dropout"),
    ],
    ids=["peeking", "batchnorm", "noisy", "generator"],
)
def test_what_cannot_be_repeated(layer: nn.Module, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(cuda_graph=True, net=nn.Sequential(layer, *network())).fit(loader(), epochs=1)
    assert backends.get(DEVICE).recording is None
    assert gpunn.ones(1, device=DEVICE).item() == 1.0


def test_misuse() -> None:
    net = network()
    with pytest.raises(ConfigError, match="cuda_graph: expected a CUDA device, got 'cpu'"):
        Trainer(net, nn.CrossEntropyLoss(), optim.SGD(net.parameters()), cuda_graph=True)
    with pytest.raises(ConfigError, match="cuda_graph: amp 'fp16' asks the host about every step's gradients"):
        build(cuda_graph=True, amp="fp16")
