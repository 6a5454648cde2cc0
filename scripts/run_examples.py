"""Run every example of the course, each as a process of its own, and make one page of what they say and draw.

    python scripts/run_examples.py --data-dir ~/data
    python scripts/run_examples.py --only coin 'gaussian*'

Into the folder `pictures/` go the pictures with their captions, what each example printed (`<example>.txt`), and
`index.html`, which needs nothing but these files. Exit status 1 if an example failed.
"""

from __future__ import annotations

import argparse
import fnmatch
import html
import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"

TOPICS: dict[str, tuple[str, ...]] = {
    "Least squares, and how well a model is chosen": ("over_and_underfitting", "cross_validation"),
    "Maximum likelihood and nearest neighbours": ("coin", "gaussian_classifier", "nearest_neighbors"),
    "Linear classifiers": ("softmax_regression", "support_vector_machines", "ranking", "structured_prediction"),
    "Losses": ("losses",),
    "Backpropagation": ("computation_graph", "gradient_checking"),
    "Activations": ("activations", "saturation_and_dying_units"),
    "Initialization and normalization": ("initialization", "batch_normalization"),
    "Preprocessing": ("preprocessing",),
    "Optimizers": (
        *("optimizer_paths", "step_sizes", "adagrad_and_descent", "schedules"),
        *("clipping", "newton", "svrg", "hogwild", "projected_gradient"),
    ),
    "Regularization": (
        *("regularization", "weight_decay", "distance_and_tying", "early_stopping", "label_smoothing"),
        *("dropout", "noise", "augmentation"),
    ),
    "Tasks and models together": ("multitask", "transfer_learning", "ensembles"),
    "Choosing examples": ("balanced_batches", "hard_examples"),
    "Convolutional networks": ("convolution_arithmetic", "feature_maps", "autoencoder"),
    "Whole trainings": ("custom_training_loop", "mlp_mnist", "vgg_cifar10"),
}

# Smaller than their defaults, so that the whole round stays below ten minutes on two CPU cores.
ARGUMENTS = {
    "custom_training_loop": ("--epochs", "2"),
    "mlp_mnist": ("--epochs", "1"),
    "vgg_cifar10": ("--epochs", "1", "--images", "1000"),
}

STYLE = """
body { font: 17px/1.5 system-ui, sans-serif; color: #222; max-width: 46rem; margin: 0 auto; padding: 0 1rem 4rem; }
h1 { line-height: 1.2; } h2 { margin-top: 3rem; border-bottom: 2px solid #0072B2; } h3 { margin: 2rem 0 0.3rem; }
figure { margin: 1rem 0; } figcaption { margin-top: 0.3rem; }
.picture { overflow-x: auto; } .picture img { max-width: 100%; height: auto; } .picture img.wide { min-width: 40rem; }
.picture img.drawing { max-width: none; }
pre { background: #f4f4f4; padding: 0.6rem; overflow-x: auto; font-size: 14px; line-height: 1.35; }
nav li { margin: 0.35rem 0; } a { color: #005a8f; }
"""


def main() -> int:
    options = parse_options()
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    failed, without_data, began = [], [], time.perf_counter()
    for name in chosen(options.only):
        outcome = run(name, folder, options)
        failed += [name] if outcome == "failed" else []
        without_data += [name] if outcome == "no data" else []
    page = write_page(folder)
    print(f"{time.perf_counter() - began:7.1f} s  in all; the pictures are in {page}")
    if without_data:
        print(f"data not at hand for {', '.join(without_data)}; give --data-dir, or --download to fetch them")
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed or (options.strict and without_data) else 0


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run the examples and make a page of their pictures.")
    parser.add_argument("--only", nargs="+", default=["*"], metavar="NAME", help="of these names; * is anything")
    parser.add_argument("--folder", type=Path, default=ROOT / "pictures", help="where the pictures go")
    parser.add_argument("--data-dir", type=Path, default=ROOT / "data", help="where MNIST and CIFAR-10 lie")
    parser.add_argument("--download", action="store_true", help="fetch the data that are missing")
    parser.add_argument("--strict", action="store_true", help="an example without its data counts as failed")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds that one example may take")
    return parser.parse_args()


def present() -> list[str]:
    """The examples that lie in the folder, in the order of the course; such as no topic names come last."""
    files = {path.stem for path in EXAMPLES.glob("*.py")} - {"pictures"}
    ordered = [name for names in TOPICS.values() for name in names if name in files]
    return ordered + sorted(files.difference(ordered))


def chosen(patterns: list[str]) -> list[str]:
    names = [name for name in present() if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]
    if not names:
        sys.exit(f"no example is called {' or '.join(patterns)}; there are {', '.join(present())}")
    return names


