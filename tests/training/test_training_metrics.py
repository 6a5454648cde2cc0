"""Running means: weighted by examples, exact over a stop, and pointing at the first bad step."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gpunn import tensor
from gpunn.training.metrics import RunningMetrics


def add(running: RunningMetrics, loss: float, logits: list, targets: list) -> None:
    running.add(tensor(np.float32(loss)), tensor(np.array(logits, np.float32)), tensor(np.array(targets)))


def test_means_are_weighted_by_examples() -> None:
    running = RunningMetrics()
    add(running, 1.0, [[1, 0], [0, 1], [1, 0]], [0, 1, 1])
    add(running, 5.0, [[1, 0]], [0])
    reading = running.read()
    assert reading.loss == (3 * 1.0 + 5.0) / 4
    assert reading.accuracy == 3 / 4
    assert reading.examples == 4
    assert reading.first_bad_step is None


def test_no_accuracy_without_class_indices() -> None:
    running = RunningMetrics()
    running.add(tensor(np.float32(2.0)), tensor(np.zeros((2, 3), np.float32)), tensor(np.zeros((2, 3), np.float32)))
    assert running.read().accuracy is None


@pytest.mark.parametrize(("bad", "kind"), [(math.nan, "NaN"), (math.inf, "infinite"), (-math.inf, "infinite")])
def test_first_bad_step(bad: float, kind: str) -> None:
    running = RunningMetrics()
    for loss in (1.0, 2.0, bad, 1.0):
        add(running, loss, [[1, 0]], [0])
    assert running.read().first_bad_step == 3
    assert running.read().kind == kind


def test_stopped_and_gone_on_is_the_same_to_the_bit() -> None:
    losses = np.random.default_rng(0).random(50).astype(np.float32)
    whole, first = RunningMetrics(), RunningMetrics()
    for loss in losses:
        add(whole, loss, [[1, 0], [0, 1], [1, 0]], [0, 0, 0])
    for loss in losses[:20]:
        add(first, loss, [[1, 0], [0, 1], [1, 0]], [0, 0, 0])
        first.read()  # looking changes nothing
    second = RunningMetrics()
    second.load_state_dict(first.state_dict())
    for loss in losses[20:]:
        add(second, loss, [[1, 0], [0, 1], [1, 0]], [0, 0, 0])
    assert second.state_dict() == whole.state_dict()
