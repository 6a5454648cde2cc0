"""Every example of the course, as small as its options let it be: it runs, says something, and draws what it says."""

from __future__ import annotations

import json
import operator
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")
import run_examples

import gpunn.graph

EXAMPLES = Path(__file__).parents[2] / "examples"
ELSEWHERE = {"custom_training_loop", "mlp_mnist", "transfer_learning", "vgg_cifar10"}  # tested in test_examples.py
TINY = {
    "activations": ["--points", "20"],
    "adagrad_and_descent": ["--steps", "5"],
    "augmentation": ["--images", "60", "--epochs", "1"],
    "autoencoder": ["--images", "100", "--epochs", "2", "--code", "3"],
    "balanced_batches": ["--common", "20", "--rare", "4", "--steps", "3"],
    "batch_normalization": ["--images", "200", "--steps", "30"],
    "clipping": ["--steps", "5"],
    "coin": [],
    "computation_graph": [],
    "convolution_arithmetic": [],
    "cross_validation": ["--images", "100", "--folds", "2"],
    "distance_and_tying": ["--steps", "5", "--trials", "1"],
    "dropout": ["--images", "60", "--epochs", "1", "--masks", "3"],
    "early_stopping": ["--images", "100", "--epochs", "2"],
    "ensembles": ["--images", "100", "--members", "2", "--epochs", "1", "--trials", "20"],
    "feature_maps": ["--images", "100", "--epochs", "1"],
    "gaussian_classifier": ["--points", "40", "--images", "300"],
    "gradient_checking": ["--most", "100"],
    "hard_examples": ["--images", "60", "--steps", "5"],
    "hogwild": ["--processes", "1", "2", "--steps", "50", "--writes", "50"],
    "initialization": ["--images", "60", "--depth", "3", "--steps", "3"],
    "label_smoothing": ["--images", "100", "--epochs", "1"],
    "losses": ["--points", "20"],
    "multitask": ["--images", "100", "--steps", "3"],
    "nearest_neighbors": ["--images", "200", "--tests", "40"],
    "newton": ["--images", "60", "--steps", "2"],
    "noise": ["--images", "60", "--epochs", "1", "--steps", "3"],
    "optimizer_paths": ["--steps", "4"],
    "over_and_underfitting": [],
    "preprocessing": ["--images", "60", "--show", "4", "--data", "fashion-mini"],
    "projected_gradient": ["--steps", "5"],
    "ranking": ["--queries", "4", "--documents", "5", "--epochs", "2"],
    "regularization": ["--images", "100", "--steps", "3"],
    "saturation_and_dying_units": ["--images", "60", "--depth", "3", "--steps", "3"],
    "schedules": [],
    "softmax_regression": ["--images", "200", "--epochs", "2", "--data", "fashion-mini"],
    "step_sizes": ["--steps", "20", "--runs", "2"],
    "structured_prediction": ["--images", "60", "--epochs", "1"],
    "support_vector_machines": ["--points", "30", "--images", "100", "--epochs", "2"],
    "svrg": ["--images", "60", "--passes", "2"],
    "weight_decay": ["--steps", "5"],
}
IN_A_PROCESS = {"hogwild"}  # its workers import the script anew, which needs it to be the program that runs
drawn: dict[str, str] = {}  # every picture so far, and by whom


