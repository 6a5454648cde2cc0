"""curves.png: loss and accuracy over the epochs."""

from __future__ import annotations

import logging
import os
from typing import Any

logger = logging.getLogger("gpunn")

TRAIN_COLOR = "#3b6fb6"
HELD_OUT_COLOR = "#d1602b"


def draw_curves(
    history: list[dict[str, Any]], path: str | os.PathLike[str], title: str = "", same_loss: bool = True
) -> bool:
    """Draw the records of metrics.jsonl. Returns False, with a line in the log, where matplotlib is not installed.

    ``same_loss``: whether training minimized the same loss that evaluation reports; if not, the legend says so.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator, PercentFormatter
    except ImportError:
        logger.info("no curves.png: matplotlib is not installed (pip install matplotlib)")
        return False
    has_accuracy = any(record.get("train_accuracy") is not None for record in history)
    quantities = ["loss", "accuracy"] if has_accuracy else ["loss"]
    # Figure and canvas without pyplot: no global state, and no window system is looked for.
    figure = Figure(figsize=(5.2 * len(quantities), 3.9), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, quantity in zip(figure.subplots(1, len(quantities), squeeze=False)[0], quantities, strict=True):
        for name, color in (("train", TRAIN_COLOR), ("validation", HELD_OUT_COLOR), ("test", HELD_OUT_COLOR)):
            key = f"{name}_{quantity}"
            points = [(r["epoch"], r[key]) for r in history if r.get(key) is not None]
            if points:
                epochs, values = zip(*points, strict=True)
                label = "train (as it is minimized)" if key == "train_loss" and not same_loss else name
                axes.plot(epochs, values, color=color, label=label, marker="o", markersize=3.5, linewidth=1.8)
        axes.set_xlabel("epoch")
        axes.set_ylabel(quantity)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if quantity == "accuracy":
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    if title:
        figure.suptitle(title)
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        logger.warning("no curves.png: cannot write %s: %s", path, error.strerror or error)
        return False
    return True
