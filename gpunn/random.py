"""The source of all random numbers in gpunn: numbered streams of a counter-based generator.

A draw (an initial weight, a dropout mask) takes the next stream number, so the state of a generator is two integers:
the seed and the number of the next stream. `backends.philox` turns seed, stream and position into bits.
"""

from __future__ import annotations

# The upper 16 bits of a stream number say what it is for, so that the kinds of draws never share a stream.
DEFAULT = 0  # initial weights, dropout masks: counted up, one stream a draw
SHUFFLE = 1  # the order of a data set: one stream an epoch
AUGMENT = 2  # augmentation: one stream an epoch and transform
PURPOSE_SHIFT = 48


def stream_of(purpose: int, number: int) -> int:
    """The 64-bit stream number of the ``number``-th draw for ``purpose``."""
    if not 0 <= number < 1 << PURPOSE_SHIFT:
        raise ValueError(f"stream_of: expected 0 <= number < 2**{PURPOSE_SHIFT}, got {number}")
    return (purpose << PURPOSE_SHIFT) | number


class Generator:
    """A seed and the number of the next stream."""

    def __init__(self, seed: int = 0) -> None:
        self.manual_seed(seed)

    def manual_seed(self, seed: int) -> Generator:
        """Start again from ``seed`` (any integer; its low 64 bits count)."""
        self.seed = int(seed) & 0xFFFFFFFFFFFFFFFF
        self.stream = 0
        return self

    def next_stream(self) -> int:
        """The stream for one draw; the next call returns another."""
        stream = stream_of(DEFAULT, self.stream)
        self.stream += 1
        return stream

    def get_state(self) -> dict[str, int]:
        return {"seed": self.seed, "stream": self.stream}

    def set_state(self, state: dict[str, int]) -> None:
        self.seed, self.stream = int(state["seed"]), int(state["stream"])


default_generator = Generator()


def manual_seed(seed: int) -> Generator:
    """Seed the default generator, from which layers draw their weights and dropout its masks."""
    return default_generator.manual_seed(seed)
