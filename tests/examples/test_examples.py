"""What a user copies: the examples, the README's Python and commands, and the links between the pages."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from backends import emulator
from gpunn.cli import config
from gpunn.cli.main import COMMANDS
from gpunn.cli.main import main as gpunn_command
from gpunn.data import catalog

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("[!.]*/*.md"))]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def run(file: str | Path, *arguments: str, folder: Path) -> str:
    """The last line that a script prints; the test fails where the script does."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "GPUNN_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(ROOT / file), *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def prose(page: str) -> str:
    """A page without its code blocks."""
    return re.sub(r"^```.*?^```", "", page, flags=re.DOTALL | re.MULTILINE)


def blocks(language: str) -> list[str]:
    """The README's code blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)


# Examples


def write_idx(path: Path, values: np.ndarray) -> None:
    """A file in the format of MNIST: two zeros, type 8 (a byte), the number of dimensions, each as 4 bytes, the values."""
    header = bytes([0, 0, 8, values.ndim]) + b"".join(length.to_bytes(4, "big") for length in values.shape)
    path.write_bytes(header + values.astype(np.uint8).tobytes())


@pytest.fixture
def mnist(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "MNIST" / "raw"
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for prefix, count in (("train", 200), ("t10k", 50)):
        write_idx(folder / f"{prefix}-images-idx3-ubyte", generator.integers(0, 256, (count, 28, 28)))
        write_idx(folder / f"{prefix}-labels-idx1-ubyte", np.arange(count) % 10)
    return tmp_path


@pytest.fixture
def cifar10(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for name in ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"):
        records = generator.integers(0, 256, (4, 3073))
        records[:, 0] = np.arange(4)
        (folder / f"{name}.bin").write_bytes(records.astype(np.uint8).tobytes())
    return tmp_path


def test_mlp_mnist(mnist: Path) -> None:
    last = run("examples/mlp_mnist.py", "--epochs", "1", "--no-download", "--device", "cpu", folder=mnist)
    assert re.fullmatch(r"test accuracy \d+\.\d\d%", last)


def test_vgg_cifar10(cifar10: Path) -> None:
    options = ("--no-download", "--device", "cpu", "--out", "runs/vgg")
    last = run("examples/vgg_cifar10.py", "--epochs", "1", *options, folder=cifar10)
    assert re.fullmatch(r"test accuracy \d+\.\d\d%", last)
    assert (cifar10 / "runs" / "vgg" / "checkpoints" / "last.safetensors").is_file()


def test_custom_training_loop(tmp_path: Path) -> None:
    options = ("--epochs", "2", "--images", "300", "--device", "cpu")
    last = run("examples/custom_training_loop.py", *options, folder=tmp_path)
    assert re.fullmatch(r"epoch 2/2  train loss \d\.\d{4}  test accuracy \d+\.\d\d%", last)


def test_transfer_learning(tmp_path: Path) -> None:
    options = ("--epochs", "1", "--new-epochs", "2", "--images", "3", "--device", "cpu")
    last = run("examples/transfer_learning.py", *options, folder=tmp_path)
    assert re.fullmatch(r"new classes, 3 images each: transferred \d+\.\d\d%, from scratch \d+\.\d\d%", last)


# README


@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_python_of_the_readme(number: int, tmp_path: Path) -> None:
    text = blocks("python")[number]
    if "def test_" not in text:
        script = tmp_path / "sample.py"
        script.write_text(text, encoding="utf-8")
        assert run(script, folder=tmp_path)
        return
    if emulator.missing():
        pytest.skip(str(emulator.missing()))
    (tmp_path / "test_sample.py").write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "gpunn.checks.pytest_plugin", str(tmp_path)]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert re.search(r"\d+ passed", done.stdout), done.stdout
    assert done.returncode == 0


def test_toml_of_the_readme(tmp_path: Path) -> None:
    (text,) = blocks("toml")
    file = tmp_path / "first.toml"
    file.write_text(text, encoding="utf-8")
    assert tomllib.loads(text).keys() == config.from_toml(file).keys()
    config.build(config.from_toml(file))


def help_of(command: str) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert gpunn_command([command, "--help"]) == 0
    return out.getvalue()


def commands() -> list[list[str]]:
    """What the README calls as `gpunn ...`, in code blocks and in running text, split into words."""
    lines = [line.removeprefix("$ ") for block in blocks("(?:sh|console)") for line in block.splitlines()]
    found = [line for line in lines if line.startswith("gpunn ")] + re.findall(r"`(gpunn [^`]+)`", prose(README))
    return [shlex.split(line, comments=True) for line in found]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_commands_of_the_readme(words: list[str]) -> None:
    if words[1].startswith("-"):
        assert words[1] in ("--help", "--version")
        return
    assert words[1] in COMMANDS
    text = help_of(words[1])
    for flag in (word.partition("=")[0] for word in words[2:] if word.startswith("--")):
        assert re.search(rf"{flag}\b", text), f"gpunn {words[1]} has no {flag}"


def test_every_command_is_in_the_readme() -> None:
    assert set(COMMANDS) <= {words[1] for words in commands()}


def test_flags_in_running_text_exist() -> None:
    known = "".join(help_of(command) for command in COMMANDS) + "--help --version"
    flags = set(re.findall(r"`(--[a-z-]+)", prose(README)))
    assert flags
    assert not [flag for flag in flags if not re.search(rf"{flag}(?![a-z-])", known)]


def test_make_targets_of_the_readme_exist() -> None:
    targets = set(re.findall(r"^make ([a-z-]+)|`make ([a-z-]+)", README, flags=re.MULTILINE))
    names = {name for pair in targets for name in pair if name}
    assert {"train", "test"} <= names
    assert not [name for name in names if not re.search(rf"^{name}:", MAKEFILE, flags=re.MULTILINE)]


def test_the_readme_names_every_data_set() -> None:
    assert not [name for name in catalog.names() if f"`{name}`" not in README]


# Links


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links(page: Path) -> None:
    text = prose(page.read_text(encoding="utf-8"))
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    titles = [line.lstrip("#").strip().lower() for line in text.splitlines() if line.startswith("#")]
    headings = {re.sub(r"[^a-z0-9 -]", "", title).replace(" ", "-") for title in titles}
    for target in targets:
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        assert not file or (page.parent / file).exists(), f"{page.name} links to {file}, which is not there"
        assert file or anchor in headings, f"{page.name} has no heading #{anchor}"
