"""The sum of a run of memory: in parallel lanes where the kernel that Python calls is compiled with `reassociate`."""

from __future__ import annotations

from typing import Any

from .compiler import compiled


@compiled(inline=True)
def total_of(run: Any) -> Any:
    total = run.dtype.type(0)
    for i in range(len(run)):
        total += run[i]
    return total
