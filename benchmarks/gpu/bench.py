"""gpunn's kernels and training steps beside PyTorch's on one GPU, in one run; a table and the numbers behind it.

make bench-gpu
python benchmarks/gpu/bench.py --only LeNet MLP --no-compile      # some cases, without torch.compile
"""

from __future__ import annotations

import argparse
import gc
import json
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import device
import kernels
import steps
from timing import Clock, Contender, copy_bandwidth, measure

RESULTS = Path(__file__).parents[1] / "results"


def wanted(name: str, only: list[str]) -> bool:
    return not only or any(part.lower() in name.lower() for part in only)


def rows_of_kernels(
    backend: Any, clock: Clock, options: argparse.Namespace, bandwidth: float
) -> Iterator[dict[str, Any]]:
    for family in kernels.cases(backend, options.compile):
        with backend.scope():
            made = family()
            for case in made:
                name = f"{case.name}, {case.dtype}"
                if wanted(name, options.only):
                    contenders = kernels.contenders(case)
                    measure(clock, contenders, options.rounds)
                    yield row(name, contenders, case.least_bytes / bandwidth)
                    del contenders
            del made, case
        free(backend)


def rows_of_steps(backend: Any, clock: Clock, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    for case in steps.cases():
        if wanted(case.name, options.only):
            contenders = list(steps.contenders(case, options.compile))
            measure(clock, contenders, options.rounds)
            yield row(case.name, contenders)
            del contenders
            free(backend)


def row(name: str, contenders: list[Contender], copy_seconds: float | None = None) -> dict[str, Any]:
    """One line of the results. ``copy_seconds``: how long the device takes to copy as many bytes."""
    times = {c.name: {"seconds": c.median, "spread": c.spread, "failure": c.failure} for c in contenders}
    ours = [c.median for c in contenders if c.name.startswith("gpunn") and c.median]
    theirs = [c.median for c in contenders if c.name.startswith("PyTorch") and c.median]
    return {
        "case": name,
        "times": times,
        "PyTorch's best / gpunn's best": min(theirs) / min(ours) if ours and theirs else None,
        "share of copy bandwidth": {
            c.name: copy_seconds / c.median for c in contenders if copy_seconds is not None and c.median
        },
    }


def free(backend: Any) -> None:
    """Give memory back, so that the next case finds as much as the first did."""
    gc.collect()
    backend.xp.get_default_memory_pool().free_all_blocks()
    torch = device.torch_or_none()
    if torch is not None:
        torch._dynamo.reset()
        gc.collect()
        torch.cuda.empty_cache()


def table(title: str, rows: list[dict[str, Any]]) -> str:
    """Markdown: milliseconds, how often gpunn is as fast, and the share of the copy bandwidth where there is one."""
    if not rows:
        return ""
    names = list(dict.fromkeys(name for r in rows for name in r["times"]))
    shares = any(r["share of copy bandwidth"] for r in rows)
    heads = [
        title,
        *(f"{name}, ms" for name in names),
        "PyTorch / gpunn",
        *(["gpunn, share of a copy"] if shares else []),
    ]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for r in rows:
        cells = [r["case"]]
        for name in names:
            time = r["times"].get(name, {"seconds": None, "failure": None})
            cells.append(
                "failed" if time["failure"] else "" if time["seconds"] is None else f"{1000 * time['seconds']:.3f}"
            )
        ratio = r["PyTorch's best / gpunn's best"]
        cells.append("" if ratio is None else f"{ratio:.2f}")
        if shares:
            share = r["share of copy bandwidth"].get("gpunn")
            cells.append("" if share is None else f"{share:.0%}")
        lines.append(f"| {' | '.join(cells)} |")
    failures = [
        f"- {r['case']}, {name}: {t['failure']}" for r in rows for name, t in r["times"].items() if t["failure"]
    ]
    return "\n".join(lines + (["", *failures] if failures else [])) + "\n"


def line(one: dict[str, Any]) -> str:
    """One case for who watches."""
    times = (f"{n} {t['failure'] or format(1000 * t['seconds'], '.3f') + ' ms'}" for n, t in one["times"].items())
    return f"{one['case']}: {', '.join(times)}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Time gpunn on a GPU, beside PyTorch where it is installed.")
    parser.add_argument("--only", nargs="+", default=[], metavar="PART", help="cases whose name has one of these parts")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each contender (default: 15)")
    parser.add_argument(
        "--no-compile", dest="compile", action="store_false", help="leave torch.compile out: it takes minutes"
    )
    parser.add_argument(
        "--out", type=Path, default=RESULTS, help="folder for the results (default: benchmarks/results)"
    )
    options = parser.parse_args()
    backend = device.require()
    clock = Clock(backend)
    facts = {"date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"), **device.describe(backend)}
    facts["command"] = " ".join(["python benchmarks/gpu/bench.py", *sys.argv[1:]])
    with backend.scope():
        bandwidth = copy_bandwidth(backend, clock, options.rounds)
    facts["copy bandwidth, read and written"] = f"{bandwidth / 1e9:.0f} GB/s"
    free(backend)
    print("\n".join(f"{name}: {value}" for name, value in facts.items()), flush=True)

    found: dict[str, list[dict[str, Any]]] = {"kernel": [], "training step": []}
    options.out.mkdir(parents=True, exist_ok=True)
    # Runs of some cases alone do not replace each other's files.
    named = "-".join([facts["date"][:10], facts["device"], *options.only])
    stem = re.sub(r"[^a-z0-9]+", "-", named.lower())
    runs = {
        "kernel": rows_of_kernels(backend, clock, options, bandwidth),
        "training step": rows_of_steps(backend, clock, options),
    }
    for title, rows in runs.items():
        for one in rows:
            found[title].append(one)
            print(line(one), flush=True)
            write(options.out / stem, facts, found)  # a run that is cut short leaves what it has


def write(stem: Path, facts: dict[str, str], found: dict[str, list[dict[str, Any]]]) -> None:
    head = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    tables = "\n".join(table(title, rows) for title, rows in found.items())
    stem.with_suffix(".md").write_text(
        f"# {facts['device']}, {facts['date'][:10]}\n\n{head}\n\n{tables}", encoding="utf-8"
    )
    stem.with_suffix(".json").write_text(json.dumps({"facts": facts, **found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
