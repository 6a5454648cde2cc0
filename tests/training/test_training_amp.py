"""Training in mixed precision: the loss scale, float32 parameters, and resuming with the same bits."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpunn
from gpunn import data, nn, optim
from gpunn.errors import CheckpointError, ConfigError
from gpunn.training import Callback, GradScaler, Trainer, load

pytest.importorskip("ml_dtypes")


def images(count: int = 40) -> data.Dataset:
    """The class is the bright half."""
    numbers = np.random.default_rng(0)
    labels = numbers.integers(0, 2, count)
    pixels = numbers.integers(0, 100, (count, 1, 6, 6))
    pixels[labels == 0, :, :3] += 120
    pixels[labels == 1, :, 3:] += 120
    return data.Dataset(pixels.astype(np.uint8), labels, ["up", "down"], "halves")


def loader() -> data.DataLoader:
    return data.DataLoader(images(), 8, shuffle=True)


def build(device: str, amp: str | None, **options: Any) -> Trainer:
    gpunn.manual_seed(1)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2), nn.Linear(64, 2)
    ).to(device)
    optimizer = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    return Trainer(net, nn.CrossEntropyLoss(), optimizer, amp=amp, progress="none", **options)


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_it_learns_and_parameters_stay_float32(device: str, amp: str) -> None:
    seen: list[str] = []
    subject = build(device, amp)
    subject.net[0].register_forward_hook(lambda module, inputs, output: seen.append(output.dtype.name))
    history = subject.fit(loader(), loader(), epochs=4)
    assert history[-1]["validation_accuracy"] == 1.0
    assert seen[:5] == [{"bf16": "bfloat16", "fp16": "float16"}[amp]] * 5
    assert seen[5:10] == ["float32"] * 5  # evaluation
    assert all(p.dtype == gpunn.float32 for p in subject.net.parameters())
    for state in subject.optimizer.state.values():
        assert state["momentum_buffer"].dtype == "float32"


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_a_step_is_close_to_that_in_float32(device: str, amp: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # The usual one begins where this net's gradients overflow, and leaves steps out.
    monkeypatch.setattr("gpunn.training.step.GradScaler", lambda: GradScaler(init_scale=2.0**8))
    eps = {"bf16": 2.0**-8, "fp16": 2.0**-11}[amp]
    subject, exact = build(device, amp, clip_norm=0.5), build(device, None, clip_norm=0.5)
    for trainer in (subject, exact):
        gpunn.manual_seed(2)
        trainer.fit(data.DataLoader(images(), 8), epochs=1)
    for p, q in zip(subject.net.parameters(), exact.net.parameters(), strict=True):
        # 5 steps, sums of up to 64 products, and the rounding of scores and activations.
        np.testing.assert_allclose(p.numpy(), q.numpy(), atol=5 * 8 * eps * max(abs(q.numpy()).max(), 0.1))


class Killed(Exception):  # noqa: N818 - no error
    pass


class KillAt(Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, trainer: Trainer) -> None:
        if trainer.step == self.step:
            raise Killed


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_resumed_with_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, amp: str) -> None:
    """The scale moves in both directions while it lasts."""
    monkeypatch.setattr("gpunn.training.step.GradScaler", lambda: GradScaler(init_scale=2.0**26, growth_interval=3))
    monkeypatch.setattr("gpunn.training.trainer.draw_curves", lambda *arguments, **options: True)
    scales: list[float] = []

    class Watch(Callback):
        def on_step_end(self, trainer: Trainer) -> None:
            scales.append(trainer._step.scaler.get_scale() if trainer._step.scaler else 1.0)

    build("cpu", amp, run_directory=tmp_path / "whole", callbacks=[Watch()]).fit(loader(), epochs=3)
    if amp == "fp16":
        changes = np.diff(np.log2([2.0**26, *scales]))
        assert {-1.0, 1.0} <= set(changes)
    with pytest.raises(Killed):
        build("cpu", amp, run_directory=tmp_path / "parts", checkpoint_every=4, callbacks=[KillAt(9)]).fit(
            loader(), epochs=3
        )
    build("cpu", amp, run_directory=tmp_path / "parts").fit(loader(), epochs=3, resume=True)
    whole, parts = (load(tmp_path / name / "checkpoints" / "last.safetensors") for name in ("whole", "parts"))
    for name, array in whole.model.items():
        assert array.tobytes() == parts.model[name].tobytes(), name
    assert whole.training["scaler"] == parts.training["scaler"]
    assert (whole.training["scaler"] is not None) == (amp == "fp16")


def test_a_checkpoint_without_a_scale(tmp_path: Path) -> None:
    build("cpu", None, run_directory=tmp_path).fit(loader(), epochs=1)
    with pytest.raises(CheckpointError, match=r"does not fit this trainer .*GradScaler: expected a state with scale"):
        build("cpu", "fp16", run_directory=tmp_path).fit(loader(), epochs=2, resume=True)


def gradient_of(device: str, value: float) -> tuple[Any, Any]:
    parameter = gpunn.tensor([1.0, 2.0], device=device, requires_grad=True)
    parameter.grad = gpunn.tensor([1.0, value], device=device)
    return parameter, optim.SGD([parameter], lr=0.5)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_a_step_that_overflowed_is_left_out(device: str, value: float) -> None:
    scaler = GradScaler(init_scale=8.0)
    parameter, optimizer = gradient_of(device, value)
    assert scaler.step(optimizer) is False
    scaler.update()
    assert parameter.tolist() == [1.0, 2.0]
    assert scaler.get_scale() == 4.0


def test_a_step_that_did_not(device: str) -> None:
    scaler = GradScaler(init_scale=8.0, growth_interval=2)
    for scale in (8.0, 16.0):
        parameter, optimizer = gradient_of(device, 3e38)  # its square is beyond float32, itself it is not
        parameter.grad = gpunn.tensor([1.0 * scaler.get_scale(), 3e38], device=device)
        assert scaler.step(optimizer) is True
        assert parameter.tolist()[0] == 0.5
        scaler.update()
        assert scaler.get_scale() == scale


def test_when_the_scale_changes() -> None:
    """Doubled after two good steps in a row, counted anew behind every change."""
    scaler, scales = GradScaler(init_scale=8.0, growth_interval=2), []
    for value in (1.0, 1.0, 1.0, 1.0, 1.0, np.inf, 1.0, np.nan, 1.0, 1.0):
        _, optimizer = gradient_of("cpu", value)
        scaler.step(optimizer)
        scaler.update()
        scales.append(scaler.get_scale())
    assert scales == [8, 16, 16, 32, 32, 16, 16, 8, 8, 16]


def test_the_loss_is_scaled(device: str) -> None:
    """A gradient of 1e-8 on its way through float16, whose smallest number is 6e-8."""
    x = gpunn.tensor([1.0], device=device, requires_grad=True)
    optimizer = optim.SGD([x], lr=1.0)
    scaler = GradScaler()

    def loss() -> Any:
        return (x.half() * 1e-3).float().sum() * 1e-5

    loss().backward()
    assert x.grad is not None
    assert x.grad.item() == 0
    optimizer.zero_grad()
    scaler.scale(loss()).backward()
    scaler.unscale_(optimizer)
    assert x.grad.item() == pytest.approx(1e-8, rel=2 * 2.0**-10)
    with pytest.raises(RuntimeError, match="unscale_ was called already"):
        scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    with pytest.raises(RuntimeError, match=r"update\(\) comes after step\(\)"):
        scaler.update()


def test_switched_off(device: str) -> None:
    scaler = GradScaler(enabled=False)
    parameter, optimizer = gradient_of(device, np.inf)
    loss = gpunn.tensor([3.0], device=device)
    assert scaler.scale(loss) is loss
    assert scaler.get_scale() == 1.0
    assert scaler.step(optimizer) is True
    scaler.update()
    assert parameter.tolist() == [0.5, -np.inf]


def test_misuse(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="amp: expected None, 'bf16' or 'fp16', got 'half'"):
        build("cpu", "half")
    net = nn.Linear(2, 2).double()
    with pytest.raises(ConfigError, match="amp: expected a net of float32, got one of float64"):
        Trainer(net, nn.MSELoss(), optim.SGD(net.parameters()), amp="bf16")
    with pytest.raises(ValueError, match="GradScaler: expected init_scale > 0, growth_factor > 1"):
        GradScaler(growth_factor=0.5)
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(ConfigError, match="amp: bfloat16 needs the package ml_dtypes: pip install ml_dtypes"):
        build("cpu", "bf16")
