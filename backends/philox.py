"""Philox4x32-10: random numbers that depend on seed, stream and position alone.

A counter-based generator has no state to advance: element ``i`` of stream ``s`` under seed ``k`` is a pure function of
``(k, s, i)``. So a dropout mask or an initial weight is the same on every device, for every thread count and every
launch shape, and a resumed run needs to remember only which stream comes next.

Layout: the key is the 64-bit seed; the 128-bit counter is the 64-bit block number (low) and the 64-bit stream (high);
one block yields four 32-bit words, so element ``i`` is word ``i % 4`` of block ``i // 4``.

Source: J. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011 (Philox4x32-10, Random123).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

ROUNDS = 10
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)  # golden ratio and sqrt(3) - 1, added to the key each round
MASK32 = 0xFFFFFFFF
MASK64 = 0xFFFFFFFFFFFFFFFF
# Blocks made at a time on the host: the working set of one chunk stays in the second-level cache.
CHUNK = 8192


def _blocks(seed: int, stream: int, first: int, count: int, xp: Any) -> Any:
    """``count`` blocks from number ``first``: uint32 array of shape (count, 4)."""
    seed &= MASK64
    stream &= MASK64
    numbers = xp.arange(count, dtype=xp.uint64) + xp.uint64(first & MASK64)
    shift, mask = xp.uint64(32), xp.uint64(MASK32)
    # The words are kept in uint64, always below 2**32, so that a product keeps its high half.
    word0, word1 = numbers & mask, numbers >> shift
    word2 = xp.full(count, stream & MASK32, dtype=xp.uint64)
    word3 = xp.full(count, stream >> 32, dtype=xp.uint64)
    key0, key1 = seed & MASK32, seed >> 32
    for _ in range(ROUNDS):
        product0 = word0 * xp.uint64(MULTIPLIERS[0])
        product1 = word2 * xp.uint64(MULTIPLIERS[1])
        word0, word1, word2, word3 = (
            (product1 >> shift) ^ word1 ^ xp.uint64(key0),
            product1 & mask,
            (product0 >> shift) ^ word3 ^ xp.uint64(key1),
            product0 & mask,
        )
        key0, key1 = (key0 + WEYL[0]) & MASK32, (key1 + WEYL[1]) & MASK32
    return xp.stack([word0, word1, word2, word3], axis=1).astype(xp.uint32)


def random_bits(seed: int, stream: int, n: int, start: int = 0, xp: Any = np) -> Any:
    """Elements ``start`` to ``start + n - 1`` of a stream: uint32 array of shape (n,)."""
    first, last = start // 4, -(-(start + n) // 4)
    chunk = CHUNK if xp is np else max(last - first, 1)
    parts = [
        _blocks(seed, stream, block, min(chunk, last - block), xp).reshape(-1) for block in range(first, last, chunk)
    ]
    if not parts:
        return xp.empty(0, dtype=xp.uint32)
    words = parts[0] if len(parts) == 1 else xp.concatenate(parts)
    return words[start - 4 * first : start - 4 * first + n]


def uniform(seed: int, stream: int, shape: tuple[int, ...] | int, start: int = 0, xp: Any = np) -> Any:
    """float32 numbers in [0, 1): the upper 24 bits of each word, so that every value is exact."""
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    bits = random_bits(seed, stream, math.prod(shape), start, xp)
    return ((bits >> xp.uint32(8)).astype(xp.float32) * xp.float32(2.0**-24)).reshape(shape)


def normal(seed: int, stream: int, shape: tuple[int, ...] | int, start: int = 0) -> np.ndarray:
    """float64 numbers of the standard normal distribution, two per pair of uniforms. Host only.

    ``sqrt(-2 log(1 - u)) * (cos, sin)(2 pi v)`` (G. Box and M. Muller, 1958), cosine and sine both from t = tan(pi v) as
    (1 - t^2, 2 t) / (1 + t^2). It runs on the host alone because logarithm and tangent are not rounded alike on every
    device; weights are made here and then copied.
    """
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    n = math.prod(shape)
    first, pairs = start // 2, -(-(start + n) // 2) - start // 2
    u = uniform(seed, stream, (pairs, 2), 2 * first).astype(np.float64)
    tangent = np.tan(np.pi * u[:, 1])
    square = tangent * tangent
    radius = np.sqrt(-2.0 * np.log1p(-u[:, 0])) / (1.0 + square)
    values = np.stack([radius * (1.0 - square), radius * 2.0 * tangent], axis=1).reshape(-1)
    return values[start - 2 * first : start - 2 * first + n].reshape(shape)


def integers(seed: int, stream: int, high: int, shape: tuple[int, ...] | int, start: int = 0) -> np.ndarray:
    """int64 numbers in [0, high), ``high`` at most 2**32, by multiply-and-shift (bias below high / 2**32). Host only."""
    if not 0 < high <= 2**32:
        raise ValueError(f"integers: expected 0 < high <= 2**32, got {high}")
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    bits = random_bits(seed, stream, math.prod(shape), start).astype(np.uint64)
    return ((bits * np.uint64(high)) >> np.uint64(32)).astype(np.int64).reshape(shape)


def permutation(seed: int, stream: int, n: int) -> np.ndarray:
    """A random order of 0..n-1, int64: the order of n random 64-bit keys (a tie keeps the smaller index first)."""
    words = random_bits(seed, stream, 2 * n).astype(np.uint64)
    return np.argsort((words[0::2] << np.uint64(32)) | words[1::2], kind="stable").astype(np.int64)
