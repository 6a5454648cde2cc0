"""A step that the device repeats by itself: its kernels recorded once, as a CUDA graph, and launched together.

A graph repeats its kernels with the arguments they had when it was recorded. What differs from one run to the next must
therefore lie in memory: a `Recording` keeps the arrays from which the kernels take learning rates (`CudaBackend.rates`) and
the number of their first random stream (`CudaBackend.stream_base`), and writes to them before each run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Work = Callable[[], None]


class CaptureError(RuntimeError):
    """A step does what cannot be repeated without the host; the message says what, and what to do."""


class Recording:
    """One captured piece of work on a `CudaBackend`.

    ``draws``: how many random streams a run takes.
    """

    def __init__(self, backend: Any) -> None:
        self.backend = backend
        self.draws = 0
        self._rates: list[Any] = []
        self._values: list[tuple[float, ...]] = []  # what they hold
        self._position = 0  # the next of them, in the order in which the work asks for them
        self._base = backend.zeros((1,), "uint64")
        self._first_rate = 0
        self._launches: list[Any] = []  # those of the half that `refill` goes through again, with their plain arguments
        self._watching = False
        self._refilling = False
        self._launched = 0
        self._unchanged = True
        backend.label_flag.allocate()  # now, as no memory may be filled while the work is recorded
        self._checks_labels = False
        self._graph: Any = None

    # Recording and running

    def capture(self, work: Work, first_stream: int) -> None:
        """Record ``work``. It runs now on the host; on the device only with each `launch`.

        ``first_stream`` is where its random streams begin; in the work they are numbered from 0.
        """
        self.set_first_stream(first_stream)
        self._graph = self.backend.runtime.capture(lambda: self._run(work))

    def set_first_stream(self, number: int) -> None:
        with self.backend.scope():
            self._base[...] = self.backend.runtime.upload([number], "uint64")

    def launch(self) -> None:
        """Run the recorded work; does not wait for it."""
        self._graph.launch()
        self.backend.label_flag.pending |= self._checks_labels

    def _run(self, work: Work) -> None:
        self._position = self.draws = 0
        flag = self.backend.label_flag
        before, flag.pending = flag.pending, False
        try:
            with self._at_work():
                work()
            self._checks_labels = flag.pending
        finally:
            flag.pending = before

    # The half of the work that is the host's

    @contextmanager
    def host_half(self) -> Iterator[None]:
        """Around the part of the work that computes rates and launches kernels with them: an optimizer's step."""
        if self._graph is None:  # it is being recorded
            self._first_rate, self._watching = self._position, True
        try:
            yield
        finally:
            self._watching = False

    def refill(self, host_half: Work) -> bool:
        """Run the host's half again, without its kernels, and put its rates where the recorded kernels read them.

        Returns whether the recorded kernels still are what it asks for. If an option that is an argument of theirs has
        changed, they are not, and the work has to be captured anew.
        """
        self._position, self._launched, self._unchanged, self._refilling = self._first_rate, 0, True, True
        try:
            with self._at_work():
                host_half()
        finally:
            self._refilling = False
        return self._unchanged and self._launched == len(self._launches) and self._position == len(self._rates)

    # What the backend asks

    def rates(self, values: tuple[float, ...]) -> Any:
        """The array from which kernels read these values."""
        runtime = self.backend.runtime
        if self._position == len(self._rates):
            if self._refilling:
                self._unchanged = False
                return runtime.upload(values, "float64")
            self._rates.append(runtime.upload(values, "float64"))
            self._values.append(values)
        elif self._refilling and self._values[self._position] != values:
            if self._rates[self._position].size != len(values):
                self._unchanged = False
                return runtime.upload(values, "float64")
            self._rates[self._position][...] = runtime.upload(values, "float64")
            self._values[self._position] = values
        self._position += 1
        return self._rates[self._position - 1]

    def stream_base(self) -> Any:
        """Where the number of the run's first random stream is: u64, (1,)."""
        self.draws += 1
        return self._base

    def table(self, upload: Callable[[], Any]) -> Any:
        """What a recorded kernel reads besides; None while the host's half is run again, without its kernels."""
        return None if self._refilling else upload()

    def launches(self, *what: Any, arguments: tuple[Any, ...]) -> bool:
        """Whether to launch a kernel: not while the host's half is run again. ``what`` names it and its shape."""
        if self._watching or self._refilling:
            plain = (*what, *(a for a in arguments if isinstance(a, (bool, int, float))))
            if self._refilling:
                self._unchanged &= self._launched < len(self._launches) and self._launches[self._launched] == plain
                self._launched += 1
                return False
            self._launches.append(plain)
        return True

    def refuse_to_read(self) -> None:
        raise CaptureError(
            "a captured step cannot read numbers from the device (.item(), .numpy(), an if on a tensor, BatchNorm with "
            "momentum=None); take that out of the step, or train without cuda_graph"
        )

    def refuse_array_code(self, kernel: str) -> None:
        raise CaptureError(
            f"a captured step needs the kernel '{kernel}' for all parameters, and one has another dtype than its gradient, or "
            "shares its memory with another; train without cuda_graph"
        )

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        self.backend.recording = self
        try:
            yield
        finally:
            self.backend.recording = None
