"""The CPU benchmark: a whole run of it, tiny, and what it makes of its measurements."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import gpunn

SCRIPTS = Path(__file__).parents[2] / "benchmarks" / "cpu"
NAMES = [path.stem for path in SCRIPTS.glob("*.py")]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Imports a module of the benchmark, as the script does; afterwards all of them are forgotten."""

    def forget() -> dict[str, ModuleType]:
        return {name: sys.modules.pop(name) for name in NAMES if name in sys.modules}

    others = forget()  # those of another benchmark may have the same names
    monkeypatch.syspath_prepend(str(SCRIPTS))
    yield __import__
    forget()
    sys.modules.update(others)


def block(load: Any, seconds: float = 1.0, own: float = 2.0, busy: float = 2.0) -> Any:
    """One of a second on two processors."""
    return load("disturbance").Block([seconds], 1.0, own, busy)


@pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed")
def test_a_whole_run(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPTS / "bench.py"), "--quick", "--threads", "1", "--out", str(tmp_path)]
    # Compiled kernels have tests of their own, and compiling takes longer than all of this.
    environment = {**os.environ, "GPUNN_COMPILED": "0"}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (numbers,), (table,) = tmp_path.glob("*.json"), tmp_path.glob("*.md")
    found = json.loads(numbers.read_text(encoding="utf-8"))
    assert [(work["work"], work["batch"]) for work in found["works"]] == [("lenet5", 4), ("lenet5_infer_1", 1)]
    for work in found["works"]:
        assert list(work["times"]) == ["gpunn", "gpunn, direct", "gpunn, NumPy only", "PyTorch",
                                       "PyTorch, channels-last"]  # fmt: skip
        for one in work["times"].values():
            assert one["failure"] is None
            assert one["seconds"] > 0
            assert max(one["deviation"]) < 1e-4
            assert one["peak"] is None or one["peak"] > 2**20
        assert work["times"]["gpunn"]["PyTorch / this"]["median"] > 0
    assert len({round(loss, 3) for loss in found["works"][0]["times"]["gpunn"]["losses"]}) == 3  # it learns
    assert {"import gpunn", "import torch"} < {line["what"] for line in found["startup"]}
    assert all(line["seconds"] > 0 for line in found["startup"])
    text = table.read_text(encoding="utf-8")
    assert found["facts"]["processor"] in text
    assert "| first step of gpunn train, empty cache |" in text
    picture = numbers.with_suffix(".png")
    assert picture.is_file() == (find_spec("matplotlib") is not None)
    assert (picture.name in text) == picture.is_file()