def in_this_process(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """Run the example as `python examples/<name>.py` would, without waiting for a new Python; what it prints."""
    import matplotlib

    monkeypatch.setattr(sys, "argv", [str(EXAMPLES / f"{name}.py"), *TINY[name]])
    monkeypatch.syspath_prepend(str(EXAMPLES))
    with matplotlib.rc_context():
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    return capsys.readouterr().out


@pytest.mark.parametrize("name", [name for name in run_examples.present() if name not in ELSEWHERE])
def test_example(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert name in TINY, f"say in TINY how examples/{name}.py is made small"
    monkeypatch.setenv("GPUNN_PICTURES", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    if name in IN_A_PROCESS:
        command = [sys.executable, str(EXAMPLES / f"{name}.py"), *TINY[name]]
        status, said, complaint = run_examples.execute(command, tmp_path, timeout=60)
        assert status == 0, complaint
    else:
        said = in_this_process(name, monkeypatch, capsys)
    assert run_examples.without_pictures(said).strip(), "an example says what it found"
    pictures = run_examples.pictures_of(name, tmp_path)
    assert pictures
    for picture in pictures:
        assert drawn.setdefault(picture.name, name) == name, f"{picture.name} is also drawn by {drawn[picture.name]}"
        assert picture.stat().st_size > 1000
        words = json.loads(picture.with_suffix(".json").read_text(encoding="utf-8"))
        assert words["caption"].strip().endswith((".", "?")), "a caption is a sentence"
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {file for picture in pictures for file in (picture.name, picture.with_suffix(".json").name)}


def test_every_example_has_its_topic() -> None:
    listed = [name for names in run_examples.TOPICS.values() for name in names]
    assert sorted(listed) == sorted(set(listed))
    assert sorted(listed) == sorted(run_examples.present())
    assert set(TINY) | ELSEWHERE == set(listed)


def test_every_example_says_what_one_learns_needs_and_sees() -> None:
    for name in run_examples.present():
        text = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8").split('"""')[1]
        assert "Learn:" in text, name
        assert "Needs:" in text, name
        assert "Shows:" in text or "Reaches:" in text, name
        assert f"python examples/{name}.py" in text, name


def test_tiles_stand_in_rows_with_gaps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import pictures

    images = np.arange(1.0, 4.0)[:, None, None] * np.ones((2, 1))  # three images of 2 x 1 pixels: ones, twos, threes
    sheet = pictures.tiles(images, columns=2, gap=1, background=0)
    assert sheet.tolist() == [[1, 0, 2], [1, 0, 2], [0, 0, 0], [3, 0, 0], [3, 0, 0]]
    assert pictures.tiles(np.ones((2, 4, 4, 3)), columns=2).shape == (4, 9, 3)


# The round of all examples


GOOD = '''"""A good one.

Learn: nothing.
"""
import pictures
figure, axes = pictures.new()
axes.plot([1, 2])
pictures.save(figure, "line", "A <line>.")
print("one & two")
'''
BAD = '"""A bad one."""\nraise ValueError("no luck")\n'
WITHOUT_DATA = '''"""One that needs data."""
import argparse
import gpunn.data
parser = argparse.ArgumentParser()
parser.add_argument("--data-dir")
parser.add_argument("--download", action=argparse.BooleanOptionalAction)
gpunn.data.load("mnist", parser.parse_args().data_dir)
'''


@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of three examples for the script to run."""
    folder = tmp_path / "examples"
    folder.mkdir()
    files = {"good": GOOD, "bad": BAD, "without_data": WITHOUT_DATA}
    for name, text in {**files, "pictures": (EXAMPLES / "pictures.py").read_text(encoding="utf-8")}.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    monkeypatch.setattr(run_examples, "EXAMPLES", folder)
    monkeypatch.setattr(run_examples, "TOPICS", {"First things": ("good",)})
    return tmp_path


def round_of(course: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    folders = ["--folder", str(course / "out"), "--data-dir", str(course / "none")]
    monkeypatch.setattr(sys, "argv", ["run_examples.py", *folders, *arguments])
    return run_examples.main()


def test_a_round_that_goes_well(course: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    assert round_of(course, monkeypatch, "--only", "good", "without*") == 0
    out = capsys.readouterr().out
    assert " s  good: 1 picture\n" in out
    assert "without_data: data not at hand: mnist: " in out
    page = (course / "out" / "index.html").read_text(encoding="utf-8")
    assert '<img class="plain" src="line.png" alt="A &lt;line&gt;."' in page
    assert "<pre>$ python examples/good.py\none &amp; two\n</pre>" in page
    assert '<h2 id="topic1">First things</h2>\n<h3>A good one.</h3>' in page
    assert 'name="viewport"' in page
    assert "<script" not in page
    assert "without_data" not in page
    assert round_of(course, monkeypatch, "--only", "without_data", "--strict") == 1
    assert "line.png" in (course / "out" / "index.html").read_text(encoding="utf-8"), "what was drawn before stays"


def test_a_round_that_fails(course: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    assert round_of(course, monkeypatch) == 1
    out = capsys.readouterr().out
    assert "bad: FAILED: ValueError: no luck" in out
    assert out.endswith("failed: bad\n")
    assert "good: 1 picture\n" in out, "the others run all the same"


def test_a_round_of_nothing_names_what_there_is(course: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="no example is called nothing; there are good, bad, without_data"):
        round_of(course, monkeypatch, "--only", "nothing")


def test_an_example_that_does_not_end_is_stopped(tmp_path: Path) -> None:
    status, _, complaint = run_examples.execute(
        [sys.executable, "-c", "import time; time.sleep(60)"], tmp_path, timeout=0.2
    )
    assert status == 1
    assert "not done after 0 seconds" in complaint


def test_the_pages_examples_do_not_need_a_display() -> None:
    """The pictures are drawn without pyplot, which would look for a screen and keep every figure."""
    for path in EXAMPLES.glob("*.py"):
        assert "pyplot" not in path.read_text(encoding="utf-8").replace("`matplotlib.pyplot.subplots`", ""), path.name


# The table of the course

ROWS = [
    [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    for line in (EXAMPLES / "README.md").read_text(encoding="utf-8").partition("## The course")[2].splitlines()
    if line.startswith("| ") and not line.startswith("| topic")
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:50])
def test_row_of_the_table(row: list[str]) -> None:
    """Topic, place, test, example, picture: there is a test, and what draws a picture names it. test_links looks for files."""
    topic, place, test, example, picture = row
    assert topic
    for name in re.findall(r"`((?:F|[a-z]+)\.[\w.]*\w)", place):
        operator.attrgetter(name.removeprefix("gpunn.").replace("F.", "functional."))(
            gpunn
        )  # fails where there is none
    assert re.search(r"\]\(\.\./tests/\S+\.py\)", test), "each topic has its test"
    sources = "".join((EXAMPLES / name).read_text(encoding="utf-8") for name in re.findall(r"\((\w+\.py)\)", example))
    for name in re.findall(r"`(\w+)`", picture):
        assert name in sources, f"none of the examples {example} draws {name}"


def test_every_example_is_in_the_tables() -> None:
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert not [name for name in run_examples.present() if f"]({name}.py)" not in text]
