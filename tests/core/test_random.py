"""Seeds and streams: what is drawn depends on the seed and on how many draws came before, on nothing else."""

from __future__ import annotations

import numpy as np
import pytest

import gpunn
from backends import philox
from gpunn import functional as F
from gpunn.random import AUGMENT, DEFAULT, SHUFFLE, Generator, stream_of


def draws(device: str) -> list[np.ndarray]:
    x = gpunn.ones(4, 5, device=device)
    drawn = [gpunn.rand(3, device=device), gpunn.randn(2, 2, device=device), F.dropout(x, 0.5)]
    return [t.numpy() for t in drawn]


def test_manual_seed_repeats(device: str) -> None:
    assert gpunn.manual_seed(5).seed == 5
    first = draws(device)
    second = draws(device)
    gpunn.manual_seed(5)
    again = draws(device)
    gpunn.manual_seed(6)
    other = draws(device)
    for a, b, c, d in zip(first, again, second, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c), "the next draw is another"
        assert not np.array_equal(a, d), "another seed is another draw"


def test_the_same_bits_on_every_device(device: str) -> None:
    found = []
    for name in ("reference", device):
        gpunn.manual_seed(7)
        found.append(draws(name))
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_draw_is_a_stream_of_philox() -> None:
    gpunn.manual_seed(9)
    gpunn.rand(1)
    np.testing.assert_array_equal(gpunn.rand(2, 3).numpy(), philox.uniform(9, stream_of(DEFAULT, 1), (2, 3)))


def test_a_generator_of_its_own() -> None:
    own = Generator(3)
    before = gpunn.random.default_generator.get_state()
    first = gpunn.rand(4, generator=own).numpy()
    assert gpunn.random.default_generator.get_state() == before
    assert own.get_state() == {"seed": 3, "stream": 1}
    np.testing.assert_array_equal(gpunn.rand(4, generator=Generator(3)).numpy(), first)


def test_state_is_two_integers() -> None:
    generator = Generator(3)
    generator.next_stream()
    state = generator.get_state()
    expected = [generator.next_stream() for _ in range(3)]
    other = Generator()
    other.set_state(state)
    assert [other.next_stream() for _ in range(3)] == expected
    assert other.seed == 3


def test_seeds_have_64_bits() -> None:
    assert Generator(-1).seed == 2**64 - 1
    assert Generator(2**64 + 2).seed == 2


def test_purposes_never_share_a_stream() -> None:
    assert len({stream_of(purpose, n) for purpose in (DEFAULT, SHUFFLE, AUGMENT) for n in (0, 1, 2**48 - 1)}) == 9
    for wrong in (-1, 2**48):
        with pytest.raises(ValueError, match=f"expected 0 <= number < 2\\*\\*48, got {wrong}"):
            stream_of(DEFAULT, wrong)


def test_dropout_keeps_what_it_should() -> None:
    x = gpunn.ones(200, 100)
    y = F.dropout(x, 0.3).numpy()
    kept = y != 0
    assert abs(kept.mean() - 0.7) < 5 * (0.21 / x.numel()) ** 0.5
    np.testing.assert_allclose(y[kept], 1 / 0.7, rtol=1e-6)


def test_random_distributions() -> None:
    assert gpunn.rand(1000).numpy().min() >= 0
    assert gpunn.rand(3, dtype="float64").dtype == "float64"
    values = gpunn.randn(100, 100).numpy()
    assert values.dtype == "float32"
    assert abs(values.mean()) < 0.05
    assert abs(values.std() - 1) < 0.05