def test_without_pytorch(load: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(load("machine"), "is_installed", lambda module: False)
    assert load("bench").main([]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"PyTorch is not installed: {sys.executable} -m pip install torch\n"


@pytest.mark.parametrize("options", [["--works", "lenet6"], ["--blocks", "0"], ["--threads", "0"]])
def test_misuse(load: Any, options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        load("bench").main(options)
    assert options[0] in capsys.readouterr().err.splitlines()[-1]


# Works


def test_works(load: Any) -> None:
    works = load("works")
    training = {work.name: work.batch for work in works.WORKS.values() if work.trains}
    assert training == {"mlp": 128, "lenet5": 128, "alexnet_cifar": 128, "vgg11_bn": 64, "vgg16_bn": 64,
                        "alexnet_224": 16}  # fmt: skip
    assert {work.batch for work in works.WORKS.values() if not work.trains} == {1, 64}
    assert len(works.WORKS) == 18
    assert [work.name for work in works.chosen(["*_infer_1", "mlp"])][:2] == ["mlp", "mlp_infer_1"]
    assert works.chosen([]) == list(works.WORKS.values())


@pytest.mark.parametrize("name", ["mlp", "lenet5", "alexnet_cifar", "vgg11_bn", "vgg16_bn", "alexnet_224"])
def test_a_network_takes_its_images(load: Any, name: str) -> None:
    work = load("works").WORKS[name]
    with gpunn.init.skip():
        net = work.build(gpunn.nn).eval()
    images, labels = work.images_and_labels(1)
    with gpunn.no_grad():
        assert net(gpunn.tensor(images, device="cpu")).shape == (1, work.classes)
    assert labels.shape == (1,)


def test_weights(load: Any) -> None:
    """They depend on the names alone, and batch normalization's variances are positive."""
    weights = load("works").weights
    shapes = {"1.weight": (4,), "1.running_var": (4,), "0.weight": (3, 2), "0.bias": (3,), "1.num_batches_tracked": ()}
    first, second = weights(shapes), weights(dict(reversed(shapes.items())))
    assert all(np.array_equal(first[name], second[name]) and first[name].shape == shapes[name] for name in shapes)
    assert first["1.running_var"].min() > 0
    assert first["1.num_batches_tracked"] == 0


def test_cross_entropy(load: Any) -> None:
    logits = np.array([[1000.0, 1000.0], [0.0, math.log(3)]], np.float32)
    assert load("works").cross_entropy(logits, np.array([0, 1])) == pytest.approx((math.log(2) + math.log(4 / 3)) / 2)


# What counts


def test_disturbed_blocks(load: Any) -> None:
    quiet = load("disturbance").quiet
    calm, foreign, starved = block(load), block(load, busy=2.2), block(load, own=1.5, busy=1.5)
    assert quiet([calm, foreign, calm, starved, calm], processors=2) == [True, False, True, False, True]
    assert quiet([foreign], processors=16) == [True]  # a small part of the machine
    assert quiet([block(load, own=1.0, busy=1.0)] * 3, processors=2) == [True] * 3  # it never has more than one
    unknown = load("disturbance").Block([1.0], 1.0, 2.0, None)  # no /proc/stat
    assert quiet([unknown], processors=2) == [True]
    assert quiet([]) == []


def test_the_watch(load: Any) -> None:
    found = load("disturbance").Watch().block([3.0, 1.0, 2.0])
    assert found.seconds == 2.0
    assert found.wall > 0
    assert found.own >= 0


def process(load: Any, name: str = "gpunn", framework: str = "gpunn", **prepared: Any) -> Any:
    ready = {"threads": 2, "losses": [2.0, 1.5, 1.0], "step_seconds": 0.1, **prepared}
    contender = SimpleNamespace(name=name, framework=framework)
    return SimpleNamespace(contender=contender, failure=None, prepared=ready, blocks=[])


@pytest.mark.parametrize("losses", [[2.001, 1.5, 1.0], [2.0, 1.5, 1.01], [2.0, math.nan, 1.0]])
def test_other_losses_are_a_failure(load: Any, losses: list[float]) -> None:
    theirs, ours = process(load, "PyTorch", "torch"), process(load)
    other = process(load, "other", losses=losses)
    load("measure").check([ours, other, theirs], threads=2)
    assert (theirs.failure, ours.failure) == (None, None)
    assert other.failure.startswith(f"computes other losses than PyTorch: {losses[0]:.6f} ")


def test_other_threads_are_a_failure(load: Any) -> None:
    one = process(load, threads=1)
    load("measure").check([one], threads=2)
    assert one.failure == "runs on 1 threads, not on 2"


def test_turns(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """They alternate, who begins changes, and disturbed blocks are made up for."""
    measure = load("measure")
    monkeypatch.setattr(measure, "quiet", lambda blocks: [one.foreign == 0 for one in blocks])
    order: list[str] = []
    first, second, broken = process(load, "a"), process(load, "b"), process(load, "c")
    broken.failure = "no memory"

    def run(one: Any, steps: int) -> None:
        order.append(one.contender.name)
        assert steps == 5
        one.blocks.append(block(load, busy=3.0 if len(order) == 1 else 2.0))

    for one in (first, second):
        one.run = lambda steps, one=one: run(one, steps)
    measure.take_turns([first, broken, second], measure.Setting(blocks=2, threads=2, block_seconds=0.5))
    assert "".join(order) == "abbaab"


def test_summary_and_table(load: Any) -> None:
    measure, report = load("measure"), load("report")
    ours, slow, quick = process(load), process(load, "PyTorch", "torch"), process(load, "PyTorch, compiled", "torch")
    broken = process(load, "gpunn, direct")
    broken.failure = "RuntimeError: no memory"
    for number in range(4):
        drift = 1 + number  # the machine slows down, for all alike
        ours.blocks.append(block(load, 0.001 * drift))
        slow.blocks.append(block(load, 0.004 * drift))
        quick.blocks.append(block(load, 0.002 * drift))
    everyone = [ours, broken, slow, quick]
    work = load("works").WORKS["lenet5"]
    found = measure.summary(work, 128, everyone, {one.contender.name: {"peak": 5_000_000} for one in everyone})
    assert found["best"] == "PyTorch, compiled"
    assert found["times"]["gpunn"]["PyTorch / this"] == {"median": 2.0, "low": 2.0, "high": 2.0}
    lines = report.times([found]).splitlines()
    assert lines[0] == (
        "| network | batch | gpunn, ms | gpunn, direct, ms | PyTorch, ms | PyTorch, compiled, ms "
        "| PyTorch / gpunn | PyTorch / gpunn, direct |"
    )
    assert lines[2] == "| LeNet-5 | 128 | 2.5 ± 30% | failed | 10 ± 30% | **5** ± 30% | 2.00 (2.00 to 2.00) |  |"
    assert report.memory([found]).splitlines()[2] == "| LeNet-5 | 128 | 5 | 5 | 5 | 5 |"
    assert report.notes([found])[-1] == "Failed:\n\n- LeNet-5, batch 128, gpunn, direct: RuntimeError: no memory"


def test_few_quiet_blocks(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """All count then, and the time is marked."""
    measure, report = load("measure"), load("report")
    monkeypatch.setattr(measure, "quiet", lambda blocks: [one.foreign == 0 for one in blocks])
    one = process(load)
    one.blocks = [block(load), block(load, 3.0, busy=4.0), block(load, 2.0, busy=4.0)]
    assert measure.kept_blocks(one) == {0: 1.0, 1: 3.0, 2: 2.0}
    found = measure.summary(load("works").WORKS["mlp"], 128, [one], {"gpunn": None})
    assert report.is_disturbed(found["times"]["gpunn"])
    assert report.times([found]).endswith("| 2000 ± 25% * |  |")


def test_a_process_that_ends_says_why(load: Any) -> None:
    contenders = load("contenders")
    with contenders.Process(contenders.Contender("nobody", "nothing"), 1) as one:
        one.prepare(load("works").WORKS["mlp"], 1)
        assert one.failure == "ended with code 1: ModuleNotFoundError: No module named 'in_nothing'"
        assert one.ask("end") is None


def test_an_error_is_an_answer(load: Any) -> None:
    contenders = load("contenders")
    with contenders.Process(contenders.Contender("other", "gpunn", options=("odd",)), 1) as one:
        one.prepare(load("works").WORKS["lenet5"], 1)
        assert one.failure == "ValueError: gpunn has no options here, got ['odd']"
