"""The table of operations: one row each, which drives all checks on every device (see `test_operations.py`)."""

from __future__ import annotations

from operations import (
    table_activations,
    table_gates,
    table_losses,
    table_penalties,
    table_reductions,
    table_windows,
)
from operations.specification import Operation

TABLE: list[Operation] = [
    *table_gates.ROWS,
    *table_reductions.ROWS,
    *table_activations.ROWS,
    *table_windows.ROWS,
    *table_losses.ROWS,
    *table_penalties.ROWS,
]