def run(name: str, folder: Path, options: argparse.Namespace) -> str:
    """Run one example and say in a line how it went: "done", "no data" or "failed"."""
    for path in pictures_of(name, folder):
        path.unlink(missing_ok=True)
        path.with_suffix(".json").unlink()
    source = EXAMPLES / f"{name}.py"
    text = source.read_text(encoding="utf-8")
    arguments = list(ARGUMENTS.get(name, ()))
    if '"--data-dir"' in text:
        arguments += ["--data-dir", str(options.data_dir.expanduser().resolve())]
    if '"--download"' in text:
        arguments += ["--download" if options.download else "--no-download"]
    began = time.perf_counter()
    status, said, complaint = execute([sys.executable, str(source), *arguments], folder, options.timeout)
    seconds = f"{time.perf_counter() - began:7.1f} s  {name}"
    last = complaint.strip().splitlines()[-1] if complaint.strip() else f"exit status {status}"
    if status == 0:
        command = f"$ python examples/{name}.py {' '.join(ARGUMENTS.get(name, ()))}".rstrip()
        (folder / f"{name}.txt").write_text(command + "\n" + without_pictures(said), encoding="utf-8")
        count = len(pictures_of(name, folder))
        print(f"{seconds}: {count} picture{'' if count == 1 else 's'}", flush=True)
        return "done"
    (folder / f"{name}.txt").unlink(missing_ok=True)
    if "DataError:" in last and "not found" in last:
        print(f"{seconds}: data not at hand: {last.partition('DataError: ')[2]}", flush=True)
        return "no data"
    print(f"{seconds}: FAILED: {last}\n{complaint}", flush=True)
    return "failed"


def execute(command: list[str], folder: Path, timeout: float) -> tuple[int, str, str]:
    """Exit status, standard output and error output."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "GPUNN_PICTURES": str(folder)}
    try:
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        return 1, "", f"not done after {timeout:.0f} seconds; --timeout gives it more"
    return done.returncode, done.stdout, done.stderr


def without_pictures(said: str) -> str:
    """What an example printed, less the lines that say where its pictures are."""
    return "".join(line for line in said.splitlines(keepends=True) if not line.startswith("picture "))


def pictures_of(name: str, folder: Path) -> list[Path]:
    """The pictures that an example drew, oldest first."""
    notes = [(path, json.loads(path.read_text(encoding="utf-8"))) for path in folder.glob("*.json")]
    drawn = [(path.stat().st_mtime_ns, folder / words["picture"]) for path, words in notes if words["example"] == name]
    return [picture for _, picture in sorted(drawn)]


def write_page(folder: Path) -> Path:
    """`index.html`: the topics, in each its examples, of each what it said and drew. Returns its path."""
    names = present()
    topics = {title: [name for name in members if name in names] for title, members in TOPICS.items()}
    rest = [name for name in names if not any(name in members for members in topics.values())]
    topics |= {"More": rest} if rest else {}
    contents, body = [], []
    for number, (title, listed) in enumerate(topics.items(), start=1):
        if members := [name for name in listed if (folder / f"{name}.txt").is_file()]:
            contents.append(f'<li><a href="#topic{number}">{html.escape(title)}</a></li>')
            body.append(f'<h2 id="topic{number}">{html.escape(title)}</h2>')
            body += [section(name, folder) for name in members]
    page = folder / "index.html"
    page.write_text(
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>gpunn: the course in pictures</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        "<h1>gpunn: the course in pictures</h1>\n"
        "<p>What each example printed and drew. Touch a picture to see it in full size.</p>\n"
        f"<nav><ul>\n{chr(10).join(contents)}\n</ul></nav>\n{chr(10).join(body)}\n</body>\n</html>\n",
        encoding="utf-8",
    )
    return page


def section(name: str, folder: Path) -> str:
    """One example: its title, its pictures, what it printed."""
    title = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8").split('"""')[1].strip().partition("\n")[0]
    parts = [f"<h3>{html.escape(title)}</h3>"]
    for picture in pictures_of(name, folder):
        caption = html.escape(json.loads(picture.with_suffix(".json").read_text(encoding="utf-8"))["caption"])
        kind = "drawing" if picture.suffix == ".svg" else "wide" if is_wide(picture) else "plain"
        image = f'<img class="{kind}" src="{picture.name}" alt="{caption}" loading="lazy">'
        parts.append(
            f'<figure><div class="picture"><a href="{picture.name}">{image}</a></div>'
            f"<figcaption>{caption}</figcaption></figure>"
        )
    printed = (folder / f"{name}.txt").read_text(encoding="utf-8")
    parts.append(f"<pre>{html.escape(printed)}</pre>")
    return "\n".join(parts)


def is_wide(picture: Path) -> bool:
    """Whether a PNG is too wide to be read at a telephone's width: it is then moved sideways with the finger."""
    head = picture.read_bytes()[:24]  # signature, length and name of the first chunk, then width and height
    width, height = int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
    return width > 1.7 * height


if __name__ == "__main__":
    sys.exit(main())
