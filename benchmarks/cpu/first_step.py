"""`gpunn train` up to the end of its first training step: prints the seconds since START and ends.

startup.py runs it as `python first_step.py START FOLDER`, START by time.monotonic().
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # gpunn as it lies here, installed or not


def main(start: float, folder: str) -> int:
    from gpunn.cli.main import main as gpunn_command
    from gpunn.training.step import TrainingStep

    whole_step = TrainingStep.__call__

    def only_one(self: TrainingStep, inputs: Any, targets: Any) -> Any:
        loss, _ = whole_step(self, inputs, targets)
        loss.item()
        print(time.monotonic() - start, flush=True)
        os._exit(0)

    TrainingStep.__call__ = only_one  # type: ignore[method-assign]
    return gpunn_command(["train", "--device", "cpu", "--out", folder])


if __name__ == "__main__":
    raise SystemExit(main(float(sys.argv[1]), sys.argv[2]))
