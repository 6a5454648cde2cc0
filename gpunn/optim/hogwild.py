"""Hogwild: several processes that step on the same parameters at once, without locks."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import backends
from gpunn.random import default_generator
from gpunn.tensor import Tensor

HOST = ("cpu", "reference")
STREAMS = 1 << 32  # of random numbers for each process, so that no two share one
THREADS = ("GPUNN_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")


class _Shared(NamedTuple):
    """A parameter in memory that all processes see."""

    memory: Any
    shape: tuple[int, ...]
    dtype: str
    device: str

    def tensor(self) -> Tensor:
        backend = backends.get(self.device)
        array = backend.xp.frombuffer(self.memory, dtype=self.dtype)[: math.prod(self.shape)]
        return Tensor(array.reshape(self.shape), backend, requires_grad=True)


def hogwild(
    work: Callable[..., None],
    parameters: Sequence[Tensor],
    processes: int = 2,
    seed: int = 0,
    arguments: tuple[Any, ...] = (),
) -> None:
    """Run ``work(shared, number, *arguments)`` in several processes, all on the same parameters, without locks.

    Each process reads the parameters, computes a gradient and writes its step, while the others do the same: a gradient
    may be of parameters that have changed since, and where two write an element at once, one step of it is lost. If
    steps are sparse (each touches few elements, as those of a linear model on few features do), this is rare, and
    convergence is nearly that of steps in turn, at the speed of all processes together. Write only what changed
    (``shared[0].data[index] -= ...``): an optimizer that rewrites the whole parameter loses more of the others' steps.

    Source: F. Niu, B. Recht, C. Re, S. Wright, "Hogwild!: a lock-free approach to parallelizing stochastic gradient
    descent", NIPS 2011.

    work: a function of a module, which the new processes import; a script that calls `hogwild` needs
    ``if __name__ == "__main__":``. ``shared``: leaf Tensors in the order of ``parameters``, which require gradients and
    whose ``data`` all processes write to in place. ``number``: 0 to processes - 1. Each process computes on one thread.
    parameters: Tensors on the host. They have the result when `hogwild` returns.
    processes: an integer >= 1. With one, the result is that of the same steps in a loop, bit for bit; with several it
    depends on who comes first.
    seed: of gpunn's random numbers: each process draws its own, process 0 those of ``gpunn.manual_seed(seed)``.
    arguments: more for ``work``; they are pickled, a copy for each process.
    Raises ValueError for no parameters, parameters on another device or a wrong number of processes; TypeError for work
    that other processes cannot import; RuntimeError where a process ends with an error (the others are stopped, and the
    parameters stay as they were).
    """
    _check(work, parameters, processes)
    # Here, since it is slow to import and few programs need it.
    import multiprocessing
    from multiprocessing.connection import wait

    # Not by fork: a process with threads (those of the matrix products) must not be copied.
    context = multiprocessing.get_context("spawn")
    shared = []
    for param in parameters:
        memory = context.RawArray("b", max(1, param.numel()) * param.dtype.itemsize)
        shared.append(_Shared(memory, param.shape, param.dtype.name, param.device))
        shared[-1].tensor().data[...] = param.data
    started = [
        context.Process(target=_run, args=(work, number, seed, shared, arguments), daemon=True)
        for number in range(processes)
    ]
    try:
        with _one_thread():
            for process in started:
                process.start()
        running = started
        while running:
            wait([process.sentinel for process in running])
            # Before the look at exit codes: one that ends in between is looked at in the next turn.
            running = [process for process in running if process.exitcode is None]
            for number, process in enumerate(started):
                if process.exitcode:
                    raise RuntimeError(
                        f"hogwild: process {number} ended with exit code {process.exitcode}; "
                        "its error stands on standard error"
                    )
    finally:
        for process in started:
            if process.is_alive():
                process.terminate()
                process.join()
    for param, result in zip(parameters, shared, strict=True):
        param.data[...] = result.tensor().data
        param.version.count += 1


def _run(work: Callable[..., None], number: int, seed: int, shared: list[_Shared], arguments: tuple[Any, ...]) -> None:
    default_generator.set_state({"seed": seed & 0xFFFFFFFFFFFFFFFF, "stream": number * STREAMS})
    work([entry.tensor() for entry in shared], number, *arguments)


def _check(work: Any, parameters: Sequence[Tensor], processes: int) -> None:
    if not isinstance(processes, int) or processes < 1:
        raise ValueError(f"hogwild: expected processes to be a positive integer, got {processes!r}")
    if not parameters:
        raise ValueError("hogwild: got no parameters; expected at least one Tensor")
    for param in parameters:
        if param.device not in HOST:
            raise ValueError(f"hogwild: expected parameters on the host, got one on '{param.device}'; use .to('cpu')")
    if "<" in getattr(work, "__qualname__", "<"):  # <lambda>, <locals>, or no function
        raise TypeError(
            f"hogwild: expected work to be a function of a module, for other processes to import, got {work!r}"
        )


@contextmanager
def _one_thread() -> Iterator[None]:
    """Processes that are started within compute on one thread each: there are as many of them as are wanted."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
