"""Dropout: the mask by Philox4x32-10, the bits of `backends.philox`, and its product with an array."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...philox import MASK32, MULTIPLIERS, ROUNDS, WEYL
from .compiler import compiled

# Words are held in 64 bits, always below 2**32, so that a product keeps its high half.
LOW, HALF, EIGHT = np.uint64(MASK32), np.uint64(32), np.uint64(8)
FIRST_MULTIPLIER, SECOND_MULTIPLIER = np.uint64(MULTIPLIERS[0]), np.uint64(MULTIPLIERS[1])
FIRST_STEP, SECOND_STEP = np.uint64(WEYL[0]), np.uint64(WEYL[1])


CHUNK = 256  # blocks of four numbers, whose words stay in the first cache


@compiled
def kept(seed: Any, stream: Any, first: Any, threshold: Any, keep: Any) -> None:
    """keep (n) of bytes: whether the upper 24 bits of number 4 first + i of the stream are at least ``threshold``.

    The first four arguments are uint64; ``first`` counts blocks of four numbers. Each round is a loop over a chunk of
    blocks, because the code generator turns only that into vector instructions.
    """
    words = np.empty((4, CHUNK), np.uint64)
    a, b, c, d = words[0], words[1], words[2], words[3]
    for start in range(0, len(keep), 4 * CHUNK):
        base = first + np.uint64(start // 4)
        for i in range(CHUNK):
            number = base + np.uint64(i)
            a[i], b[i], c[i], d[i] = number & LOW, number >> HALF, stream & LOW, stream >> HALF
        first_key, second_key = seed & LOW, seed >> HALF
        for _ in range(ROUNDS):
            for i in range(CHUNK):
                first_product, second_product = a[i] * FIRST_MULTIPLIER, c[i] * SECOND_MULTIPLIER
                a[i] = (second_product >> HALF) ^ b[i] ^ first_key
                c[i] = (first_product >> HALF) ^ d[i] ^ second_key
                b[i] = second_product & LOW
                d[i] = first_product & LOW
            first_key, second_key = (first_key + FIRST_STEP) & LOW, (second_key + SECOND_STEP) & LOW
        part = keep[start : start + 4 * CHUNK]
        for i in range(len(part) // 4):
            four = part[4 * i : 4 * i + 4]
            four[0], four[1] = (a[i] >> EIGHT) >= threshold, (b[i] >> EIGHT) >= threshold
            four[2], four[3] = (c[i] >> EIGHT) >= threshold, (d[i] >> EIGHT) >= threshold
        for i in range(len(part) // 4 * 4, len(part)):
            part[i] = (words[i % 4, i // 4] >> EIGHT) >= threshold


@compiled
def scaled(x: Any, keep: Any, scale: Any, out: Any) -> None:
    """out = x scale where keep is not 0, else x * 0, which is NaN where x is not finite; all (n)."""
    zero = x.dtype.type(0)
    for i in range(len(x)):
        out[i] = x[i] * (zero if keep[i] == 0 else scale)
