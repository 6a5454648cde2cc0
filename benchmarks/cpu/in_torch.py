"""A work as PyTorch does it at its best, in either memory format, as it is or compiled."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from works import LEARNING_RATE, MOMENTUM, Work, weights


def thread_count() -> int:
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    return torch.get_num_threads()


def prepare(work: Work, images: np.ndarray, labels: np.ndarray, options: set[str]) -> Callable[[], Any]:
    """A function that does the work once; ``options`` may hold "channels_last" and "compiled"."""
    memory_format = torch.channels_last if "channels_last" in options else torch.contiguous_format
    net = work.build(torch.nn)
    state = weights({name: tuple(value.shape) for name, value in net.state_dict().items()})
    net.load_state_dict({name: torch.from_numpy(np.asarray(value)) for name, value in state.items()})
    net = net.to(memory_format=memory_format)
    x = torch.from_numpy(images).contiguous(memory_format=memory_format)
    y = torch.from_numpy(labels)
    if not work.trains:
        net.eval()
        forward = torch.compile(net) if "compiled" in options else net

        def infer() -> Any:
            with torch.inference_mode():
                return forward(x)

        return infer

    optimizer = torch.optim.SGD(net.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, fused=True)
    run = torch.compile(net) if "compiled" in options else net

    def step() -> Any:
        optimizer.zero_grad(set_to_none=True)
        loss = torch.nn.functional.cross_entropy(run(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step


def to_numpy(tensor: Any) -> np.ndarray:
    return tensor.detach().numpy()
