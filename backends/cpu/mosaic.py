"""Images side by side, so that tiles are cut from a larger whole and fewer of them overhang its edge.

Tiles of 4 x 4 outputs cover 16 x 16 where an image has 13 x 13. Let the images of a batch stand in rows and columns, with the
zeros between neighbours that the padding of either asks for: 2 x 2 images with one row and one column between them have
27 x 27 outputs, which 7 x 7 tiles cover instead of 4 times 4 x 4. Tiles then straddle images: what they read is looked up
pixel by pixel, and what they compute between images is left out.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from ..geometry import Pair

SIDES = (1, 2, 3, 4)  # images in a row or column
WORTH = 0.9  # a mosaic is laid where it takes less than this part of the tiles
NOWHERE = -(1 << 60)  # stays negative with the number of any pixel added


@lru_cache(maxsize=1024)
def arrange(images: int, outs: Pair, gap: Pair, step: int) -> Pair:
    """Rows and columns of images that take the least tiles; the fewest such images.

    outs: rows and columns of outputs of an image; gap: those between two images' outputs, of which nothing is used; negative
    where images cannot share them. step: outputs of a tile, along an axis.
    """
    sides = [(rows, columns) for rows, columns in product(SIDES, SIDES) if rows * columns <= images]
    best = min(sides, key=lambda some: (count_tiles(images, outs, gap, step, some), some[0] * some[1]))
    alone, together = (count_tiles(images, outs, gap, step, some) for some in ((1, 1), best))
    return best if min(gap) >= 0 and together < WORTH * alone else (1, 1)


def count_tiles(images: int, outs: Pair, gap: Pair, step: int, sides: Pair) -> int:
    """Of all mosaics of so many rows and columns of images."""
    down, across = tiles_of(outs, gap, step, sides)
    return -(-images // (sides[0] * sides[1])) * down * across


def tiles_of(outs: Pair, gap: Pair, step: int, sides: Pair) -> Pair:
    """Rows and columns of tiles in a mosaic."""
    down, across = (
        -(-(side * (extent + between) - between) // step)
        for extent, between, side in zip(outs, gap, sides, strict=True)
    )
    return down, across


class Mosaic(NamedTuple):
    """Where the pixels of a mosaic of images lie: see winograd_tiles.py."""

    rows: Any  # (rows of the mosaic), int64
    columns: Any
    pitch: int  # pixels of its images


def pixels(image: Pair, sides: Pair, period: Pair, extent: Pair, before: Pair) -> Mosaic:
    """Of images of some rows and columns, ``period`` apart, in so many rows and columns of a mosaic.

    The first image begins behind ``before`` rows and columns; ``extent`` are those of the mosaic.
    """
    height, width = image
    rows = _numbers(height, sides[0], period[0], extent[0], before[0], sides[1] * height * width, width)
    columns = _numbers(width, sides[1], period[1], extent[1], before[1], height * width, 1)
    return Mosaic(rows, columns, sides[0] * sides[1] * height * width)


def _numbers(length: int, images: int, period: int, extent: int, before: int, pitch: int, step: int) -> Any:
    """Along one axis, with ``length`` lines of each image that are ``step`` pixels apart."""
    image, line = np.divmod(np.arange(extent) - before, period)
    inside = (image >= 0) & (image < images) & (line < length)
    return np.where(inside, image * pitch + line * step, NOWHERE)
