"""Dropout on the emulator: the mask of backends/philox.py, bit for bit, wherever the elements lie."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cuda.kernel_cases import DTYPES, ORACLE, SIZES, assert_close, numbers, rounded, wide

from backends import philox
from backends.cuda import layout, program

SEED, STREAM = 0x0123_4567_89AB_CDEF, 0xFEDC_BA98_7654_3210
# Pixels that are a multiple of 4 and all that are not; fewer than 4; channels around a warp.
IMAGES = [
    (2, 3, 4, 4),
    (2, 5, 3, 3),
    (1, 33, 7, 7),
    (3, 32, 1, 2),
    (2, 31, 1, 3),
    (1, 2, 5, 6),
    (4, 7, 2, 1),
    (2, 3, 11),
]


def channels_last(array: np.ndarray) -> np.ndarray:
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(array, 1, -1)), -1, 1)


def kept(shape: tuple[int, ...], p: float, seed: int = SEED, stream: int = STREAM) -> np.ndarray:
    return philox.uniform(seed, stream, shape) >= p


def dropout(backend: Any, x: Any, p: float, seed: int = SEED, stream: int = STREAM) -> tuple[Any, Any]:
    with backend.scope():
        out, saved = backend.dropout(x, p, seed, stream)
    assert (out.shape, out.dtype) == (x.shape, x.dtype)
    return out, saved


def backward(backend: Any, saved: Any, dout: Any) -> Any:
    with backend.scope():
        (dx,) = backend.dropout_backward(saved, dout)
    assert (dx.shape, dx.dtype) == (dout.shape, dout.dtype)
    return dx


@pytest.mark.parametrize("dtype", DTYPES)
def test_tails(emulated: Any, dtype: str) -> None:
    for size in SIZES:
        x, dout = (rounded(1 + np.abs(numbers(size, seed=seed)), dtype) for seed in (1, 2))
        out, saved = dropout(emulated, x, 0.3)
        dx = backward(emulated, saved, dout)
        mask = kept((size,), 0.3)
        np.testing.assert_array_equal(out != 0, mask)
        np.testing.assert_array_equal(dx != 0, mask)
        assert_close(out, wide(x) * mask / 0.7)
        assert_close(dx, wide(dout) * mask / 0.7)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_reference_bit_for_bit(in_every_order: Any, dtype: str) -> None:
    for shape in ((1029,), *IMAGES):
        x, dout = (numbers(*shape, seed=seed).astype(dtype) for seed in (1, 2))
        wanted, kept_by_reference = ORACLE.dropout(x, 0.4, SEED, STREAM)
        (wanted_dx,) = ORACLE.dropout_backward(kept_by_reference, dout)
        layouts = [x] if len(shape) < 2 else [x, channels_last(x), np.asfortranarray(x)]
        for placed in layouts:
            out, saved = dropout(in_every_order, placed, 0.4)
            assert np.array_equal(out.view(f"u{x.itemsize}"), wanted.view(f"u{x.itemsize}"))
            assert np.array_equal(backward(in_every_order, saved, dout), wanted_dx)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", IMAGES)
def test_channels_last(emulated: Any, dtype: str, shape: tuple[int, ...]) -> None:
    """The mask is that of the shape; the memory stays as it was; the gradient may come in another order."""
    x = channels_last(rounded(1 + np.abs(numbers(*shape, seed=3)), dtype))
    dout = rounded(1 + np.abs(numbers(*shape, seed=4)), dtype)
    out, saved = dropout(emulated, x, 0.5)
    assert out.strides == x.strides
    mask = kept(shape, 0.5)
    np.testing.assert_array_equal(wide(out), wide(x) * mask * 2)
    for placed in (dout, channels_last(dout)):
        dx = backward(emulated, saved, placed)
        assert dx.strides == placed.strides
        np.testing.assert_array_equal(wide(dx), wide(dout) * mask * 2)


def test_any_place_in_memory(emulated: Any) -> None:
    whole = numbers(4, 6, 10, seed=3).astype("float32")
    for x in (
        whole.reshape(-1)[1:],
        whole[:, ::2, 1:],
        whole[:, ::-1],
        np.broadcast_to(whole[:1], (3, 6, 10)),
        whole.transpose(2, 0, 1),
        whole[:, 0, :].T,
        whole[0, 0, 0:1].reshape(()),
        whole[:0],
    ):
        out, saved = dropout(emulated, x, 0.25)
        np.testing.assert_array_equal(out, ORACLE.dropout(x, 0.25, SEED, STREAM)[0])
        assert np.array_equal(backward(emulated, saved, x), out)


def test_more_elements_than_threads(emulated: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a grid of one block each thread goes around several times."""
    monkeypatch.setattr(layout, "MOST_BLOCKS", 1)
    for x in (np.ones(5003, "float32"), np.ones(5003, "float16"), channels_last(np.ones((3, 40, 5, 7), "float32"))):
        out, _ = dropout(emulated, x, 0.5)
        np.testing.assert_array_equal(out != 0, kept(x.shape, 0.5))


