"""The results as Markdown."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

Row = dict[str, Any]


def document(facts: dict[str, str], works: Sequence[Row], startup: Sequence[Row], plot: str | None) -> str:
    training, inference = [w for w in works if w["trains"]], [w for w in works if not w["trains"]]
    parts = [
        f"# {facts['processor']}, {facts['date'][:10]}",
        "\n".join(f"- {name}: {value}" for name, value in facts.items()),
        *([f"![How often as fast as PyTorch]({plot})"] if plot else []),
        *_section("Training step", training, times),
        *_section("Inference", inference, times),
        *_section("Peak memory of a process that trains", training, memory),
        *(["## Until it starts", started(startup)] if startup else []),
        *notes(works),
    ]
    return "\n\n".join(parts) + "\n"


def _section(title: str, works: Sequence[Row], table: Callable[[Sequence[Row]], str]) -> list[str]:
    return [f"## {title}", table(works)] if works else []


def times(works: Sequence[Row]) -> str:
    """Milliseconds of all, and for each of gpunn's ways how often as fast it is as PyTorch's quickest."""
    names, ours = _names(works), [name for name in _names(works) if name.startswith("gpunn")]
    heads = ["network", "batch", *(f"{name}, ms" for name in names), *(f"PyTorch / {name}" for name in ours)]
    lines = []
    for work in works:
        cells = [work["title"], str(work["batch"])]
        cells += [_time(work["times"].get(name), bold=name == work["best"]) for name in names]
        cells += [_ratio(work["times"].get(name, {}).get("PyTorch / this")) for name in ours]
        lines.append(cells)
    means = [_ratio_mean(works, name) for name in ours]
    if len(works) > 1 and any(means):
        lines.append(["geometric mean", "", *[""] * len(names), *means])
    return markdown(heads, lines)


def memory(works: Sequence[Row]) -> str:
    names = _names(works)
    lines = [
        [w["title"], str(w["batch"]), *(_megabytes(w["times"].get(name, {}).get("peak")) for name in names)]
        for w in works
    ]
    return markdown(["network", "batch", *(f"{name}, MB" for name in names)], lines)


def started(startup: Sequence[Row]) -> str:
    lines = [[r["what"], *(f"{r[key]:.2f}" for key in ("seconds", "least", "most"))] for r in startup]
    return markdown(["", "median, s", "least, s", "most, s"], lines)


def notes(works: Sequence[Row]) -> list[str]:
    """How to read the tables, what failed, and how far the losses lie apart."""
    explained = (
        "Medians; ± is half the distance between the quartiles. The ratio is the median over pairs of blocks that were taken "
        "one soon after the other, with its quartiles; above 1 gpunn is the quicker; PyTorch's quickest way, in bold, counts. "
        "A time with * was disturbed by other processes in nearly every block."
    )
    farthest = [max(one["deviation"]) for work in works for one in work["times"].values() if one.get("deviation")]
    if farthest:
        explained += f" The losses of the first steps lie within {max(farthest):.1e} of PyTorch's, relatively."
    failures = [
        f"- {work['title']}, batch {work['batch']}, {name}: {one['failure']}"
        for work in works
        for name, one in work["times"].items()
        if one["failure"]
    ]
    return ["## How to read this", explained, *(["Failed:\n\n" + "\n".join(failures)] if failures else [])]


def markdown(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *lines))


def geometric_mean(values: Sequence[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


def is_disturbed(one: Row) -> bool:
    """Whether the time is of blocks that others disturbed, for want of quiet ones."""
    return one["quiet blocks"] < min(3, one["blocks"])


def _names(works: Sequence[Row]) -> list[str]:
    """The contenders of all works, in the order of the one that has the most."""
    return list(dict.fromkeys(name for w in sorted(works, key=lambda w: -len(w["times"])) for name in w["times"]))


def _time(one: Row | None, bold: bool) -> str:
    if one is None:
        return ""
    if one["seconds"] is None:
        return "failed"
    text = f"{1000 * one['seconds']:.3g}" if one["seconds"] < 1 else f"{1000 * one['seconds']:.0f}"
    text = f"**{text}**" if bold else text
    around = f" ± {100 * one['spread']:.0f}%" if one["spread"] is not None else ""
    return f"{text}{around}{' *' if is_disturbed(one) else ''}"


def _ratio(one: dict[str, float] | None) -> str:
    return "" if one is None else f"{one['median']:.2f} ({one['low']:.2f} to {one['high']:.2f})"


def _ratio_mean(works: Sequence[Row], name: str) -> str:
    """Over the works in which ``name`` took part; nothing where it failed in one."""
    ratios = [work["times"][name].get("PyTorch / this") for work in works if name in work["times"]]
    return f"{geometric_mean([one['median'] for one in ratios]):.2f}" if ratios and all(ratios) else ""


def _megabytes(count: int | None) -> str:
    return "" if count is None else f"{count / 1e6:.0f}"
