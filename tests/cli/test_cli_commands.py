"""The commands as a user types them: what they print, leave behind and answer to wrong use."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import backends
import gpunn
from backends import emulator
from gpunn.cli.main import main
from gpunn.training import load

FINAL_LINE = re.compile(
    r"test_loss=(\d+\.\d+) test_accuracy=(\d\.\d+) epochs=(\d+) seconds=(\d+\.\d) device=(cpu|cuda:\d+)"
)


@dataclass
class Result:
    code: int
    out: str
    err: str

    @property
    def last_line(self) -> dict[str, str]:
        line = self.out.rstrip("\n").splitlines()[-1]
        assert FINAL_LINE.fullmatch(line), line
        return dict(part.split("=") for part in line.split())


class Shell:
    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *argv: object) -> Result:
        self.capsys.readouterr()
        code = main([str(argument) for argument in argv])
        captured = self.capsys.readouterr()
        return Result(code, captured.out, captured.err)

    def fails(self, *argv: object) -> str:
        """The message of a command that is used wrongly: one line, exit code 2, nothing on standard output."""
        result = self(*argv)
        assert result.code == 2
        assert result.err.startswith("gpunn: error: ")
        assert result.err.count("\n") == 1
        assert "Traceback" not in result.err
        return result.err


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.chdir(tmp_path)
    # They take longer than the training here. The run of the fixture `run` has its curves.
    monkeypatch.setattr("gpunn.training.trainer.draw_curves", lambda *arguments, **options: True)
    return Shell(capsys)


def write_images(root: Path, classes: Sequence[str] = ("dark", "bright", "split"), mode: str = "L") -> Path:
    """Images of 8x8 pixels in a folder a class, so different that a network learns them at once."""
    numbers = np.random.default_rng(0)
    for part, count in (("train", 24), ("test", 6)):
        for label, name in enumerate(classes):
            (root / part / name).mkdir(parents=True)
            for index in range(count):
                pixels = numbers.integers(0, 40, (8, 8, 3)).astype(np.uint8)
                if label == 1:
                    pixels += 200
                elif label == 2:
                    pixels[:4] += 200
                Image.fromarray(pixels).convert(mode).save(root / part / name / f"{index}.png")
    return root


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("pictures"))


def tiny(pictures: Path, *more: object) -> list[object]:
    return ["train", "--data", f"folder:{pictures}", "--model", "mlp", "--epochs", 2, "--batch-size", 16,
            "--augment", "none", "--device", "cpu", *more]  # fmt: skip


@pytest.fixture(scope="module")
def run(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was trained; tests only read it."""
    out = tmp_path_factory.mktemp("runs") / "first"
    assert main([str(part) for part in tiny(pictures, "--out", out)]) == 0
    return out


def test_train_leaves_a_run_and_says_how_good_it_is(shell: Shell, pictures: Path) -> None:
    result = shell(*tiny(pictures, "--out", "run"))
    assert result.code == 0
    assert result.last_line["epochs"] == "2"
    assert result.last_line["device"] == "cpu"
    assert float(result.last_line["test_accuracy"]) > 0.9
    assert "model   mlp: " in result.out
    assert "device  cpu: as asked" in result.out
    records = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in records] == [1, 2]
    assert f"{records[-1]['test_loss']:.6f}" == result.last_line["test_loss"]
    assert tomllib.loads(Path("run/config.toml").read_text())["momentum"] == 0.9


def test_mixed_precision(shell: Shell, pictures: Path) -> None:
    pytest.importorskip("ml_dtypes")
    result = shell(*tiny(pictures, "--out", "run", "--amp", "bf16"))
    assert result.code == 0
    assert float(result.last_line["test_accuracy"]) > 0.9
    assert tomllib.loads(Path("run/config.toml").read_text())["amp"] == "bf16"
    assert "--amp fp16 contradicts" in shell.fails("train", "--resume", "--out", "run", "--amp", "fp16")


