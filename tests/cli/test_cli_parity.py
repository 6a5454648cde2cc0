"""`gpunn parity` and `gpunn gradcheck` as a user types them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import backends
from backends.cpu import NumpyBackend
from gpunn.cli.main import main

LENET = ["parity", "lenet5", "--devices", "cpu", "--batch-size", "2", "--image-size", "16"]


def wrong_pooling(self: Any, saved: Any, dout: Any) -> Any:
    (dx,) = super(NumpyBackend, self).max_pool2d_backward(saved, dout)
    return (np.roll(dx, 1, axis=3),)


def test_parity_passes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(LENET) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["operation", "shape", "budget", "cpu"]
    assert lines[1] == "forward"
    assert lines[2].split()[:3] == ["features.0", "conv2d", "2x6x16x16"]
    assert lines[2].endswith(" ok")
    assert lines[-3] == "cpu: 28 of 28 operations within their budget"
    assert lines[-2].startswith("cpu: the step as a whole: loss 2.")
    assert lines[-1] == "parity: cpu agrees with the reference"
    assert max(map(len, lines)) <= 100


def test_several_devices(capsys: pytest.CaptureFixture[str]) -> None:
    argv = [
        "parity",
        "mlp",
        "--devices",
        "cpu,reference",
        "--image-size",
        "8",
        "--optimizer",
        "adam",
        "--dtype",
        "float64",
    ]
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].split()[-2:] == ["cpu", "reference"]
    assert "adam_" in out
    assert out.splitlines()[-1] == "parity: cpu, reference agree with the reference"


def test_the_default_devices(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "available", lambda: ["cpu", "reference"])
    assert main(["parity", "mlp", "--image-size", "4"]) == 0
    assert "cpu agrees" in capsys.readouterr().out


def test_a_difference_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NumpyBackend, "max_pool2d_backward", wrong_pooling)
    assert main(LENET) == 1
    captured = capsys.readouterr()
    last = captured.out.splitlines()[-1]
    assert last.startswith("parity: cpu differs first in features.5 max_pool2d, backward, gradient of x: error ")
    assert captured.err == ""


def test_json(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main([*LENET, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is True
    assert report["first_difference"] == {"cpu": None}
    first = report["operations"][0]
    assert (first["module"], first["operation"], first["phase"]) == ("features.0", "conv2d", "forward")
    assert first["quantities"][0]["errors"]["cpu"] <= first["quantities"][0]["budget"]
    monkeypatch.setattr(NumpyBackend, "max_pool2d_backward", wrong_pooling)
    assert main([*LENET, "--json"]) == 1
    report = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert report["ok"] is False
    assert report["first_difference"]["cpu"].startswith("features.5 max_pool2d, backward")


def test_the_seed_makes_the_step(capsys: pytest.CaptureFixture[str]) -> None:
    texts = []
    for seed in ("0", "0", "1"):
        main([*LENET, "--seed", seed])
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.parametrize(("argv", "message"), [
    (["parity"], "the following arguments are required: MODEL"),
    (["parity", "lenet"], "MODEL: unknown 'lenet': did you mean lenet5?"),
    (["parity", "mlp", "--devices", "cpu,gpu"], "unknown device 'gpu'"),
    (["parity", "mlp", "--devices", "cpu,cpu"], "--devices: expected different devices, got 'cpu,cpu'"),
    (["parity", "mlp", "--devices", "cuda:99"], "device 'cuda:99' cannot be had"),
    (["parity", "mlp", "--dtype", "int8"], "--dtype: unknown 'int8'"),
    (["parity", "mlp", "--optimizer", "sdg"], "--optimizer: unknown 'sdg': did you mean sgd?"),
    (["parity", "mlp", "--batch-size", "0"], "--batch-size: expected a whole number, 1 or more, got '0'"),
    (["parity", "mlp", "--seed", "x"], "--seed: expected a whole number of at least 0, got 'x'"),
    (["parity", "alexnet", "--image-size", "32"], "alexnet: images of 32x32 pixels are too small"),
    (["parity", "mlp", "--device", "cpu"], "unknown option --device: did you mean --devices?"),
    (["gradcheck", "lenet"], "MODEL: unknown 'lenet': did you mean lenet5?"),
    (["gradcheck", "mlp", "--device", "gpu"], "unknown device 'gpu'"),
])  # fmt: skip
def test_wrong_use_is_one_line(capsys: pytest.CaptureFixture[str], argv: list[str], message: str) -> None:
    assert main(argv) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("gpunn: error: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err


@pytest.mark.parametrize("command", ["parity", "gradcheck"])
def test_help_shows_an_example(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert main([command, "--help"]) == 0
    assert f"  gpunn {command} " in capsys.readouterr().out.split("examples:")[1]


def test_gradcheck(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    argv = ["gradcheck", "small_cnn", "--batch-size", "2", "--image-size", "8"]
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0] == "small_cnn"
    assert out.splitlines()[-1] == "gradcheck: all gradients are right"
    assert {"conv2d", "batch_norm", "relu", "max_pool2d", "linear", "cross_entropy"} <= set(out.split())
    monkeypatch.setattr(NumpyBackend, "max_pool2d_backward", wrong_pooling)
    assert main(argv) == 1
    out = capsys.readouterr().out
    assert out.splitlines()[-1].startswith("gradcheck: wrong in small_cnn ")
    assert "max_pool2d" in out.splitlines()[-1]
    assert "relu" not in out.splitlines()[-1]
