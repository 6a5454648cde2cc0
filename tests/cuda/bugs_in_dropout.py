"""Bugs to plant in dropout and its random words."""

from __future__ import annotations

from cuda.planting import Bug

DROPOUT = "test_cuda_dropout.py::"
BUGS = [
    Bug(
        "block numbers of 32 bits",
        "philox.cuh",
        "word1 = (u32)(block >> 32)",
        "word1 = 0",
        DROPOUT + "test_blocks_beyond_32_bits",
    ),
    Bug("one round too few", "philox.cuh", "round < 10", "round < 9", DROPOUT + "test_published_words"),
    Bug("both keys grow alike", "philox.cuh", "key1 += 0xBB67AE85u", "key1 += 0x9E3779B9u", DROPOUT + "test_tails"),
    Bug(
        "a number equal to p is dropped",
        "dropout.cu",
        ">= threshold",
        "> threshold",
        DROPOUT + "test_a_number_that_equals_the_probability_is_kept",
    ),
    Bug(
        "dropped NaN becomes 0",
        "dropout.cu",
        "(scalar)((accumulator)x * ((kept >> k) & 1u ? scale : accumulator(0)))",
        "(scalar)((kept >> k) & 1u ? (accumulator)x * scale : accumulator(0))",
        DROPOUT + "test_what_is_dropped_is_multiplied_by_0",
    ),
    Bug(
        "the second pack gets the first one's mask",
        "dropout.cu",
        "kept, pack * PACK + k, scale",
        "kept, k, scale",
        DROPOUT + "test_tails",
    ),
    Bug(
        "a whole pack at the end",
        "dropout.cu",
        "aligned && first + TURN <= count",
        "aligned && first < count",
        DROPOUT + "test_tails",
    ),
    Bug(
        "mask counted in the order of memory",
        "dropout.cu",
        "const i64 number = (image * channels + channel) * pixels + pixel;",
        "const i64 number = (image * pixels + pixel) * channels + channel;",
        DROPOUT + "test_channels_last",
    ),
    Bug(
        "pixels that straddle two blocks of words",
        "dropout.cu",
        "if (offset) kept =",
        "if (false) kept =",
        DROPOUT + "test_channels_last",
    ),
    Bug(
        "a recorded step repeats its masks",
        "dropout.cu",
        "  if (stream_base) stream += *stream_base;\n  const bool aligned",
        "  const bool aligned",
        DROPOUT + "test_a_stream_counted_from_a_number_in_memory",
    ),
]