def test_a_captured_step_gives_the_figures_of_a_plain_one(shell: Shell, pictures: Path) -> None:
    if backends.missing_gpu() and emulator.missing():
        pytest.skip(str(emulator.missing()))
    device = "cuda-emulated" if backends.missing_gpu() else "cuda:0"
    figures = []
    for graph in ("--no-cuda-graph", "--cuda-graph"):
        command = [
            *tiny(pictures),
            "--model",
            "lenet5",
            "--image-size",
            12,
            "--device",
            device,
            "--out",
            f"run{graph}",
            graph,
        ]
        assert shell(*command).code == 0
        records = [json.loads(line) for line in Path(f"run{graph}/metrics.jsonl").read_text().splitlines()]
        figures.append([(record["train_loss"], record["test_loss"]) for record in records])
    assert figures[0] == figures[1]


def test_a_captured_step_needs_a_gpu(shell: Shell, pictures: Path) -> None:
    message = shell.fails(*tiny(pictures, "--cuda-graph", "--out", "run"))
    assert "cuda_graph: expected a CUDA device, got 'cpu'; leave cuda_graph out" in message
    assert not Path("run").exists()


def test_what_is_in_a_run(run: Path) -> None:
    names = sorted(str(path.relative_to(run)) for path in run.rglob("*") if path.is_file())
    assert names == [
        "checkpoints/best.safetensors", "checkpoints/last.safetensors", "config.toml", "curves.png", "metrics.jsonl",
    ]  # fmt: skip


def test_runs_are_numbered(shell: Shell, pictures: Path) -> None:
    shutil.copytree(pictures, "pictures")
    for _ in range(2):
        assert shell(*tiny(Path("pictures"))).code == 0
    assert sorted(os.listdir("runs")) == ["folder-pictures-mlp-1", "folder-pictures-mlp-2"]


def test_the_same_command_gives_the_same_figures(shell: Shell, pictures: Path, run: Path) -> None:
    result = shell(*tiny(pictures, "--out", "again"))
    first, again = (
        [json.loads(line)["train_loss"] for line in (path / "metrics.jsonl").read_text().splitlines()]
        for path in (run, Path("again"))
    )
    assert first == again
    assert result.code == 0


def test_eval_gives_the_figures_of_train(shell: Shell, pictures: Path) -> None:
    trained = shell(*tiny(pictures, "--out", "run")).last_line
    for path in ("run", "run/checkpoints/last.safetensors"):
        measured = shell("eval", path, "--device", "cpu").last_line
        for name in ("test_loss", "test_accuracy", "epochs", "device"):
            assert measured[name] == trained[name]
    other_batches = shell("eval", "run", "--batch-size", 5, "--device", "cpu").last_line
    assert other_batches["test_accuracy"] == trained["test_accuracy"]
    assert float(other_batches["test_loss"]) == pytest.approx(float(trained["test_loss"]), rel=1e-5)


def test_with_held_out_images_the_best_epoch_is_the_result(shell: Shell, pictures: Path) -> None:
    # A rate that ruins the network later: the best epoch is not the last.
    options = ("--validation", 0.25, "--schedule", "exponential", "--schedule-factor", 0.5, "--epochs", 4, "--lr", 0.5)
    result = shell(*tiny(pictures, "--out", "run", *options))
    assert result.code == 0
    records = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert "54 training and 18 validation images" in result.out
    best = min(records, key=lambda record: record["validation_loss"])
    assert result.last_line["epochs"] == str(best["epoch"])
    measured = shell("eval", "run", "--device", "cpu").last_line
    assert measured["test_loss"] == result.last_line["test_loss"]


def test_early_stopping(shell: Shell, pictures: Path) -> None:
    stopping = ("--validation", 0.25, "--early-stopping", 1, "--epochs", 60)
    result = shell(*tiny(pictures, "--out", "run", *stopping, "--schedule", "none", "--optimizer", "adam", "--lr", 0.3))
    assert result.code == 0
    assert len(Path("run/metrics.jsonl").read_text().splitlines()) < 60


