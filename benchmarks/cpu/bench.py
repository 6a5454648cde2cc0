"""gpunn on a CPU beside PyTorch, in one run: training steps, inference, memory, start; tables, a plot, the numbers behind them.

make bench
python benchmarks/cpu/bench.py --works 'vgg*' '*_infer_1' --blocks 6        # some works; "startup" is one
python benchmarks/cpu/bench.py --quick --out runs/bench                     # does it run?
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import machine
import plot
import report
import startup
from measure import Setting, measure
from works import WORKS, Work, chosen

from backends.cpu.threads import core_count

RESULTS = Path(__file__).parents[1] / "results" / "cpu"
QUICK = ["lenet5", "lenet5_infer_1", "startup"]


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time gpunn on a CPU, beside PyTorch.")
    parser.add_argument(
        "--works", nargs="+", default=[], metavar="NAME", help=f"names or patterns of {', '.join([*WORKS, 'startup'])}"
    )
    parser.add_argument("--blocks", type=int, default=12, help="undisturbed turns of each contender (default: 12)")
    parser.add_argument("--threads", type=int, default=core_count(), help="of each contender (default: all cores)")
    parser.add_argument(
        "--no-compile", dest="compile", action="store_false", help="leave torch.compile out: it takes minutes"
    )
    parser.add_argument("--quick", action="store_true", help="tiny batches, one turn: only to see that all runs")
    parser.add_argument(
        "--out", type=Path, default=RESULTS, help="folder for the results (default: benchmarks/results/cpu)"
    )
    options = parser.parse_args(arguments)
    for name in ("blocks", "threads"):
        if getattr(options, name) < 1:
            parser.error(f"--{name}: expected 1 or more, got {getattr(options, name)}")
    for pattern in options.works:
        if not chosen([pattern]) and not fnmatchcase("startup", pattern):
            parser.error(f"--works: no work is called {pattern!r}; there are {', '.join([*WORKS, 'startup'])}")
    return options


def main(arguments: Sequence[str]) -> int:
    options = parse(arguments)
    if not machine.is_installed("torch"):
        print(f"PyTorch is not installed: {sys.executable} -m pip install torch", file=sys.stderr)
        return 2
    patterns = options.works or (QUICK if options.quick else [])
    setting = Setting(options.blocks, options.threads, options.compile)
    if options.quick:
        setting = Setting(1, options.threads, compiled=False, block_seconds=0.02, most_batch=4)
    facts = machine.facts(options.threads)
    print("\n".join(f"{name}: {value}" for name, value in facts.items()), flush=True)

    results = Results(options.out, facts, patterns)
    for work in chosen(patterns):
        results.works.append(measure(work, setting))
        print(line(work, results.works[-1]), flush=True)
        results.write()  # a run that is cut short leaves what it has
    if not patterns or any(fnmatchcase("startup", pattern) for pattern in patterns):
        turns = {"cold_turns": 1, "turns": 1} if options.quick else {}
        results.startup = startup.measure(options.threads, **turns)
        results.write()
    print(f"\n{results.stem.with_suffix('.md').read_text(encoding='utf-8')}\nwritten: {results.stem}.md")
    return 1 if results.failed() else 0


class Results:
    """What has been measured, and its files: a table, the numbers, and a plot where it can be drawn."""

    def __init__(self, folder: Path, facts: dict[str, str], patterns: Sequence[str]) -> None:
        # Runs of some works alone do not replace each other's files.
        named = "-".join([facts["date"][:10], facts["processor"].partition(" (")[0], *patterns])
        self.stem = folder / re.sub(r"[^a-z0-9]+", "-", named.lower()).strip("-")
        self.facts = facts
        self.works: list[dict[str, Any]] = []
        self.startup: list[dict[str, Any]] = []

    def write(self) -> None:
        self.stem.parent.mkdir(parents=True, exist_ok=True)
        picture = self.stem.with_suffix(".png")
        threads, versions = self.facts["cores"].partition(", ")[2].partition(" for")[0], self.facts["PyTorch"]
        subtitle = f"{self.facts['processor']}, {threads}, PyTorch {versions}, {self.facts['date'][:10]}"
        drawn = plot.draw(picture, self.works, subtitle)
        text = report.document(self.facts, self.works, self.startup, picture.name if drawn else None)
        self.stem.with_suffix(".md").write_text(text, encoding="utf-8")
        numbers = {"facts": self.facts, "works": self.works, "startup": self.startup}
        self.stem.with_suffix(".json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")

    def failed(self) -> bool:
        return any(one["failure"] for work in self.works for one in work["times"].values())


def line(work: Work, result: dict[str, Any]) -> str:
    """One work for who watches."""
    times = (f"{n} {o['failure'] or format(1000 * o['seconds'], '.2f') + ' ms'}" for n, o in result["times"].items())
    return f"{work.name}: {', '.join(times)}"


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
