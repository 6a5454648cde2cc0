"""Philox4x32-10: the published vectors, independence of how a stream is cut, and the distributions made from it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from operations.oracles import philox4x32

from backends import philox

# Counter, key and result from the file kat_vectors of Random123 (D. E. Shaw Research), lines "philox4x32 10".
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]
N = 100_000


def wide(low: int, high: int) -> int:
    return low | high << 32


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN)
def test_known_answers(counter: tuple[int, ...], key: tuple[int, int], words: tuple[int, ...]) -> None:
    """The counter is the block number and the stream, the key is the seed; each low word first."""
    block, stream = wide(*counter[:2]), wide(*counter[2:])
    assert tuple(philox.random_bits(wide(*key), stream, 4, start=4 * block)) == words
    assert philox4x32(counter, key) == words, "the oracle of the table of operations"


@pytest.mark.parametrize("seed", [0, 1, 2**63 + 12345])
@pytest.mark.parametrize("stream", [0, 5, (2 << 48) | 77])
def test_element_i_is_word_i_of_its_block(seed: int, stream: int) -> None:
    bits = philox.random_bits(seed, stream, 11, start=2**34 + 1)
    assert bits.dtype == np.uint32
    for i, word in enumerate(bits, start=2**34 + 1):
        counter = ((i // 4) & 0xFFFFFFFF, (i // 4) >> 32, stream & 0xFFFFFFFF, stream >> 32)
        assert word == philox4x32(counter, (seed & 0xFFFFFFFF, seed >> 32))[i % 4]


@pytest.mark.parametrize("n", [0, 1, 3, 4, 5, 63, 64, 65])
@pytest.mark.parametrize("start", [0, 1, 3, 4, 30])
def test_a_part_is_cut_from_the_whole(n: int, start: int) -> None:
    whole = philox.random_bits(7, 3, 200)
    part = philox.random_bits(7, 3, n, start=start)
    assert part.shape == (n,)
    np.testing.assert_array_equal(part, whole[start : start + n])


@pytest.mark.parametrize("chunk", [1, 2, 7, 1 << 20])
def test_the_chunk_does_not_matter(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = philox.random_bits(7, 3, 1000, start=5)
    monkeypatch.setattr(philox, "CHUNK", chunk)
    np.testing.assert_array_equal(philox.random_bits(7, 3, 1000, start=5), whole)


def test_seeds_and_streams_count_modulo_64_bits() -> None:
    np.testing.assert_array_equal(philox.random_bits(-1, 3, 8), philox.random_bits(2**64 - 1, 3, 8))
    np.testing.assert_array_equal(philox.random_bits(2**64 + 5, 2**64 + 3, 8), philox.random_bits(5, 3, 8))


def test_seeds_and_streams_are_independent() -> None:
    sequences = [philox.uniform(seed, stream, N) for seed in (0, 1) for stream in (0, 1)]
    correlations = np.corrcoef(sequences) - np.eye(4)
    assert np.abs(correlations).max() < 5 / math.sqrt(N)


def test_uniform() -> None:
    values = philox.uniform(3, 1, (N // 2, 2))
    assert values.shape == (N // 2, 2)
    assert values.dtype == np.float32
    assert values.min() >= 0
    assert values.max() < 1
    np.testing.assert_array_equal(values.reshape(-1), (philox.random_bits(3, 1, N) >> 8) / 2.0**24)
    # Mean 1/2, variance 1/12, and each tenth of the interval as full as the others: within five standard deviations.
    assert abs(values.mean(dtype=np.float64) - 0.5) < 5 * math.sqrt(1 / 12 / N)
    assert abs(values.var(dtype=np.float64) - 1 / 12) < 5 * math.sqrt(1 / 180 / N)
    filled = np.histogram(values, bins=10, range=(0, 1))[0]
    assert np.abs(filled - N / 10).max() < 5 * math.sqrt(N * 0.09)


def test_uniform_from_a_start() -> None:
    np.testing.assert_array_equal(philox.uniform(3, 1, 6, start=5), philox.uniform(3, 1, 11)[5:])


def test_normal() -> None:
    values = philox.normal(3, 1, N)
    assert values.dtype == np.float64
    assert np.isfinite(values).all()
    moments = [(1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)]  # order, expectation, variance of the power
    for order, expectation, variance in moments:
        assert abs((values**order).mean() - expectation) < 5 * math.sqrt(variance / N), order
    within_one = (np.abs(values) < 1).mean()
    assert abs(within_one - math.erf(math.sqrt(0.5))) < 5 * math.sqrt(0.22 / N)
    assert abs(np.corrcoef(values[0::2], values[1::2])[0, 1]) < 5 / math.sqrt(N / 2)


@pytest.mark.parametrize("start", [0, 1, 2, 7])
@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_normal_from_a_start(start: int, n: int) -> None:
    np.testing.assert_array_equal(philox.normal(3, 1, n, start=start), philox.normal(3, 1, 20)[start : start + n])


@pytest.mark.parametrize("high", [1, 2, 10, 2**31 + 1, 2**32])
def test_integers(high: int) -> None:
    values = philox.integers(3, 1, high, 10_000)
    assert values.dtype == np.int64
    assert values.min() >= 0
    assert values.max() < high
    assert abs(values.mean() / high - (1 - 1 / high) / 2) < 5 * math.sqrt(1 / 12 / 10_000)
    if high == 10:
        assert np.abs(np.bincount(values) - 1000).max() < 5 * math.sqrt(900)
    np.testing.assert_array_equal(philox.integers(3, 1, high, (2, 2), start=3).reshape(-1), values[3:7])


@pytest.mark.parametrize("high", [0, -1, 2**32 + 1])
def test_integers_out_of_range(high: int) -> None:
    with pytest.raises(ValueError, match=f"expected 0 < high <= 2\\*\\*32, got {high}"):
        philox.integers(0, 0, high, 1)


def test_permutation() -> None:
    for n in (0, 1, 2, 1000):
        order = philox.permutation(3, 1, n)
        assert order.dtype == np.int64
        np.testing.assert_array_equal(np.sort(order), np.arange(n))
    assert not np.array_equal(philox.permutation(3, 1, 1000), philox.permutation(3, 2, 1000))
    np.testing.assert_array_equal(philox.permutation(3, 1, 1000), philox.permutation(3, 1, 1000))


def test_permutations_are_equally_frequent() -> None:
    orders = [tuple(philox.permutation(0, stream, 3).tolist()) for stream in range(3000)]
    counts = [orders.count(order) for order in sorted(set(orders))]
    assert len(counts) == 6
    assert max(abs(count - 500) for count in counts) < 5 * math.sqrt(3000 * 5 / 36)