@pytest.mark.parametrize(
    ("optimizer", "schedule"),
    [("sgd", "none"), ("adam", "step"), ("adamw", "cosine"), ("rmsprop", "exponential"), ("adagrad", "onecycle")],
)
def test_optimizers_and_schedules(shell: Shell, pictures: Path, optimizer: str, schedule: str) -> None:
    result = shell(*tiny(pictures, "--out", "run", "--optimizer", optimizer, "--schedule", schedule))
    assert result.code == 0, result.err
    assert float(result.last_line["test_accuracy"]) > 0.3


def test_all_augmentations(shell: Shell, pictures: Path) -> None:
    assert shell(*tiny(pictures, "--out", "run", "--augment", "flip,crop,cutout")).code == 0
    assert tomllib.loads(Path("run/config.toml").read_text())["augment"] == "flip,crop,cutout"


def test_flags_go_before_toml_and_toml_before_defaults(shell: Shell, pictures: Path) -> None:
    Path("options.toml").write_text("lr = 0.2\nseed = 7\nepochs = 1\nclip-norm = 3\n")
    result = shell(*tiny(pictures, "--out", "run", "--config", "options.toml", "--lr", 0.05))
    assert result.code == 0
    written = tomllib.loads(Path("run/config.toml").read_text())
    assert (written["lr"], written["seed"], written["epochs"], written["clip_norm"]) == (0.05, 7, 2, 3.0)
    assert written["batch_size"] == 16


def test_the_configuration_of_a_run_starts_the_same_run(shell: Shell, run: Path) -> None:
    result = shell("train", "--config", run / "config.toml", "--out", "copy")
    assert result.code == 0
    assert Path("copy/config.toml").read_text() == (run / "config.toml").read_text()
    assert_same_weights(Path("copy"), run)


def assert_same_weights(left: Path, right: Path) -> None:
    first, second = (load(path / "checkpoints" / "last.safetensors").model for path in (left, right))
    assert first.keys() == second.keys()
    for name, array in first.items():
        assert array.tobytes() == second[name].tobytes(), name


def test_a_run_is_not_overwritten(shell: Shell, pictures: Path, run: Path) -> None:
    before = (run / "checkpoints" / "last.safetensors").read_bytes()
    message = shell.fails(*tiny(pictures, "--out", run))
    assert "already holds a run" in message
    assert "--resume" in message
    assert "--out" in message
    assert (run / "checkpoints" / "last.safetensors").read_bytes() == before


def test_resuming_a_finished_run_says_its_result(shell: Shell, run: Path) -> None:
    copy = shutil.copytree(run, "copy")
    result = shell("train", "--resume", "--out", copy)
    assert result.code == 0
    assert result.last_line["epochs"] == "2"
    assert_same_weights(Path("copy"), run)


def test_resume_goes_on_for_more_epochs(shell: Shell, pictures: Path) -> None:
    options = tiny(pictures, "--schedule", "none", "--out")
    assert shell(*options, "whole", "--epochs", 3).code == 0
    assert shell(*options, "parts", "--epochs", 1).code == 0
    assert shell("train", "--resume", "--out", "parts", "--epochs", 3).code == 0
    assert_same_weights(Path("parts"), Path("whole"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--resume"], "--resume needs --out"),
        (["--resume", "--out", "none"], "none holds no run (no config.toml, no checkpoint); check the path"),
        (["--resume", "--out", "RUN", "--lr", "0.5"], "--lr 0.5 contradicts the run in"),
        (["--resume", "--out", "RUN", "--epochs", "9"], "--epochs 9 contradicts the run in"),
    ],
)
def test_resume_used_wrongly(shell: Shell, run: Path, options: list[str], message: str) -> None:
    assert message in shell.fails("train", *[str(run) if option == "RUN" else option for option in options])


