"""The options of `gpunn train`: flags, TOML, defaults, what goes together, and every message of a wrong one."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from gpunn.cli import config, train
from gpunn.cli.config import TrainConfig
from gpunn.errors import ConfigError


def parsed(*argv: str) -> dict[str, Any]:
    return config.from_flags(vars(train.parser().parse(argv)))


def toml(tmp_path: Path, text: str) -> dict[str, Any]:
    path = tmp_path / "file.toml"
    path.write_text(text)
    return config.from_toml(path)


def test_only_given_flags_are_there() -> None:
    assert parsed() == {}
    assert parsed("--lr", "1", "--epochs=3", "--no-nesterov", "--resume") == {
        "lr": 1.0, "epochs": 3, "nesterov": False, "resume": True,
    }  # fmt: skip


def test_every_option_is_a_flag_and_a_key_with_the_same_meaning(tmp_path: Path) -> None:
    values: dict[str, Any] = {
        "model": "lenet5", "data": "mnist", "data_dir": "d", "download": True, "image_size": 32, "device": "cpu",
        "amp": "bf16", "cuda_graph": True,
        "epochs": 9, "batch_size": 64, "optimizer": "rmsprop", "lr": 0.5, "momentum": 0.5, "nesterov": True,
        "weight_decay": 0.0, "schedule": "step", "warmup": 0.5, "schedule_epochs": 2, "schedule_factor": 0.5,
        "label_smoothing": 0.0, "augment": "flip,cutout", "clip_norm": 1.0, "validation": 0.25, "early_stopping": 4,
        "checkpoint_every": 7, "seed": 3, "out": "o", "resume": True,
    }  # fmt: skip
    assert values.keys() == config.OPTIONS.keys() - {"config"}
    assert toml(tmp_path, tomli_w.dumps(values)) == values
    flags = [
        part
        for name, value in values.items()
        for part in ([config.flag(name)] if value is True else [config.flag(name), str(value)])
    ]
    assert parsed(*flags) == values


def test_help_shows_every_flag_and_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        train.parser().parse(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert "examples:\n  gpunn train" in text
    for name in config.OPTIONS:
        assert config.flag(name) in text


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--epoch", "3"], r"unknown option --epoch: did you mean --epochs\?"),
        (["--bach-size=3"], r"unknown option --bach-size: did you mean --batch-size\?"),
        (["--xyzzy"], r"unknown option --xyzzy; gpunn train --help"),
        (["mnist"], "unexpected argument 'mnist'"),
        (["--epochs"], "--epochs: expected one argument"),
        (["--epochs", "0"], "--epochs: expected a whole number, 1 or more, got 0"),
        (["--epochs", "2.5"], "--epochs: expected a whole number, 1 or more, got '2.5'"),
        (["--lr", "fast"], "--lr: expected a number above 0, got 'fast'"),
        (["--lr", "nan"], "--lr: expected a number above 0, got nan"),
        (["--lr", "-1"], "--lr: expected a number above 0, got -1.0"),
        (["--validation", "1"], "--validation: expected a number from 0 to below 1, got 1.0"),
        (["--optimizer", "adamm"], r"--optimizer: expected one of sgd, adam, .*got 'adamm': did you mean adam\?"),
        (["--schedule", "cosin"], r"--schedule: .*did you mean cosine\?"),
        (["--augment", "flop"], r"--augment: expected auto, none, or some of flip.*did you mean flip\?"),
        (["--augment", "flip,none"], "--augment: expected"),
        (["--seed", "-1"], "--seed: expected a whole number from 0"),
    ],
)
def test_wrong_flags(argv: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parsed(*argv)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch = 3", r"file\.toml: unknown key 'epoch': did you mean epochs\?"),
        ("[train]\nepochs = 3", r"unknown key 'train'"),
        ("config = 'a'", "unknown key 'config'; gpunn train --help"),
        ("confg = 'a'", "unknown key 'confg'; gpunn train --help"),
        ("epochs = '3'", r"file\.toml: epochs: expected a whole number, 1 or more, got '3'"),
        ("epochs = 3.0", "epochs: expected a whole number"),
        ("epochs = true", "epochs: expected a whole number"),
        ("lr = true", "lr: expected a number above 0, got True"),
        ("lr = 'high'", "lr: expected a number above 0, got 'high'"),
        ("download = 1", "download: expected true or false, got 1"),
        ("model = 3", "model: expected a text in UTF-8, got 3"),
        ("optimizer = 'sdg'", r"optimizer: expected one of .*did you mean sgd\?"),
        ("augment = ['flip', 3]", "augment: expected"),
        ("augment = ['flip', 'crap']", "augment: expected"),
        ("epochs = ", r"file\.toml is not a TOML file"),
        ("epochs = 3\nepochs = 4", "is not a TOML file"),
    ],
)
def test_wrong_toml(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        toml(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_toml_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the configuration .*none\.toml: No such file"):
        config.from_toml(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="cannot read the configuration"):
        config.from_toml(tmp_path)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is not a TOML file"):
        config.from_toml(tmp_path / "binary.toml")


def test_toml_may_spell_keys_as_flags_and_lists(tmp_path: Path) -> None:
    assert toml(tmp_path, "batch-size = 4\nlr = 1\naugment = ['crop', 'flip', 'crop']") == {
        "batch_size": 4, "lr": 1.0, "augment": "flip,crop",
    }  # fmt: skip
    assert toml(tmp_path, "augment = []") == {"augment": "none"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"optimizer": "adam", "momentum": 0.9},
            "--momentum has a meaning only with --optimizer sgd or rmsprop, not with adam",
        ),
        ({"optimizer": "adam", "nesterov": True}, "--nesterov has a meaning only with --optimizer sgd"),
        (
            {"schedule_factor": 0.5},
            "--schedule-factor has a meaning only with --schedule step or exponential or plateau",
        ),
        ({"schedule": "cosine", "warmup": 0.5}, "--warmup has a meaning only with --schedule onecycle"),
        ({"momentum": 0.0, "nesterov": True}, "--nesterov needs a momentum"),
        ({"early_stopping": 3}, "--early-stopping goes by a validation loss.*--validation 0.1"),
        ({"schedule": "plateau"}, "--schedule plateau goes by a validation loss"),
    ],
)
def test_what_does_not_go_together(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config.build(options)


@pytest.mark.parametrize(
    ("options", "has_batchnorm", "expected"),
    [
        ({}, True, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4, "warmup": 0.25}),
        ({}, False, {"lr": 0.03}),
        ({"lr": 0.7}, False, {"lr": 0.7}),
        ({"momentum": 0.0}, True, {"momentum": 0.0, "nesterov": False}),
        ({"optimizer": "adam"}, True, {"lr": 0.001, "momentum": None, "nesterov": None, "weight_decay": 0.0}),
        ({"optimizer": "adamw"}, True, {"weight_decay": 0.01}),
        ({"optimizer": "rmsprop"}, True, {"momentum": 0.0, "nesterov": None}),
        ({"optimizer": "adagrad"}, True, {"lr": 0.01}),
        ({"schedule": "step", "epochs": 9}, True, {"schedule_epochs": 3, "schedule_factor": 0.1, "warmup": None}),
        ({"schedule": "step", "epochs": 1}, True, {"schedule_epochs": 1}),
        ({"schedule": "exponential"}, True, {"schedule_epochs": None, "schedule_factor": 0.9}),
        ({}, True, {"augment": "flip"}),
        ({"data": "mnist"}, True, {"augment": "none"}),
        ({"data": "cifar10"}, True, {"augment": "flip,crop"}),
        ({"augment": "crop"}, True, {"augment": "crop"}),
    ],
)
def test_rules(options: dict[str, Any], has_batchnorm: bool, expected: dict[str, Any]) -> None:
    resolved = config.resolved(config.build(options), has_batchnorm=has_batchnorm)
    assert {name: getattr(resolved, name) for name in expected} == expected
    # What a rule has set may be given as an option: the run's config.toml can start another run.
    written = tomllib.loads(tomli_w.dumps({k: v for k, v in resolved.to_toml().items() if v is not None}))
    assert config.resolved(config.build(written), has_batchnorm=has_batchnorm) == resolved


def run_config(**options: Any) -> dict[str, Any]:
    resolved = config.resolved(config.build(options), has_batchnorm=True)
    return {name: value for name, value in resolved.to_toml().items() if value is not None}


@pytest.mark.parametrize(
    ("before", "given"),
    [
        ({}, {"lr": 0.1}),
        ({"augment": "cutout"}, {"augment": "auto"}),
        ({}, {"device": "cpu", "data_dir": "elsewhere", "download": True, "checkpoint_every": 3}),
        ({"schedule": "none"}, {"epochs": 20}),
        ({"schedule": "step"}, {"epochs": 20}),
    ],
)
def test_what_a_resumed_run_may_be_given(before: dict[str, Any], given: dict[str, Any]) -> None:
    resumed = config.resumed(run_config(**before), {**given, "out": "r", "resume": True}, "r")
    expected = {**run_config(**before), **{k: v for k, v in given.items() if v != "auto"}, "out": "r", "resume": True}
    assert {k: v for k, v in vars(resumed).items() if v is not None} == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"lr": 0.2}, r"--lr 0\.2 contradicts the run in r, which has 0\.1; leave it out, or .*--out"),
        ({"model": "mlp"}, "--model mlp contradicts the run in r, which has small_cnn"),
        ({"epochs": 20}, r"--epochs 20 contradicts .* has 8 \(its schedule onecycle was laid out for 8 epochs\)"),
        ({"nesterov": False}, "--nesterov False contradicts"),
        ({"amp": "fp16"}, "--amp fp16 contradicts the run in r, which has none"),
        ({"clip_norm": 1.0}, "--clip-norm 1.0 contradicts the run in r, which has None"),
    ],
)
def test_what_a_resumed_run_may_not_be_given(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config.resumed(run_config(), given, "r")


def test_defaults_are_those_of_the_dataclass() -> None:
    assert config.build({}) == TrainConfig()
    assert (TrainConfig.model, TrainConfig.data, TrainConfig.epochs, TrainConfig.device) == (
        "small_cnn", "fashion-mini", 8, "auto",
    )  # fmt: skip
