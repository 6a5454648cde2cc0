"""Capturing work as a CUDA graph, on a stand-in for CuPy: in which order CuPy is asked for what."""

from __future__ import annotations

import sys
from typing import Any

import cupy_stand_in
import numpy as np
import pytest

import backends
import gpunn
from backends import emulator
from backends.cuda.capture import CaptureError, Recording
from backends.cuda.cuda_backend import CudaBackend
from gpunn import nn, optim
from gpunn.errors import ConfigError
from gpunn.training.captured import WARM_UP_STEPS, CapturedStep

CAPTURE = ["memory is the pool's", "enter the stream", "begin", "end", "leave the stream", "memory is everybody's"]


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> CudaBackend:
    monkeypatch.setitem(sys.modules, "cupy", cupy_stand_in.make())
    monkeypatch.setattr(backends, "_made", {name: be for name, be in backends._made.items() if ":" not in name})
    backend = backends.get("cuda")
    assert isinstance(backend, CudaBackend)
    return backend


def test_the_order_of_things(cuda: CudaBackend) -> None:
    graph = cuda.runtime.capture(lambda: cuda.xp.streams.log.append("work"))
    assert cuda.xp.streams.log == [*CAPTURE[:3], "work", *CAPTURE[3:]]
    graph.launch()
    assert cuda.xp.streams.log[-1] == "launch"


def test_numbers_of_the_host_are_sent_when_the_capture_is_over(cuda: CudaBackend) -> None:
    made: list[Any] = []

    def work() -> None:
        with pytest.raises(RuntimeError, match="a copy from the host's memory within a captured graph"):
            cuda.xp.asarray([1.0])
        made.append(cuda.runtime.upload([1.5, 2.5], "float64"))
        made[0][...] = -1  # what memory from a pool holds

    graph = cuda.runtime.capture(work)
    assert made[0].get().tolist() == [1.5, 2.5]
    assert any(array is made[0] for array, _ in graph.memory[1])  # kept as long as the graph
    assert cuda.runtime.upload([3.0], "float64").get().tolist() == [3.0]


def test_numbers_of_the_host_lie_where_the_graph_does_not_work(cuda: CudaBackend) -> None:
    """They are written once, and what a kernel works in may be memory that another kernel gave back before."""
    cuda.runtime.capture(lambda: cuda.runtime.upload([1.5], "float64"))
    assert cuda.xp.streams.log == [*CAPTURE[:3], "memory is the default pool's", CAPTURE[0], *CAPTURE[3:]]


def test_work_that_fails_ends_the_capture(cuda: CudaBackend) -> None:
    def work() -> None:
        raise KeyError("in the work")

    with pytest.raises(KeyError, match="in the work"):
        cuda.runtime.capture(work)
    assert cuda.xp.streams.log == CAPTURE[:5]  # the allocator's context ends with the error
    assert not cuda.xp.streams.capturing
    assert cuda.runtime.upload([3.0], "float64").get().tolist() == [3.0]


def test_rates_are_rewritten_where_the_kernels_read_them(cuda: CudaBackend) -> None:
    recording, made = Recording(cuda), []

    def step(rate: float) -> Any:
        return lambda: made.append(cuda.rates(rate, 2 * rate))

    def work() -> None:
        with recording.host_half():
            step(0.5)()

    recording.capture(work, first_stream=7)
    assert made[0].get().tolist() == [0.5, 1.0]
    assert recording.refill(step(0.25))
    assert made[1] is made[0]
    assert made[0].get().tolist() == [0.25, 0.5]
    for rate in (0.5, 0.5, 0.25):
        assert recording.refill(step(rate))
        assert made[0].get().tolist() == [rate, 2 * rate]
    assert cuda.rates(1.0) is not made[0]
    assert cuda.recording is None


def test_what_makes_a_recording_useless(cuda: CudaBackend) -> None:
    """More or fewer rates or kernels than were recorded, or a kernel with another argument."""
    recording = Recording(cuda)

    def step(rates: int = 1, values: int = 1, kernels: int = 1, argument: float = 0.9) -> None:
        for _ in range(rates):
            cuda.rates(*[0.5] * values)
        for _ in range(kernels):
            assert cuda.recording is not None
            cuda.recording.launches("file", "kernel", arguments=(np.zeros(2), argument, 3))

    def work() -> None:
        with recording.host_half():
            step()

    recording.capture(work, first_stream=0)
    assert recording.refill(step)
    for other in ({"rates": 2}, {"rates": 0}, {"values": 2}, {"kernels": 2}, {"kernels": 0}, {"argument": 0.8}):
        assert not recording.refill(lambda other=other: step(**other)), other
    assert recording.refill(step)