def test_interrupted_by_ctrl_c_and_resumed(tmp_path: Path, pictures: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(gpunn.__file__).parents[1])}

    def command(*options: object) -> list[str]:
        return [sys.executable, "-m", "gpunn", *map(str, options)]

    options = [*tiny(pictures), "--epochs", 40, "--out"]
    with subprocess.Popen(
        command(*options, tmp_path / "parts"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("epoch  3/40"):
                process.send_signal(signal.SIGINT)
                break
        rest, message = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "test_loss" not in rest
    assert "Traceback" not in message
    assert f"gpunn train --resume --out {tmp_path / 'parts'}" in message
    resumed = subprocess.run(
        command("train", "--resume", "--out", tmp_path / "parts"), capture_output=True, text=True, env=environment
    )
    whole = subprocess.run(command(*options, tmp_path / "whole"), capture_output=True, text=True, env=environment)
    assert resumed.returncode == whole.returncode == 0
    assert_same_weights(tmp_path / "parts", tmp_path / "whole")
    figures = [run.stdout.splitlines()[-1].split(" seconds=")[0] for run in (resumed, whole)]
    assert figures[0] == figures[1]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["trian"], "unknown command 'trian': did you mean train?"),
        (["bensh"], "unknown command 'bensh'"),
        (["train", "--modle", "mlp"], "unknown option --modle: did you mean --model?"),
        (["train", "--model", "lenet"], "unknown model 'lenet': did you mean lenet5?"),
        (["train", "--model", "autoencoder"], "model 'autoencoder' gives no classes"),
        (["train", "--data", "mnst"], "did you mean mnist?"),
        (["train", "--device", "gpu"], "--device: expected auto, cpu, cuda or cuda:N, got 'gpu'"),
        (["eval", "none", "--device", "tpu"], "--device: expected auto, cpu, cuda or cuda:N, got 'tpu'"),
        (["predict", "none", "file", "--device", "cuda:x"], "--device: expected auto, cpu, cuda or cuda:N"),
        (["train", "--data", "folder:none"], "no such folder"),
        (["train", "--data", "mnist", "--data-dir", "none"], "train-images-idx3-ubyte"),
        (["train", "--config", "none.toml"], "cannot read the configuration none.toml"),
        (["train", "--model", "alexnet"], "28x28"),
        (["train", "--model", "mlp", "--out", "file/run"], "cannot write the run directory file/run"),
        (["eval"], "required"),
        (["eval", "none"], "checkpoint none does not exist"),
        (["eval", "file"], "file is not a whole safetensors file"),
        (["eval", "."], ". holds no run (no config.toml, no checkpoint); check the path"),
        (["eval", "a" * 300], "a: File name too long; check the path"),
        (["train", "--data", "folder:" + "a" * 300], "a: File name too long; check the path"),
        (["train", "--data", "folder:~nosuchuser/x"], "~nosuchuser/x: no home folder is known for it"),
        (["train", "--data", "folder:bad\udcff"], "--data: expected a text in UTF-8, got 'folder:bad\\udcff'"),
        (["train", "--out", "bad\udcff"], "--out: expected a text in UTF-8"),
        (["train", "--image-size", "10000000"], "image size: 10000 images of 1x10000000x10000000 need"),
        (["predict", "none"], "required"),
        (["predict", "none", "file"], "checkpoint none does not exist"),
        (["predict", "none", "file", "--top", "0"], "--top: expected a whole number, 1 or more, got '0'"),
        (["eval", "none", "--batch-size", "x"], "--batch-size: expected a whole number"),
        (["doctor", "--verbose"], "unknown option --verbose"),
        (["doctor", "me"], "unexpected argument 'me'"),
    ],
)
def test_wrong_use(shell: Shell, argv: list[str], message: str) -> None:
    Path("file").write_text("in the way")
    assert message in shell.fails(*argv)


def test_eval_of_data_of_another_kind(shell: Shell, run: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "two", ("a", "b"))
    message = shell.fails("eval", run, "--data", f"folder:{tmp_path / 'two'}")
    assert "images of 1x8x8 in 2 classes" in message
    assert "was trained for images of 1x8x8 in 3 classes" in message
    write_images(tmp_path / "color", mode="RGB")
    assert "images of 3x8x8 in 3 classes" in shell.fails("eval", run, "--data", f"folder:{tmp_path / 'color'}")
    assert "images of 1x28x28 in 10 classes" in shell.fails("eval", run, "--data", "fashion-mini")


