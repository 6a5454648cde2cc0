"""What the GPU benchmark makes of its measurements, on a processor: with a clock of the host and small arrays."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import backends

SCRIPTS = Path(__file__).parents[2] / "benchmarks" / "gpu"
MODULES = ("bench", "device", "kernels", "steps", "timing")


class HostClock:
    def __init__(self, backend: Any) -> None:
        pass

    def time(self, run: Callable[[], object], count: int) -> float:
        started = time.perf_counter()
        for _ in range(count):
            run()
        return (time.perf_counter() - started) / count


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script's module, on the reference backend and without PyTorch."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import bench
    import device
    import kernels
    import steps
    import timing

    monkeypatch.setattr(device, "require", lambda: backends.get("reference"))
    monkeypatch.setattr(device, "describe", lambda backend: {"device": "A Processor"})
    monkeypatch.setattr(device, "torch_or_none", lambda: None)
    monkeypatch.setattr(kernels, "torch_or_none", lambda: None)
    monkeypatch.setattr(kernels, "ELEMENTS", 64)
    monkeypatch.setattr(kernels, "ROWS", 4)
    monkeypatch.setattr(kernels, "MAPS", (2, 3, 4, 4))
    monkeypatch.setattr(kernels, "WEIGHTS", [(3, 4), (4,)])
    monkeypatch.setattr(steps, "torch_or_none", lambda: None)
    monkeypatch.setattr(steps, "DEVICE", "reference")
    monkeypatch.setattr(timing, "BLOCK_SECONDS", 1e-6)
    monkeypatch.setattr(bench, "Clock", HostClock)
    monkeypatch.setattr(bench, "copy_bandwidth", lambda *_: 1e9)
    monkeypatch.setattr(bench, "free", lambda backend: None)
    yield bench
    for name in MODULES:
        sys.modules.pop(name, None)


def test_a_whole_run(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ml_dtypes")
    only = ["relu", "elu", "cross-entropy", "adam", "mlp"]
    monkeypatch.setattr(sys, "argv", ["bench.py", "--rounds", "4", "--out", str(tmp_path), "--only", *only])
    bench.main()
    (table,) = tmp_path.glob("*-a-processor-relu-elu-cross-entropy-adam-mlp.md")
    (numbers,) = tmp_path.glob("*.json")
    found = json.loads(numbers.read_text(encoding="utf-8"))
    kernels = [row["case"] for row in found["kernel"]]
    assert len(kernels) == 15  # relu, elu, batchnorm+relu (both ways) and cross-entropy in two dtypes, and Adam
    assert all(
        row["times"]["gpunn"]["seconds"] > 0 for rows in (found["kernel"], found["training step"]) for row in rows
    )
    assert all(row["share of copy bandwidth"]["gpunn"] > 0 for row in found["kernel"])
    text = table.read_text(encoding="utf-8")
    assert all(f"| {name} |" in text for name in kernels)
    # The processor has no graphs: a contender that cannot run says why, and the others go on.
    failure = found["training step"][0]["times"]["gpunn, captured"]
    assert failure["seconds"] is None
    assert failure["failure"].startswith("ConfigError: cuda_graph: expected a CUDA device, got 'reference'")
    assert "MLP, batch 128, bf16, gpunn, captured: ConfigError" in text


def test_the_table(bench: Any) -> None:
    from timing import Contender

    contenders = [
        Contender("gpunn", list, [0.002, 0.001, 0.009]),
        Contender("PyTorch", list, [0.003, 0.003, 0.003]),
        Contender("PyTorch, compiled", list, failure="RuntimeError: no compiler"),
    ]
    row = bench.row("a case", contenders, copy_seconds=0.0015)
    assert row["PyTorch's best / gpunn's best"] == 1.5
    lines = bench.table("kernel", [row]).splitlines()
    assert lines[0] == (
        "| kernel | gpunn, ms | PyTorch, ms | PyTorch, compiled, ms | PyTorch / gpunn | gpunn, share of a copy |"
    )
    assert lines[2] == "| a case | 2.000 | 3.000 | failed | 1.50 | 75% |"
    assert lines[-1] == "- a case, PyTorch, compiled: RuntimeError: no compiler"


def test_turns(bench: Any) -> None:
    """Contenders alternate, and one that fails is left out of the turns."""
    from timing import Contender, measure

    order: list[str] = []

    def fail() -> None:
        raise RuntimeError("out of memory\nand more lines")

    first, second = (Contender(name, lambda name=name: order.append(name)) for name in "ab")
    broken = Contender("c", fail)
    measure(HostClock(None), [first, broken, second], rounds=3)
    assert len(first.seconds) == len(second.seconds) == 3
    assert broken.failure == "RuntimeError: out of memory"
    changes = sum(a != b for a, b in pairwise(order))
    assert changes == 7  # warm-up of a, of b, then a b a b a b
