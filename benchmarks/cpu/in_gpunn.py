"""A work as gpunn does it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from works import LEARNING_RATE, MOMENTUM, Work, weights

sys.path.insert(0, str(Path(__file__).parents[2]))  # gpunn as it lies here, installed or not

import gpunn
from backends.cpu import threads


def thread_count() -> int:
    return threads.core_count()


def prepare(work: Work, images: np.ndarray, labels: np.ndarray, options: set[str]) -> Callable[[], Any]:
    """A function that does the work once: it returns the loss of a training step, or the outputs of inference."""
    if options:
        raise ValueError(f"gpunn has no options here, got {sorted(options)}")
    with gpunn.init.skip():
        net = work.build(gpunn.nn)
    net.load_state_dict(weights({name: value.shape for name, value in net.state_dict().items()}))
    x, y = gpunn.tensor(images), gpunn.tensor(labels)
    if not work.trains:
        net.eval()

        def infer() -> Any:
            with gpunn.no_grad():
                return net(x)

        return infer

    optimizer = gpunn.optim.SGD(net.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)

    def step() -> Any:
        optimizer.zero_grad()
        loss = gpunn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step


def to_numpy(tensor: Any) -> np.ndarray:
    return tensor.detach().numpy()