def test_eval_of_other_classes(shell: Shell, run: Path, pictures: Path, tmp_path: Path) -> None:
    """As many classes of the same size, but others, or counted in another order: the figures would mean nothing."""
    write_images(tmp_path / "other", ("cat", "dog", "mouse"))
    message = shell.fails("eval", run, "--data", f"folder:{tmp_path / 'other'}")
    assert "has the classes cat, dog, mouse, but" in message
    assert f"for bright, dark, split; give data with these classes in this order (folder:{pictures}" in message


def changed(run: Path, **description: object) -> str:
    """A run's checkpoint with another description."""
    checkpoint = load(run / "checkpoints" / "last.safetensors")
    checkpoint.description.update(description)
    gpunn.training.save("changed.safetensors", checkpoint)
    return "changed.safetensors"


@pytest.mark.parametrize(
    "description",
    [
        {"image_size": None},
        {"image_size": [8]},
        {"mean": [0.5, 0.5], "std": [1.0, 1.0]},
        {"mean": "dark"},
        {"std": [0.0]},
        {"classes": 3},
        {"model": ["mlp"]},
        {"batch_size": 0},
        {"epochs": None},
        {"config": 7},
        {"config": {"image_size": "large"}},
        {"config": {"data_dir": 5}},
    ],
)
def test_eval_of_a_description_that_makes_no_sense(shell: Shell, run: Path, description: dict[str, object]) -> None:
    message = shell.fails("eval", changed(run, **description))
    assert "changed.safetensors is damaged: its description of the model makes no sense" in message


def test_eval_passes_over_options_of_another_version(shell: Shell, run: Path, pictures: Path) -> None:
    config = load(run / "checkpoints" / "last.safetensors").description["config"]
    assert shell("eval", changed(run, config={**config, "of_later_times": [1, 2]})).code == 0


def test_one_class_is_nothing_to_train_for(shell: Shell, tmp_path: Path) -> None:
    write_images(tmp_path / "one", ("a",))
    message = shell.fails(*tiny(tmp_path / "one"))
    assert "one has one class (a), and then every answer is right; expected at least two" in message
    assert not Path("runs").exists()


@pytest.mark.parametrize("batch_size", [2, 47])
def test_a_last_batch_of_one_image_and_batch_normalization(shell: Shell, tmp_path: Path, batch_size: int) -> None:
    """Images so small that one pixel is left of them: of a single image there is no variance."""
    write_images(tmp_path / "two", ("a", "b"))
    if batch_size == 2:
        (tmp_path / "two" / "train" / "a" / "0.png").unlink()  # of 48 images
    options = ("--model", "small_cnn", "--image-size", 6, "--epochs", 1, "--batch-size")
    result = shell(*tiny(tmp_path / "two", *options, batch_size))
    assert result.code == 0, result.err
    assert "expected more than 1 value per channel" in shell.fails(*tiny(tmp_path / "two", *options, 1))


@pytest.mark.parametrize("length", [0, 7, 8, 100, -1])
def test_eval_of_a_checkpoint_cut_short(shell: Shell, run: Path, length: int) -> None:
    content = (run / "checkpoints" / "last.safetensors").read_bytes()
    Path("cut.safetensors").write_bytes(content[:length])
    assert "cut.safetensors is not a whole safetensors file" in shell.fails("eval", "cut.safetensors")


def test_eval_of_plain_weights(shell: Shell) -> None:
    gpunn.training.save_weights(gpunn.nn.Linear(2, 2), "weights.safetensors")
    assert "weights.safetensors is not a checkpoint of gpunn" in shell.fails("eval", "weights.safetensors")


def test_eval_of_a_trainers_own_checkpoint(shell: Shell) -> None:
    gpunn.training.save("own.safetensors", gpunn.training.Checkpoint(gpunn.nn.Linear(2, 2).state_dict()))
    assert "was not written by gpunn train" in shell.fails("eval", "own.safetensors")


