"""Mosaics of images: which are laid, and where their pixels lie."""

from __future__ import annotations

import numpy as np
import pytest

from backends.cpu.mosaic import arrange, count_tiles, pixels, tiles_of


@pytest.mark.parametrize(
    ("images", "outs", "gap", "expected"),
    [
        (16, (13, 13), (1, 1), (2, 2)),  # 27 outputs in 7 tiles, not 13 in 4
        (16, (13, 16), (1, 1), (2, 1)),
        (3, (13, 13), (1, 1), (1, 1)),  # a mosaic would not be full, and gain nothing
        (1, (13, 13), (1, 1), (1, 1)),
        (64, (8, 8), (1, 1), (1, 1)),  # tiles fit
        (64, (14, 14), (1, 1), (4, 4)),
        (16, (13, 13), (1, -1), (1, 1)),  # more padding than the kernel reaches
    ],
    ids=str,
)
def test_arrangement(images: int, outs: tuple[int, int], gap: tuple[int, int], expected: tuple[int, int]) -> None:
    assert arrange(images, outs, gap, 4) == expected
    assert count_tiles(images, outs, gap, 4, expected) <= count_tiles(images, outs, gap, 4, (1, 1))


@pytest.mark.parametrize("sides", [(1, 1), (2, 3)], ids=str)
def test_each_pixel_has_one_place(sides: tuple[int, int]) -> None:
    image, gap, step = (3, 5), (1, 2), 4
    extent = [count * step for count in tiles_of(image, gap, step, sides)]
    mosaic = pixels(image, sides, (4, 7), (extent[0], extent[1]), (0, 0))
    numbers = np.add.outer(mosaic.rows, mosaic.columns)
    count = sides[0] * sides[1] * 15
    assert mosaic.pitch == count
    np.testing.assert_array_equal(np.sort(numbers[numbers >= 0]), np.arange(count))
    for row in range(sides[0]):
        for column in range(sides[1]):
            inside = numbers[4 * row : 4 * row + 3, 7 * column : 7 * column + 5]
            np.testing.assert_array_equal(inside.ravel(), (row * sides[1] + column) * 15 + np.arange(15))


def test_rows_before_the_first_image() -> None:
    mosaic = pixels((2, 2), (2, 1), (3, 3), (8, 6), (1, 2))
    assert [max(-1, number) for number in mosaic.rows] == [-1, 0, 2, -1, 4, 6, -1, -1]
    assert [max(-1, number) for number in mosaic.columns] == [-1, -1, 0, 1, -1, -1]
