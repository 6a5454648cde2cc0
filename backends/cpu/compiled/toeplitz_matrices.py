"""The matrices of a Toeplitz product of two pixels and three weights, y = A (G w * B x), and the transforms of squares by them.

B makes the sums of the pixels, G the differences of the weights, and A the outputs.
"""

from __future__ import annotations

from .compiler import Intrinsic
from .squares import Matrix, square

B: Matrix = [[1, 1], [0, 1], [1, 0]]
G: Matrix = [[0, 1, 0], [0, -1, 1], [1, -1, 0]]
A: Matrix = [[1, 1, 0], [1, 0, 1]]


def _adjoint(matrix: Matrix) -> Matrix:
    return [list(column) for column in zip(*matrix, strict=True)]


spread_input, collect_input = Intrinsic(square(B), __name__), Intrinsic(square(_adjoint(B)), __name__)
spread_filter, collect_filter = Intrinsic(square(G), __name__), Intrinsic(square(_adjoint(G)), __name__)
collect_output, spread_output = Intrinsic(square(A), __name__), Intrinsic(square(_adjoint(A)), __name__)
collect_filter_beside = Intrinsic(square(_adjoint(G), beside=True), __name__)