def test_kernels_run_but_in_a_refill(cuda: CudaBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    run: list[str] = []
    monkeypatch.setattr(cuda.programs, "kernel", lambda file, kernel, *_: lambda *__: run.append(kernel))
    recording = Recording(cuda)

    def step() -> None:
        cuda.launch("optimizer", "step", np.dtype("float32"), 1, 32, (None, 3))

    def work() -> None:
        cuda.launch("activation", "forward", np.dtype("float32"), 1, 32, ())
        with recording.host_half():
            step()

    recording.capture(work, first_stream=0)
    assert run == ["forward", "step"]
    assert recording.refill(step)
    assert run == ["forward", "step"]
    step()
    assert run == ["forward", "step", "step"]


def test_random_streams(cuda: CudaBackend) -> None:
    assert cuda.stream_base() is None
    recording, bases = Recording(cuda), []
    recording.capture(lambda: bases.extend([cuda.stream_base(), cuda.stream_base()]), first_stream=2**63)
    assert recording.draws == 2
    assert bases[0] is bases[1]
    assert bases[0].get().tolist() == [2**63]
    recording.set_first_stream(11)
    assert bases[0].get().tolist() == [11]


@pytest.mark.skipif(emulator.missing() is not None, reason=str(emulator.missing()))
def test_labels_are_looked_at_after_each_run(cuda: CudaBackend) -> None:
    labels = cuda.asarray(np.array([0, 1]))
    recording = Recording(cuda)
    recording.capture(lambda: cuda.check_labels(labels, 2, None), first_stream=0)
    for _ in range(2):
        cuda.label_flag.pending = False
        recording.launch()
        assert cuda.label_flag.pending
    assert cuda.to_numpy(labels).tolist() == [0, 1]
    assert not cuda.label_flag.pending
    quiet = Recording(cuda)
    quiet.capture(lambda: None, first_stream=0)
    quiet.launch()
    assert not cuda.label_flag.pending
    cuda.check_labels(labels, 2, None)
    quiet.capture(lambda: None, first_stream=0)
    assert cuda.label_flag.pending  # what was asked for before the capture is still to be looked at


def test_reading_within(cuda: CudaBackend) -> None:
    array = cuda.asarray([1.0])
    with pytest.raises(CaptureError, match="a captured step cannot read numbers from the device"):
        Recording(cuda).capture(lambda: cuda.to_numpy(array), first_stream=0)
    assert cuda.to_numpy(array).tolist() == [1.0]


@pytest.mark.skipif(emulator.missing() is not None, reason=str(emulator.missing()))
@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam, optim.RMSprop, optim.Adagrad])
def test_nothing_of_a_step_comes_from_the_hosts_memory(cuda: CudaBackend, kind: Any) -> None:
    """While a step is captured the stand-in allows no copy from there; and later steps launch the graph."""
    net = nn.Sequential(
        nn.Conv2d(1, 3, 3),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(12, 3),
    ).to("cuda")
    step = CapturedStep(net, nn.CrossEntropyLoss(), kind(net.parameters(), lr=0.01), clip_norm=1.0)
    x, labels = gpunn.rand(4, 1, 6, 6, device="cuda"), gpunn.tensor([0, 1, 2, 0], device="cuda")
    for _ in range(WARM_UP_STEPS + 3):
        step(x, labels)
    asked = [line for line in cuda.xp.streams.log if line in ("begin", "end", "launch")]
    assert asked == ["begin", "end", "launch", "launch", "launch"]


def test_a_step_that_cannot_be_captured(cuda: CudaBackend) -> None:
    net = nn.Sequential(nn.BatchNorm1d(2, momentum=None), nn.Linear(2, 2)).to("cuda")
    step = CapturedStep(net, nn.MSELoss(), optim.SGD(net.parameters(), lr=0.01))
    x = gpunn.rand(3, 2, device="cuda")
    for _ in range(WARM_UP_STEPS):
        step(x, x)
    with pytest.raises(ConfigError, match="cuda_graph: a captured step cannot read numbers from the device"):
        step(x, x)
    assert not cuda.xp.streams.capturing
