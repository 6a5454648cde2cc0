"""3x3 convolutions with stride 1 by Winograd's algorithm, F(4x4, 3x3) and F(2x2, 3x3), and both gradients in adjoint form.

A. Lavin and S. Gray, "Fast algorithms for convolutional neural networks", 2016. Tiles of 6x6 (4x4) inputs give 4x4 (2x2)
outputs for 36 (16) products where the definition takes 144 (36):

    V = B' x B,  U = G w G',  out = A' (U * V) A          U * V: for each place of a tile a product of matrices, over channels
    Z = A dout A',  dx = B (U' * Z) B',  dw = G' (Z' * V) G

V and U are kept from forward, so that backward transforms only the output's gradient, once for both gradients. V takes
2.25 times (F4; F2: 4 times) the memory of the input.

Rounding: the error against float64 stays below ``BUDGET[size]`` * eps * sqrt(K) * max|a| * max|b|, where a and b are the two
operands (x and w, dout and w, or x and dout) and K the terms of a sum. With 64 channels and more that was, of the
largest magnitude in the result, 0.1 to 0.4 eps sqrt(K) for F2, as by im2col, and 0.4 to 5 for F4. Infinities and NaN
spread to the whole tile, and an infinity becomes NaN.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..geometry import Pair
from .compiled import winograd as kernels
from .threads import for_each, slices

BUDGET = {4: 8, 6: 48}  # by the size of a tile; measured over the shapes of the tests: below 3.5 and 21
TILES = 64  # at a time: enough rows for a product to be quick, few enough to find them in the cache
FEW_TILES = 512  # below it the products are shared out by their place in the tile, each over all tiles
FILTERS = 16  # at a time

_own = threading.local()


@dataclass
class Saved:
    """What backward needs of a convolution."""

    matrices: Any  # V (size * size, tiles, C)
    filters: Any  # U (size * size, O, C)
    grid: Grid


@dataclass(frozen=True)
class Grid:
    """The tiles of some images."""

    shape: tuple[int, ...]  # of the input: N, H, W, C
    padding: Pair
    size: int

    @property
    def out_size(self) -> Pair:
        return self.shape[1] + 2 * self.padding[0] - 2, self.shape[2] + 2 * self.padding[1] - 2

    @property
    def down(self) -> int:
        """Rows of tiles in an image."""
        return -(-self.out_size[0] // (self.size - 2))

    @property
    def across(self) -> int:
        return -(-self.out_size[1] // (self.size - 2))

    @property
    def tiles(self) -> int:
        return self.shape[0] * self.down * self.across

    @property
    def places(self) -> int:
        return self.size * self.size

    @property
    def in_pieces(self) -> bool:
        """Whether there are enough tiles to do all of a few at a time (of several images: one would be a single piece)."""
        return self.tiles >= FEW_TILES and self.shape[0] > 1

    def rows(self) -> list[slice]:
        """Rows of tiles, a few at a time."""
        return slices(self.shape[0] * self.down, TILES // self.across)

    def images(self) -> list[slice]:
        """Rows of tiles again, but of whole images."""
        whole = max(1, TILES // (self.across * self.down))
        return [slice(s.start * self.down, s.stop * self.down) for s in slices(self.shape[0], whole)]

    def tiles_of(self, rows: slice) -> slice:
        return slice(rows.start * self.across, rows.stop * self.across)


def convolve(x: Any, weight: Any, bias: Any, padding: Pair, size: int) -> tuple[Any, Saved]:
    """x (N, H, W, C) and weight (O, 3, 3, C), contiguous float32; bias (O) or None: out (N, OH, OW, O), and what to keep."""
    grid, outs = Grid(x.shape, padding, size), weight.shape[0]
    out = np.empty((x.shape[0], *grid.out_size, outs), np.float32)
    images = np.empty((grid.places, grid.tiles, x.shape[3]), np.float32)
    filters = np.empty((grid.places, outs, x.shape[3]), np.float32)
    added = np.zeros(outs, np.float32) if bias is None else np.ascontiguousarray(bias)

    def transform(rows: slice) -> None:
        kernels.transform_images(x, images, rows.start, rows.stop, grid.across, grid.down, *padding, size)

    def write(rows: slice, products: Any, start: int) -> None:
        kernels.write_outputs(products, out, added, rows.start, rows.stop, grid.across, grid.down, size, start)

    def all_at_once(rows: slice) -> None:
        transform(rows)
        tiles = grid.tiles_of(rows)
        products = _buffer((grid.places, tiles.stop - tiles.start, outs))
        np.matmul(images[:, tiles], filters.transpose(0, 2, 1), out=products)
        write(rows, products, tiles.start)

    for_each(
        lambda part: kernels.transform_filters(weight, filters, part.start, part.stop, size), slices(outs, FILTERS)
    )
    if grid.in_pieces:
        for_each(all_at_once, grid.rows())
    else:
        for_each(transform, grid.rows())
        products = np.empty((grid.places, grid.tiles, outs), np.float32)
        for_each(lambda place: np.matmul(images[place], filters[place].T, out=products[place]), range(grid.places))
        for_each(lambda rows: write(rows, products, 0), grid.rows())
    return out, Saved(images, filters, grid)


def gradients(saved: Saved, dout: Any, of_input: bool, of_weight: bool) -> tuple[Any, Any]:
    """dout (N, OH, OW, O), contiguous: the gradients of x (N, H, W, C) and of weight (O, 3, 3, C), None where not asked for."""
    grid, outs = saved.grid, saved.filters.shape[1]
    transformed = np.empty((grid.places, grid.tiles, outs), np.float32)
    dx = np.empty(grid.shape, np.float32) if of_input else None

    def transform(rows: slice) -> None:
        kernels.transform_gradients(dout, transformed, rows.start, rows.stop, grid.across, grid.down, grid.size)

    def write(rows: slice, products: Any, start: int) -> None:
        kernels.add_input_gradients(
            products, dx, rows.start, rows.stop, grid.across, grid.down, *grid.padding, grid.size, start
        )

    def clear(rows: slice) -> None:
        dx[rows.start // grid.down : rows.stop // grid.down] = 0  # type: ignore[index]

    def all_at_once(images: slice) -> None:
        """Tiles overlap, so an image belongs to one thread; a large one is still done a few rows at a time."""
        clear(images)
        step = max(1, TILES // grid.across)
        for first in range(images.start, images.stop, step):
            rows = slice(first, min(first + step, images.stop))
            transform(rows)
            tiles = grid.tiles_of(rows)
            products = _buffer((grid.places, tiles.stop - tiles.start, grid.shape[3]))
            np.matmul(transformed[:, tiles], saved.filters, out=products)
            write(rows, products, tiles.start)

    if not of_input:
        for_each(transform, grid.rows())
    elif grid.in_pieces:
        for_each(all_at_once, grid.images())
    else:
        for_each(transform, grid.rows())
        products = np.empty((grid.places, grid.tiles, grid.shape[3]), np.float32)
        for_each(
            lambda place: np.matmul(transformed[place], saved.filters[place], out=products[place]), range(grid.places)
        )

        def finish(images: slice) -> None:
            clear(images)
            write(images, products, 0)

        for_each(finish, grid.images())
    return dx, _weight_gradient(saved, transformed) if of_weight else None


def _weight_gradient(saved: Saved, transformed: Any) -> Any:
    grid, outs = saved.grid, saved.filters.shape[1]
    products = np.empty_like(saved.filters)
    dw = np.empty((outs, 3, 3, grid.shape[3]), np.float32)
    for_each(
        lambda place: np.matmul(transformed[place].T, saved.matrices[place], out=products[place]), range(grid.places)
    )
    for_each(
        lambda part: kernels.write_filter_gradients(products, dw, part.start, part.stop, grid.size),
        slices(outs, FILTERS),
    )
    return dw


def _buffer(shape: tuple[int, ...]) -> Any:
    """Uninitialized memory that belongs to this thread and is used again by its next call."""
    count = math.prod(shape)
    memory = getattr(_own, "memory", None)
    if memory is None or memory.size < count:
        memory = _own.memory = np.empty(count, np.float32)
    return memory[:count].reshape(shape)
