"""Bugs to plant in the optimizers, in clipping, and in what shares many arrays out among blocks."""

from __future__ import annotations

from cuda.planting import Bug

OPTIMIZER, CLIPPING = "test_cuda_optimizer.py::", "test_cuda_clipping.py::"
BUGS = [
    Bug("chunks all begin at the array's start", "chunks.cuh", "+ first;", ";", OPTIMIZER + "test_tails"),
    Bug(
        "one list decides on packs for all",
        "chunks.cuh",
        "aligned = aligned && is_aligned(chunk.at[list]);",
        "aligned = is_aligned(chunk.at[list]);",
        OPTIMIZER + "test_any_place_in_memory",
    ),
    Bug(
        "rest of a chunk behind its packs forgotten",
        "chunks.cuh",
        "chunk.packs = aligned ? chunk.count / PACK : 0;",
        "chunk.packs = aligned ? chunk.count / PACK : 0;\n  if (aligned) chunk.count = chunk.packs * PACK;",
        OPTIMIZER + "test_tails",
    ),
    Bug(
        "momentum begins dampened",
        "optimizer.cu",
        "first_step ? gradient :",
        "first_step ? share * gradient :",
        OPTIMIZER + "test_tails",
    ),
    Bug(
        "nesterov without looking ahead",
        "optimizer.cu",
        "nesterov ? gradient + momentum * buffer : buffer",
        "buffer",
        OPTIMIZER + "test_tails",
    ),
    Bug(
        "weight decay of 0 times infinity",
        "optimizer.cu",
        "weight_decay != accumulator(0) ? gradient + weight_decay * v[PARAMETER] : gradient",
        "gradient + weight_decay * v[PARAMETER]",
        OPTIMIZER + "test_nan_and_infinities_go_where_the_rule_takes_them",
    ),
    Bug(
        "1 - beta2 in float",
        "optimizer.cu",
        "share2 * (gradient * gradient)",
        "(accumulator(1) - beta2) * (gradient * gradient)",
        OPTIMIZER + "test_ten_steps",
    ),
    Bug(
        "epsilon under the root's correction",
        "optimizer.cu",
        "sqrt(square) * correction + eps",
        "(sqrt(square) + eps) * correction",
        OPTIMIZER + "test_tails",
    ),
    Bug(
        "the largest square is not kept",
        "optimizer.cu",
        "square = v[STATE + 2] = larger(",
        "square = larger(",
        OPTIMIZER + "test_tails",
    ),
    Bug(
        "decoupled weight decay after the step",
        "optimizer.cu",
        "v[PARAMETER] = v[PARAMETER] * shrinkage - step_size * (average / (sqrt(square) * correction + eps));",
        "v[PARAMETER] = (v[PARAMETER] - step_size * (average / (sqrt(square) * correction + eps))) * shrinkage;",
        OPTIMIZER + "test_tails",
    ),
    Bug(
        "centered and momentum trade places",
        "optimizer.cu",
        "v[STATE + 1 + CENTERED]",
        "v[STATE + 1]",
        OPTIMIZER + "test_tails",
    ),
    Bug(
        "variance hides NaN",
        "optimizer.cu",
        "larger(square_average - average * average, accumulator(0))",
        "(square_average > average * average ? square_average - average * average : accumulator(0))",
        OPTIMIZER + "test_nan_and_infinities_go_where_the_rule_takes_them",
    ),
    Bug(
        "squares rounded to float",
        "clipping.cu",
        "const double v = (double)(accumulator)pack.at[k];",
        "const accumulator v = (accumulator)pack.at[k];",
        CLIPPING + "test_sum_of_squares",
    ),
    Bug(
        "only as many chunks as the last block has threads",
        "clipping.cu",
        "i < count; i += blockDim.x) sum += sums[i];",
        "i < count; i += count) sum += sums[i];",
        CLIPPING + "test_a_launch_a_stage",
    ),
    Bug(
        "clamping swallows NaN",
        "clipping.cu",
        "v[0] < low ? low : v[0]",
        "v[0] > low ? v[0] : low",
        CLIPPING + "test_clamp",
    ),
]
