"""Bugs to plant in the activation functions and in what maps them over memory."""

from __future__ import annotations

from cuda.planting import Bug

ACTIVATION = "test_cuda_activation.py::test_tails"

BUGS = [
    Bug(
        "relu swallows NaN",
        "activation_functions.cuh",
        "A relu(A x) { return x <= A(0) ? A(0) : x; }",
        "A relu(A x) { return x > A(0) ? x : A(0); }",
        "test_cuda_activation.py::test_nan_infinities_and_zeros",
    ),
    Bug(
        "tail of a row of packs forgotten",
        "map.cuh",
        "i < count; i += thread_count()) out[i] = (scalar)f((accumulator)x[i]);",
        "i < packs * PACK; i += thread_count()) out[i] = (scalar)f((accumulator)x[i]);",
        ACTIVATION,
    ),
    Bug(
        "pack read past the end",
        "map.cuh",
        "is_aligned(x) && is_aligned(out) ? count / PACK : 0",
        "is_aligned(x) && is_aligned(out) ? (count + PACK - 1) / PACK : 0",
        ACTIVATION,
    ),
    Bug(
        "packs of memory that is not aligned",
        "map.cuh",
        "is_aligned(x) && is_aligned(out) ? count / PACK : 0",
        "is_aligned(out) ? count / PACK : 0",
        "test_cuda_activation.py::test_any_place_in_memory",
    ),
    Bug(
        "each thread takes one pack only",
        "map.cuh",
        "for (i64 i = thread_index(); i < packs; i += thread_count()) {\n    const Pack in",
        "for (i64 i = thread_index(); i < packs; i += packs) {\n    const Pack in",
        "test_cuda_activation.py::test_more_elements_than_threads",
    ),
    Bug(
        "gradient of softplus without beta",
        "activation_functions.cuh",
        "dout * sigmoid(beta * x)",
        "dout * sigmoid(x)",
        ACTIVATION,
    ),
    Bug(
        "gradient of elu without alpha",
        "activation_functions.cuh",
        "dout * (alpha * exp(x))",
        "dout * exp(x)",
        ACTIVATION,
    ),
    Bug(
        "sigmoid overflows",
        "activation_functions.cuh",
        "exp(x < A(0) ? x : -x)",
        "exp(-x)",
        "test_cuda_activation.py::test_nan_infinities_and_zeros",
    ),
]