@pytest.mark.parametrize("p", [0.0, 2.0**-24, 1e-9, 0.1, 0.5, 1 - 2.0**-24, 1 - 1e-10, 1.0])
def test_probabilities(emulated: Any, p: float) -> None:
    """Compared as the reference compares: a p that float32 rounds to 1 drops everything."""
    x = np.ones((9, 40), "float32")
    out, saved = dropout(emulated, x, p)
    wanted, _ = ORACLE.dropout(x, p, SEED, STREAM)
    np.testing.assert_array_equal(out, wanted)
    np.testing.assert_array_equal(backward(emulated, saved, x), wanted)


def test_a_number_that_equals_the_probability_is_kept(emulated: Any) -> None:
    uniform = philox.uniform(SEED, STREAM, (64,))
    for place in (0, 1, 17, 63):
        out, _ = dropout(emulated, np.ones(64, "float32"), float(uniform[place]))
        assert out[place] != 0
        np.testing.assert_array_equal(out != 0, uniform >= uniform[place])


def test_what_is_dropped_is_multiplied_by_0(emulated: Any) -> None:
    """NaN and infinity stay visible, and -0.0 has its sign, as in the reference."""
    for dtype in ("float32", "float64"):
        x = np.tile(np.array([np.nan, np.inf, -np.inf, -0.0, -1.0], dtype), 20)
        with np.errstate(invalid="ignore"):
            wanted, _ = ORACLE.dropout(x, 0.5, SEED, STREAM)
        out, _ = dropout(emulated, x, 0.5)
        np.testing.assert_array_equal(out, wanted)
        np.testing.assert_array_equal(np.signbit(out[3::5]), True)


@pytest.mark.parametrize("seed", [0, 1, -1, 2**64 - 1, 2**64 + 5])
@pytest.mark.parametrize("stream", [0, 2**32, 2**63 + 7, 2**64 - 1])
def test_seeds_and_streams_of_64_bits(emulated: Any, seed: int, stream: int) -> None:
    out, _ = dropout(emulated, np.ones(50, "float32"), 0.5, seed, stream)
    np.testing.assert_array_equal(out != 0, kept((50,), 0.5, seed, stream))


@pytest.mark.parametrize("last", [False, True])
def test_a_stream_counted_from_a_number_in_memory(emulated: Any, monkeypatch: pytest.MonkeyPatch, last: bool) -> None:
    """As in a recorded step. Backward uses the same number, and does not ask for another."""
    base = np.array([2**64 - 2], "uint64")
    asked = []

    def stream_base(self: Any) -> Any:
        asked.append(1)
        return base

    monkeypatch.setattr(type(emulated), "stream_base", stream_base)
    x = np.ones((2, 5, 3, 3), "float32")
    x = channels_last(x) if last else x
    out, saved = dropout(emulated, x, 0.5, SEED, 3)
    np.testing.assert_array_equal(out != 0, kept(x.shape, 0.5, SEED, 1))
    assert np.array_equal(backward(emulated, saved, x), out)
    assert asked == [1]


def test_no_mask_is_kept(emulated: Any) -> None:
    _, saved = dropout(emulated, np.ones(5000, "float32"), 0.5)
    assert not any(hasattr(part, "dtype") for part in saved)


def test_whole_numbers_are_left_to_array_code(emulated: Any) -> None:
    x = np.arange(20)
    out, saved = ORACLE.dropout(x, 0.5, SEED, STREAM)
    with emulated.scope():
        found, kept_here = emulated.dropout(x, 0.5, SEED, STREAM)
        np.testing.assert_array_equal(found, out)
        (dx,) = emulated.dropout_backward(kept_here, np.ones(20))
    np.testing.assert_array_equal(dx, ORACLE.dropout_backward(saved, np.ones(20))[0])


WORDS = """#include "philox.cuh"

extern "C" __global__ void words(u64 seed, u64 stream, u64 first, u32* __restrict__ out, i64 blocks) {
  for (i64 i = thread_index(); i < blocks; i += thread_count()) {
    const RandomWords found = random_words(seed, stream, first + (u64)i);
    for (int k = 0; k < WORDS; k++) out[i * WORDS + k] = found.at[k];
  }
}
"""


@pytest.fixture
def words(emulated: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The words of kernels/philox.cuh from block number ``first``: words(seed, stream, first, blocks)."""
    shutil.copytree(program.FOLDER, tmp_path / "kernels")
    (tmp_path / "kernels" / "words_for_a_test.cu").write_text(WORDS)
    monkeypatch.setattr(program, "FOLDER", tmp_path / "kernels")

    def found(seed: int, stream: int, first: int, blocks: int) -> np.ndarray:
        with emulated.scope():
            out = emulated.runtime.output((4 * blocks,), "uint32")
            arguments = seed, stream, first, out, blocks
            emulated.launch("words_for_a_test", "words", np.dtype("float32"), 1, 32, arguments)
        return np.asarray(out)

    return found


def test_published_words(words: Any) -> None:
    """The known answers of Random123 1.14.0, kat_vectors: counter, key, words."""
    for counter, key, wanted in [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0),
         (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
    ]:  # fmt: skip
        seed, block, stream = (low | high << 32 for low, high in (key, counter[:2], counter[2:]))
        assert tuple(words(seed, stream, block, 1)) == wanted


def test_blocks_beyond_32_bits(words: Any) -> None:
    for first in (0, 2**32 - 3, 2**40 + 1):
        wanted = philox.random_bits(SEED, STREAM, 4 * 40, start=4 * first)
        np.testing.assert_array_equal(words(SEED, STREAM, first, 40), wanted)
