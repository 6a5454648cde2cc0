"""How often gpunn is as fast as PyTorch's quickest way, as bars; matplotlib draws them where it is installed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]
COLOURS = {"gpunn": "#1f6feb", "gpunn, direct": "#8ab4f8", "gpunn, NumPy only": "#b0b7c3"}
BAR = 0.27  # the height of a bar; the networks' middles lie 1 apart


def draw(path: Path, works: Sequence[Row], title: str) -> bool:
    """Writes ``path``: a row a network, a column for training and for each batch of inference.

    False where there is nothing to draw, or nothing to draw it with.
    """
    works = [work for work in works if _bars(work)]
    try:
        import matplotlib
    except ImportError:
        return False
    if not works:
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot

    networks = list(dict.fromkeys(work["title"] for work in works))
    panels: dict[str, list[Row]] = {}
    for work in works:
        panels.setdefault("Training step" if work["trains"] else f"Inference, batch {work['batch']}", []).append(work)
    figure, axes = pyplot.subplots(
        1, len(panels), squeeze=False, sharey=True, layout="constrained",
        figsize=(2.4 + 3.3 * len(panels), 1.6 + 0.9 * len(networks)),
    )  # fmt: skip
    for axis, (name, rows) in zip(axes[0], panels.items(), strict=True):
        axis.set_title(name, fontsize=10, fontweight="bold")
        for work in rows:
            _draw_bars(axis, networks.index(work["title"]), work)
        axis.axvline(1, color="black", lw=1, zorder=0.5)
        axis.set_xlim(0, 1.2 * max([1.0, *(ratio["high"] for work in rows for _, ratio in _bars(work))]))
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(axis="y", length=0)
    axes[0, 0].set_yticks(range(len(networks)), [_label(network, works) for network in networks], fontsize=8)
    axes[0, 0].set_ylim(len(networks) - 0.5, -0.5)  # the first on top
    axes[0, 0].set_ylabel("network")
    figure.supxlabel("times as fast as PyTorch's quickest way (thin lines: quartiles)", fontsize=10)
    marks = [pyplot.Rectangle((0, 0), 1, 1, color=colour) for colour in COLOURS.values()]
    figure.legend(marks, list(COLOURS), loc="outside upper center", ncols=len(COLOURS), frameon=False, fontsize=9,
                  title=title, title_fontsize=9)  # fmt: skip
    figure.savefig(path, dpi=130)
    pyplot.close(figure)
    return True


def _bars(work: Row) -> list[tuple[str, dict[str, float]]]:
    return [(n, work["times"][n]["PyTorch / this"]) for n in COLOURS if "PyTorch / this" in work["times"].get(n, {})]


def _label(network: str, works: Sequence[Row]) -> str:
    batches = [str(work["batch"]) for work in works if work["title"] == network and work["trains"]]
    return "\n".join([network, *(f"(training: batch {batch})" for batch in batches)])


def _draw_bars(axis: Any, row: int, work: Row) -> None:
    bars = _bars(work)
    for number, (name, ratio) in enumerate(bars):
        place, middle = row + BAR * (number - (len(bars) - 1) / 2), ratio["median"]
        errors = [[middle - ratio["low"]], [ratio["high"] - middle]]
        axis.barh(place, middle, BAR * 0.9, color=COLOURS[name], xerr=errors, error_kw={"lw": 1, "capsize": 2})
        axis.annotate(f"{middle:.2f}", (ratio["high"], place), xytext=(5, 0), textcoords="offset points", va="center",
                      fontsize=8, bbox={"fc": "white", "ec": "none", "pad": 1})  # fmt: skip
