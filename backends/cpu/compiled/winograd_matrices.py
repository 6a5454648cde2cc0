"""Winograd's matrices, and the transforms of a tile by them: out = A' ((G w G') * (B' x B)) A.

A. Lavin and S. Gray, "Fast algorithms for convolutional neural networks", 2016. F(m x m, r x r) computes m x m outputs of a
filter of r x r elements from a tile of (m + r - 1)^2 inputs. The matrices follow from as many points: 0, 1, -1 (2, -2) and
infinity. Those of the input depend on nothing but the points, so F(2x2, 5x5) has the input's transform of F(4x4, 3x3).

Names end in the tile's size; B, A and G are B', A' and G of the paper, which stand to the left of what they transform.
"""

from __future__ import annotations

from .compiler import Intrinsic
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
A_6_OF_5: Matrix = [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 1]]
G_6_OF_5: Matrix = [
    [1 / 4, 0, 0, 0, 0],
    [-1 / 6, -1 / 6, -1 / 6, -1 / 6, -1 / 6],
    [-1 / 6, 1 / 6, -1 / 6, 1 / 6, -1 / 6],
    [1 / 24, 1 / 12, 1 / 6, 1 / 3, 2 / 3],
    [1 / 24, -1 / 12, 1 / 6, -1 / 3, 2 / 3],
    [0, 0, 0, 0, 1],
]


def _transform(matrix: Matrix) -> Intrinsic:
    return Intrinsic(square(matrix), __name__)


def _adjoint(matrix: Matrix) -> Intrinsic:
    return _transform([list(column) for column in zip(*matrix, strict=True)])


input_4, input_4_adjoint = _transform(B_4), _adjoint(B_4)
input_6, input_6_adjoint = _transform(B_6), _adjoint(B_6)
output_4, output_4_adjoint = _transform(A_4), _adjoint(A_4)
output_6, output_6_adjoint = _transform(A_6), _adjoint(A_6)
output_6_of_5, output_6_of_5_adjoint = _transform(A_6_OF_5), _adjoint(A_6_OF_5)
filter_4, filter_4_adjoint = _transform(G_4), _adjoint(G_4)
filter_6, filter_6_adjoint = _transform(G_6), _adjoint(G_6)
filter_6_of_5, filter_6_of_5_adjoint = _transform(G_6_OF_5), _adjoint(G_6_OF_5)
