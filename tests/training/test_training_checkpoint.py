"""Checkpoints: the same bits back, whole files or none, and one clear line for every file that is no checkpoint."""

from __future__ import annotations

import json
import math
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from gpunn import nn, optim
from gpunn.errors import CheckpointError
from gpunn.training import Checkpoint, load, load_into, load_weights, save, save_weights


def sample() -> Checkpoint:
    numbers = np.random.default_rng(0)
    return Checkpoint(
        model={
            "features.0.weight": numbers.standard_normal((4, 3, 3, 3)).astype(np.float32),
            "double": numbers.standard_normal(5),
            "half": numbers.standard_normal(5).astype(np.float16),
            "num_batches_tracked": np.array(7, dtype=np.int64),
            "special": np.array([np.nan, np.inf, -np.inf, -0.0], dtype=np.float32),
            "transposed": numbers.standard_normal((3, 4)).T,
            "empty": np.zeros((0, 3), dtype=np.float32),
        },
        optimizer={
            "state": {0: {"momentum_buffer": np.arange(6.0).reshape(2, 3), "step": 3}, 2: {}},
            "param_groups": [{"lr": 0.1, "betas": (0.9, 0.999), "nesterov": True, "params": [0, 1, 2]}],
        },
        training={"epoch": 2, "history": [{"train_loss": 0.1 + 0.2}], "best": math.inf, "none": None},
        description={"classes": ["T-shirt/top", "Ärmel"]},
    )


def assert_same_arrays(left: dict, right: dict) -> None:
    assert left.keys() == right.keys()
    for name, array in left.items():
        assert array.dtype == right[name].dtype
        assert array.shape == right[name].shape
        assert array.tobytes() == right[name].tobytes(), name


def test_round_trip_keeps_every_bit(tmp_path: Path) -> None:
    path, before = tmp_path / "a.safetensors", sample()
    save(path, before)
    after = load(path)
    assert_same_arrays(before.model, after.model)
    assert after.training == before.training
    assert after.training["history"][0]["train_loss"].hex() == (0.1 + 0.2).hex()
    assert after.description == before.description
    assert after.optimizer is not None
    assert set(after.optimizer["state"]) == {0, 2}
    assert after.optimizer["state"][0]["step"] == 3
    np.testing.assert_array_equal(after.optimizer["state"][0]["momentum_buffer"], np.arange(6.0).reshape(2, 3))
    assert after.optimizer["param_groups"] == [
        {"lr": 0.1, "betas": [0.9, 0.999], "nesterov": True, "params": [0, 1, 2]}
    ]


def test_without_the_optimizer(tmp_path: Path) -> None:
    save(tmp_path / "a.safetensors", sample())
    read = load(tmp_path / "a.safetensors", with_optimizer=False)
    assert read.optimizer is None
    assert_same_arrays(sample().model, read.model)


def test_a_module_and_its_optimizer_round_trip(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.PReLU(), nn.Linear(4, 2))
    optimizer = optim.Adam(net.parameters())
    for parameter in net.parameters():
        parameter.grad = parameter.detach()
    optimizer.step()
    save(tmp_path / "a.safetensors", Checkpoint(net.state_dict(), optimizer.state_dict()))
    other = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.PReLU(), nn.Linear(4, 2))
    other_optimizer = optim.Adam(other.parameters(), lr=0.5)
    read = load(tmp_path / "a.safetensors")
    load_into(other, read.model, "a")
    other_optimizer.load_state_dict(read.optimizer)
    for left, right in zip(net.parameters(), other.parameters(), strict=True):
        np.testing.assert_array_equal(left.numpy(), right.numpy())
    assert other_optimizer.param_groups[0]["lr"] == 0.001
    np.testing.assert_equal(optimizer.state_dict(), other_optimizer.state_dict())


def assert_one_line_naming(path: Path, caught: pytest.ExceptionInfo) -> None:
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert ";" in message or ":" in message  # says what to do


