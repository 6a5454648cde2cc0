"""Who takes part, each a process of its own, so that their environments differ and their memory is measured apart."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from disturbance import Block
from works import Work

WORKER = Path(__file__).with_name("worker.py")
# Large pages for PyTorch's memory, weights that the compiler may take for constants (inference only), and no compiling
# processes that live on while others are timed.
TORCH = {"THP_MEM_ALLOC_ENABLE": "1", "TORCHINDUCTOR_FREEZING": "1", "TORCHINDUCTOR_COMPILE_THREADS": "1"}


@dataclass(frozen=True)
class Contender:
    """``options`` are those of in_torch.py."""

    name: str
    framework: str
    environment: Mapping[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()


CONTENDERS = [
    Contender("gpunn", "gpunn"),
    Contender("gpunn, direct", "gpunn", {"GPUNN_CONV": "direct"}),
    Contender("gpunn, NumPy only", "gpunn", {"GPUNN_COMPILED": "0"}),
    Contender("PyTorch", "torch", TORCH),
    Contender("PyTorch, channels-last", "torch", TORCH, ("channels_last",)),
    Contender("PyTorch, compiled", "torch", TORCH, ("compiled",)),
    Contender("PyTorch, compiled, channels-last", "torch", TORCH, ("compiled", "channels_last")),
]


def taking_part(work: Work, compiled: bool) -> list[Contender]:
    """Those for whom the work is not the same as another's."""
    return [
        contender
        for contender in CONTENDERS
        if (compiled or "compiled" not in contender.options)
        and (work.has_convolutions or not ("channels_last" in contender.options or "direct" in contender.name))
    ]


def environment(contender: Contender, threads: int) -> dict[str, str]:
    """That of this process, with as many threads for everyone and what the contender asks for."""
    counts = ("GPUNN_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    return {**os.environ, **dict.fromkeys(counts, str(threads)), **contender.environment}


class Process:
    """A contender at work. What fails leaves the first line of its error in ``failure``, and no more is asked of it."""

    def __init__(self, contender: Contender, threads: int) -> None:
        self.contender = contender
        self.failure: str | None = None
        self.prepared: dict[str, Any] = {}
        self.blocks: list[Block] = []
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115, see __exit__
        self._process = subprocess.Popen(
            [sys.executable, str(WORKER), contender.framework],
            env=environment(contender, threads),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended before
            self._process.stdin.close()  # the end of its requests, upon which it ends
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    def ask(self, do: str, **arguments: Any) -> dict[str, Any] | None:
        """The answer, or None for what has failed."""
        if self.failure is not None:
            return None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self.failure = self._last_words()
            return None
        reply = json.loads(line)
        self.failure = reply.get("failure")
        return reply.get("answer")

    def prepare(self, work: Work, batch: int) -> None:
        self.prepared = self.ask("prepare", work=work.name, batch=batch, options=self.contender.options) or {}

    def run(self, steps: int) -> None:
        answer = self.ask("block", steps=steps)
        if answer is not None:
            self.blocks.append(Block(**answer))

    def _last_words(self) -> str:
        code = self._process.wait()
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors.read().splitlines() if line.strip()]
        return f"ended with code {code}: {lines[-1][:120] if lines else 'no message'}"