def test_predict(shell: Shell, run: Path, pictures: Path) -> None:
    result = shell("predict", run, *(pictures / "test" / name / "0.png" for name in ("dark", "bright", "split")))
    assert result.code == 0
    lines = result.out.splitlines()
    assert len(lines) == 12
    for start, name in ((0, "dark"), (4, "bright"), (8, "split")):
        assert lines[start].endswith("0.png")
        assert lines[start + 1].split()[0] == name
        shares = [float(line.split()[1].rstrip("%")) for line in lines[start + 1 : start + 4]]
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) == pytest.approx(100, abs=0.02)
    assert len(shell("predict", run, pictures / "test" / "dark" / "0.png", "--top", 1).out.splitlines()) == 2


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I"])
def test_predict_takes_any_image(shell: Shell, run: Path, mode: str) -> None:
    image = (
        Image.fromarray(np.arange(40 * 30, dtype=np.uint16).reshape(40, 30))
        if mode == "I;16"
        else Image.new(mode, (30, 40))
    )
    image.save("picture.tiff")
    assert shell("predict", run, "picture.tiff").code == 0


def test_predict_of_what_is_no_image(shell: Shell, run: Path, pictures: Path) -> None:
    Path("text.png").write_text("not an image")
    assert "text.png" in shell.fails("predict", run, pictures / "test" / "dark" / "0.png", "text.png")
    assert "none.png does not exist" in shell.fails("predict", run, "none.png")
    Path("cut.png").write_bytes((pictures / "test" / "dark" / "0.png").read_bytes()[:60])
    assert "cut.png: not a readable image" in shell.fails("predict", run, "cut.png")
    assert ".: not a readable image" in shell.fails("predict", run, ".")
    Image.new("F", (8, 8), 0.5).save("float.tiff")
    assert "float.tiff: expected 8 or 16 bits a channel" in shell.fails("predict", run, "float.tiff")


def test_predict_is_quiet_about_palettes_and_large_images(
    shell: Shell, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = Image.new("P", (30, 40), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.save("palette.png", transparency=bytes([0, 128]))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 30 * 40 - 1)
    result = shell("predict", run, "palette.png")  # a warning would be an error here
    assert (result.code, result.err) == (0, "")


def test_output_that_cannot_be_written(run: Path, pictures: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(gpunn.__file__).parents[1])}
    picture = shutil.copy(pictures / "test" / "dark" / "0.png", tmp_path / "picture.png")

    def predict(image: object, output: Any) -> tuple[int, str]:
        command = [sys.executable, "-m", "gpunn", "predict", str(run), os.fspath(image), "--device", "cpu"]
        done = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, text=True, env=environment, check=False)
        return done.returncode, done.stderr

    if Path("/dev/full").exists():
        with open("/dev/full", "w") as full:
            code, message = predict(picture, full)
        assert code == 2
        assert message.startswith("gpunn: error: standard output: No space left on device; ")
        assert message.count("\n") == 1
    strange = os.fsencode(tmp_path) + b"/bad\xff.png"
    shutil.copy(picture, strange)
    environment["PYTHONIOENCODING"] = "utf-8"
    code, message = predict(os.fsdecode(strange), subprocess.DEVNULL)
    assert code == 2
    assert message == "gpunn: error: '\\udcff' in a name or a text cannot be utf-8; rename the file or the folder\n"


def test_doctor(shell: Shell) -> None:
    result = shell("doctor")
    assert result.code == 0
    for text in ("python", "gpunn", "numpy", np.__version__, "cores", "blas", "devices", "auto", "takes "):
        assert text in result.out


def test_doctor_with_nothing_extra_installed(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import metadata

    def nothing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", nothing)
    monkeypatch.setattr("ctypes.CDLL", lambda path: (_ for _ in ()).throw(OSError("no")))
    result = shell("doctor")
    assert result.code == 0
    assert "not installed: for GPUs" in result.out


@pytest.mark.parametrize("command", ["train", "eval", "predict", "doctor"])
def test_help_has_an_example(shell: Shell, command: str) -> None:
    result = shell(command, "--help")
    assert result.code == 0
    assert f"examples:\n  gpunn {command}" in result.out
    assert all(len(line) < 120 for line in result.out.splitlines())


def test_help_of_all(shell: Shell) -> None:
    for argv in ([], ["--help"], ["-h"]):
        result = shell(*argv)
        assert result.code == 0
        for command in ("train", "eval", "predict", "doctor"):
            assert command in result.out
    assert shell("--version").out == f"gpunn {gpunn.__version__}\n"
