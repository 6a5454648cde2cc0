"""The contenders take turns; what counts are the blocks that nobody disturbed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from contenders import Process, taking_part
from disturbance import quiet
from works import Work

BLOCK_SECONDS = 0.5  # long enough for /proc/stat, which counts in hundredths of a second
MOST_ROUNDS = 3  # times what was asked for, so that there are as many quiet ones
LEAST_QUIET = 3  # below that all blocks count, and the table says so
# How far losses may lie from PyTorch's, as a share of the loss: that of the first step, and those after updates of the weights.
FIRST_LOSS, LATER_LOSSES = 1e-4, 1e-3
PREPARED = ("memory_before", "first_step_seconds", "losses", "deviation")  # what goes into the results


@dataclass(frozen=True)
class Setting:
    """How long and with whom: ``blocks`` quiet ones of each contender, if they can be had, on ``threads`` processors."""

    blocks: int
    threads: int
    compiled: bool = True
    block_seconds: float = BLOCK_SECONDS
    most_batch: int | None = None


def measure(work: Work, setting: Setting) -> dict[str, Any]:
    """The work's line in the results: see `summary`."""
    batch = min(work.batch, setting.most_batch or work.batch)
    with ExitStack() as stack:
        processes = [stack.enter_context(Process(one, setting.threads)) for one in taking_part(work, setting.compiled)]
        for process in processes:
            process.prepare(work, batch)
        check(processes, setting.threads)
        take_turns(processes, setting)
        ends = {process.contender.name: process.ask("end") for process in processes}
        for process in processes:
            end = ends[process.contender.name]
            if end is not None and not math.isfinite(end["loss"]):
                process.failure = f"the loss of the last step is {end['loss']}"
    return summary(work, batch, processes, ends)


def check(processes: Sequence[Process], threads: int) -> None:
    """All have the same threads, and the losses of the first that did not fail among PyTorch's."""
    standing = [process for process in processes if process.failure is None]
    for process in standing:
        if process.prepared["threads"] != threads:
            process.failure = f"runs on {process.prepared['threads']} threads, not on {threads}"
    peers = [process for process in standing if process.contender.framework == "torch"]
    if not peers:
        return
    wanted = peers[0].prepared["losses"]
    for process in standing:
        process.prepared["deviation"] = found = deviations(process.prepared["losses"], wanted)
        limits = [FIRST_LOSS, *[LATER_LOSSES] * (len(found) - 1)]
        if not all(one <= limit for one, limit in zip(found, limits, strict=True)):  # so that NaN fails too
            losses = " ".join(f"{loss:.6f}" for loss in process.prepared["losses"])
            process.failure = f"computes other losses than {peers[0].contender.name}: {losses}"


def deviations(losses: Sequence[float], wanted: Sequence[float]) -> list[float]:
    return [abs(loss - other) / abs(other) for loss, other in zip(losses, wanted, strict=True)]


def take_turns(processes: Sequence[Process], setting: Setting) -> None:
    """Rounds in which each does a block; who begins changes from round to round."""
    standing = [process for process in processes if process.failure is None]
    counts = {id(p): max(1, round(setting.block_seconds / p.prepared["step_seconds"])) for p in standing}
    for number in range(MOST_ROUNDS * setting.blocks):
        if all(sum(quiet(process.blocks)) >= setting.blocks for process in standing):
            break
        start = number % len(standing) if standing else 0
        for process in standing[start:] + standing[:start]:
            process.run(counts[id(process)])


def summary(work: Work, batch: int, processes: Sequence[Process], ends: dict[str, Any]) -> dict[str, Any]:
    """What is known of each contender, and how often as fast as PyTorch's quickest way each of gpunn's is."""
    kept = {process.contender.name: kept_blocks(process) for process in processes}
    found: dict[str, Any] = {}
    for process in processes:
        name = process.contender.name
        seconds = list(kept[name].values())
        found[name] = {
            "framework": process.contender.framework,
            "seconds": statistics.median(seconds) if seconds and process.failure is None else None,
            "spread": spread(seconds),
            "blocks": len(process.blocks),
            "quiet blocks": sum(quiet(process.blocks)),
            "failure": process.failure,
            "peak": (ends[name] or {}).get("peak"),
            **{key: process.prepared.get(key) for key in PREPARED},
        }
    peers = {n: one["seconds"] for n, one in found.items() if one["framework"] == "torch" and one["seconds"]}
    best = min(peers, key=lambda name: peers[name]) if peers else None
    for name, one in found.items():
        if best is not None and one["framework"] == "gpunn" and one["seconds"]:
            one["PyTorch / this"] = ratio(kept[best], kept[name])
    return {"work": work.name, "title": work.title, "batch": batch, "trains": work.trains, "best": best, "times": found}


def kept_blocks(process: Process) -> dict[int, float]:
    """Seconds of a step by the number of the round: of the quiet blocks, or of all where there are too few."""
    marks = quiet(process.blocks)
    if sum(marks) < LEAST_QUIET:
        marks = [True] * len(marks)
    return {n: block.seconds for n, (block, mark) in enumerate(zip(process.blocks, marks, strict=True)) if mark}


def spread(values: Sequence[float]) -> float | None:
    """Half the distance between the quartiles, as a share of the median."""
    if len(values) < 2:
        return None
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return (high - low) / 2 / middle


def ratio(theirs: dict[int, float], ours: dict[int, float]) -> dict[str, float]:
    """How often as fast: the median over the rounds in which both were quiet, and the quartiles.

    The two blocks of a round lie seconds apart, so that clocks and temperatures of the machine cancel.
    """
    paired = sorted(theirs[number] / ours[number] for number in theirs.keys() & ours.keys())
    if not paired:
        paired = [statistics.median(theirs.values()) / statistics.median(ours.values())]
    if len(paired) == 1:
        paired *= 2
    low, middle, high = statistics.quantiles(paired, n=4, method="inclusive")
    return {"median": middle, "low": low, "high": high}
