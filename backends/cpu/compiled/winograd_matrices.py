"""Winograd's matrices, and the transforms of a tile by them: out = A' ((G w G') * (B' x B)) A.

A. Lavin and S. Gray, "Fast algorithms for convolutional neural networks", 2016. F(m x m, r x r) computes m x m outputs of a
filter of r x r elements from a tile of (m + r - 1)^2 inputs. The matrices follow from as many points: 0, 1, -1 and infinity;
with 2, -2 for F(4x4, 3x3); with 1/2, -1/2 besides for F(4x4, 5x5).

Names end in the tile's size, 4, 6 or 8; B, A and G are B', A' and G of the paper, which stand to the left of what they transform.
"""

from __future__ import annotations

from .compiler import Intrinsic
from .pixel_squares import added, finished, gathered, let_through
from .squares import Matrix, square

B_4: Matrix = [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]]
A_4: Matrix = [[1, 1, 1, 0], [0, 1, -1, -1]]
G_4: Matrix = [[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]]
B_6: Matrix = [
    [4, 0, -5, 0, 1, 0],
    [0, -4, -4, 1, 1, 0],
    [0, 4, -4, -1, 1, 0],
    [0, -2, -1, 2, 1, 0],
    [0, 2, -1, -2, 1, 0],
    [0, 4, 0, -5, 0, 1],
]
A_6: Matrix = [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]
G_6: Matrix = [
    [1 / 4, 0, 0],
    [-1 / 6, -1 / 6, -1 / 6],
    [-1 / 6, 1 / 6, -1 / 6],
    [1 / 24, 1 / 12, 1 / 6],
    [1 / 24, -1 / 12, 1 / 6],
    [0, 0, 1],
]
B_8: Matrix = [
    [-1, 0, 21 / 4, 0, -21 / 4, 0, 1, 0],
    [0, 1, 1, -17 / 4, -17 / 4, 1, 1, 0],
    [0, -1, 1, 17 / 4, -17 / 4, -1, 1, 0],
    [0, 1 / 2, 1 / 4, -5 / 2, -5 / 4, 2, 1, 0],
    [0, -1 / 2, 1 / 4, 5 / 2, -5 / 4, -2, 1, 0],
    [0, 2, 4, -5 / 2, -5, 1 / 2, 1, 0],
    [0, -2, 4, 5 / 2, -5, -1 / 2, 1, 0],
    [0, -1, 0, 21 / 4, 0, -21 / 4, 0, 1],
]
A_8: Matrix = [
    [1, 1, 1, 1, 1, 1, 1, 0],
    [0, 1, -1, 2, -2, 1 / 2, -1 / 2, 0],
    [0, 1, 1, 4, 4, 1 / 4, 1 / 4, 0],
    [0, 1, -1, 8, -8, 1 / 8, -1 / 8, 1],
]
G_8: Matrix = [
    [-1, 0, 0, 0, 0],
    [-2 / 9, -2 / 9, -2 / 9, -2 / 9, -2 / 9],
    [-2 / 9, 2 / 9, -2 / 9, 2 / 9, -2 / 9],
    [1 / 90, 1 / 45, 2 / 45, 4 / 45, 8 / 45],
    [1 / 90, -1 / 45, 2 / 45, -4 / 45, 8 / 45],
    [32 / 45, 16 / 45, 8 / 45, 4 / 45, 2 / 45],
    [32 / 45, -16 / 45, 8 / 45, -4 / 45, 2 / 45],
    [0, 0, 0, 0, 1],
]


def _transposed(matrix: Matrix) -> Matrix:
    return [list(column) for column in zip(*matrix, strict=True)]


input_4, input_6, input_8 = (Intrinsic(gathered(matrix), __name__) for matrix in (B_4, B_6, B_8))
input_4_adjoint, input_6_adjoint, input_8_adjoint = (
    Intrinsic(added(_transposed(matrix)), __name__) for matrix in (B_4, B_6, B_8)
)
output_4, output_6, output_8 = (Intrinsic(finished(matrix), __name__) for matrix in (A_4, A_6, A_8))
output_4_adjoint, output_6_adjoint, output_8_adjoint = (
    Intrinsic(let_through(_transposed(matrix)), __name__) for matrix in (A_4, A_6, A_8)
)
filter_4, filter_6, filter_8 = (Intrinsic(square(matrix), __name__) for matrix in (G_4, G_6, G_8))
filter_4_adjoint, filter_6_adjoint, filter_8_adjoint = (
    Intrinsic(square(_transposed(matrix)), __name__) for matrix in (G_4, G_6, G_8)
)