def test_cut_short_at_any_length(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.safetensors", tmp_path / "cut.safetensors"
    save(whole, sample())
    content = whole.read_bytes()
    lengths = {*range(24), *range(24, len(content), 37), len(content) - 8, len(content) - 1}
    for length in sorted(lengths):
        cut.write_bytes(content[:length])
        with pytest.raises(CheckpointError) as caught:
            load(cut)
        assert_one_line_naming(cut, caught)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 100,
        b"\xff" * 100,
        b"GIF89a" + b"x" * 500,
        pickle.dumps({"a": [1, 2]}),
        b"{}",
        b"\x02" + b"\0" * 7 + b"{}",
    ],
)
def test_foreign_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "foreign.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        load(path)
    assert_one_line_naming(path, caught)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        load(tmp_path / "none.safetensors")
    with pytest.raises(CheckpointError, match="is a folder"):
        load(tmp_path)


@pytest.mark.parametrize("document", ["", "[]", "{}", '{"format_version": 1}', '{"format_version": "x"}', "null"])
def test_damaged_description(tmp_path: Path, document: str) -> None:
    path = tmp_path / "damaged.safetensors"
    save_file({"model/a": np.zeros(2)}, path, {"gpunn": document})
    with pytest.raises(CheckpointError) as caught:
        load(path)
    assert_one_line_naming(path, caught)


def test_format_of_the_future(tmp_path: Path) -> None:
    path = tmp_path / "new.safetensors"
    save_file({"model/a": np.zeros(2)}, path, {"gpunn": json.dumps({"format_version": 99, "gpunn_version": "9.9"})})
    with pytest.raises(CheckpointError, match=r"format 99, made by gpunn 9\.9.*upgrade"):
        load(path)


def test_unwritable_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    path = tmp_path / "file" / "folder" / "a.safetensors"
    with pytest.raises(CheckpointError, match="cannot write") as caught:
        save(path, sample())
    assert_one_line_naming(path, caught)


@pytest.mark.parametrize("function", ["replace", "fsync"])
def test_failing_to_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    path = tmp_path / "a.safetensors"
    save(path, sample())
    before = path.read_bytes()

    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, function, fail)
    with pytest.raises(CheckpointError, match="No space left"):
        save(path, Checkpoint({"other": np.ones(3)}))
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.safetensors"]


def test_plain_weights(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    save_weights(net, tmp_path / "weights.safetensors")
    read = load_weights(tmp_path / "weights.safetensors")
    assert set(read) == set(net.state_dict())
    np.testing.assert_array_equal(read["0.weight"], net[0].weight.numpy())
    with pytest.raises(CheckpointError, match="holds weights only"):
        load(tmp_path / "weights.safetensors")


def test_weights_of_a_checkpoint(tmp_path: Path) -> None:
    save(tmp_path / "a.safetensors", sample())
    assert_same_arrays(load_weights(tmp_path / "a.safetensors"), sample().model)


def written_as(folder: Path, kind: str, content: bytes) -> Path:
    """A file of somebody else's with two numbers of a type of which NumPy may know nothing."""
    header = {"a.weight": {"dtype": kind, "shape": [2], "data_offsets": [0, len(content)]}}
    encoded = json.dumps(header).encode()
    path = folder / "foreign.safetensors"
    path.write_bytes(len(encoded).to_bytes(8, "little") + encoded + content)
    return path


def test_bfloat16_as_many_files_of_others_hold_it(tmp_path: Path) -> None:
    pytest.importorskip("ml_dtypes")
    path = written_as(tmp_path, "BF16", bytes.fromhex("803f20c0"))
    weight = load_weights(path)["a.weight"]
    assert weight.dtype.name == "bfloat16"
    assert weight.tolist() == [1.0, -2.5]
    net = nn.Linear(2, 1, bias=False)
    net.load_state_dict({"weight": weight.reshape(1, 2)})
    assert net.weight.tolist() == [[1.0, -2.5]]


def test_types_that_numpy_has_not(tmp_path: Path) -> None:
    path = written_as(tmp_path, "F8_E4M3", bytes(2))
    with pytest.raises(CheckpointError, match=r"a\.weight is of type F8_E4M3, which NumPy has not; convert") as caught:
        load_weights(path)
    assert_one_line_naming(path, caught)


def test_weights_of_another_model(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"w\.safetensors does not fit this model.*1\.weight") as caught:
        load_into(
            nn.Sequential(nn.Linear(2, 2)),
            nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)).state_dict(),
            "w.safetensors",
        )
    assert "\n" not in str(caught.value)
