"""One style for the pictures of all examples, and one place where they go.

    figure, axes = new(rows=1, columns=2)
    axes[0].plot(...)
    save(figure, "learning_rate", "Loss against step, for three learning rates.")

The picture goes to ``learning_rate.png`` in the folder that the environment variable GPUNN_PICTURES names (else
``pictures/``), its caption beside it to ``learning_rate.json``. `scripts/run_examples.py` makes a page of them all.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

try:
    import matplotlib
    from matplotlib.figure import Figure
except ImportError:
    sys.exit("this example draws with matplotlib, which is not installed: pip install 'gpunn[plots]'")

# Okabe and Ito's colours, which colour-blind readers tell apart: blue, orange, green, pink, sky blue, vermilion, black.
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
SEQUENTIAL = "viridis"  # for images of values that have no sign
DIVERGING = "RdBu_r"  # for values with a sign; give vmin=-limit, vmax=limit, so that 0 is white

STYLE = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.labelsize": 13,
    "axes.prop_cycle": matplotlib.cycler(color=COLORS),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 13,
    "figure.constrained_layout.h_pad": 0.1,
    "figure.constrained_layout.w_pad": 0.1,
    "figure.titlesize": 14,
    "font.size": 12,
    "grid.alpha": 0.25,
    "image.cmap": SEQUENTIAL,
    "legend.fontsize": 11,
    "legend.framealpha": 0.85,
    "lines.linewidth": 2.0,
    "savefig.dpi": 120,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
}


def new(rows: int = 1, columns: int = 1, width: float | None = None, height: float | None = None, **more: Any) -> Any:
    """A figure and its axes: one, or an array of them as `matplotlib.pyplot.subplots` gives it.

    ``width`` and ``height`` are the whole figure's, in inches. Prefer rows to columns: telephones are narrow.
    ``more`` goes to `Figure.subplots` (``sharex=True``, for one).
    """
    matplotlib.rcParams.update(STYLE)
    size = (width or (7.0 if columns == 1 else 4.4 * columns), height or (4.6 if rows == 1 else 3.8 * rows))
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns, **more)


def tiles(images: np.ndarray, columns: int, gap: int = 1, background: float = 1.0) -> np.ndarray:
    """Images (n, height, width[, 3]) side by side in rows, as one image with gaps of ``background`` between them."""
    count, height, width, *channels = images.shape
    rows = -(-count // columns)
    shape = (rows * (height + gap) - gap, columns * (width + gap) - gap, *channels)
    sheet = np.full(shape, background, dtype=np.result_type(images.dtype, np.float32))
    for index, image in enumerate(images):
        top, left = index // columns * (height + gap), index % columns * (width + gap)
        sheet[top : top + height, left : left + width] = image
    return sheet


def show(axes: Any, image: np.ndarray, title: str = "", **how: Any) -> Any:
    """An image (height, width[, 3]) without ticks or grid; grey from 0 to 1 unless ``how`` says otherwise."""
    if image.ndim == 2:
        how.setdefault("cmap", "gray")
    if "norm" not in how:
        how.setdefault("vmin", 0.0)
        how.setdefault("vmax", 1.0)
    drawn = axes.imshow(image, interpolation="nearest", **how)
    axes.set(xticks=[], yticks=[], title=title)
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return drawn


def folder() -> Path:
    """Where pictures go."""
    path = Path(os.environ.get("GPUNN_PICTURES") or "pictures")
    path.mkdir(parents=True, exist_ok=True)
    return path


def save(figure: Figure, name: str, caption: str) -> Path:
    """Write ``figure`` to ``<folder>/<name>.png`` and its caption beside it; says where. A name is used once."""
    path = folder() / f"{name}.png"
    figure.savefig(path)
    note(path, caption)
    return path


def note(path: Path, caption: str) -> None:
    """Remember the caption of a picture that was written otherwise (an SVG, for one), and which example drew it."""
    words = {"picture": path.name, "example": Path(sys.argv[0]).stem, "caption": caption}
    path.with_suffix(".json").write_text(json.dumps(words, indent=1) + "\n", encoding="utf-8")
    print(f"picture {path}", flush=True)
