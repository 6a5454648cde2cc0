"""Convolutions with stride 1 by Winograd's algorithm, F(4x4, 3x3), F(2x2, 3x3) and F(4x4, 5x5), and both gradients.

A. Lavin and S. Gray, "Fast algorithms for convolutional neural networks", 2016. A tile of 6x6 inputs gives the 4x4 outputs of a
3x3 filter by 36 multiplications where the definition takes 144, a tile of 4x4 the 2x2 outputs (16 for 36), and one of 8x8
the 4x4 outputs of a 5x5 filter (64 for 400). The gradients are the adjoints of the same maps:

    V = B' x B,  U = G w G',  out = A' (U * V) A          U * V: for each place of a tile a product of matrices, over channels
    Z = A dout A',  dx = B (U' * Z) B',  dw = G' (Z' * V) G

Nothing but x and w is kept for backward, which transforms x again: that takes no longer than to write V, which has 2.25
times the elements of x (F(2x2): 4 times), to memory and to read it.
Images whose size is no multiple of a tile's outputs stand side by side in mosaics (see mosaic.py).

Rounding: with operands that are normally distributed around zero, the error against float64 stays below ``BUDGET[size, kernel]``
* eps * sqrt(K) * max|a| * max|b|, where a and b are the two operands (x and w, dout and w, or x and dout) and K the terms of
a sum; a bias is added with one more rounding. What is not finite spreads to the whole tile, and an infinity becomes NaN; images
that are not finite are laid in no mosaic.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from ..geometry import Pair
from .algorithms import whole
from .compiled import winograd_products as products
from .compiled import winograd_tiles as tiles
from .compiled.squares import LANES
from .mosaic import Mosaic, arrange, pixels, tiles_of
from .scratch import scratch
from .threads import for_each, slices

BUDGET = {(4, 3): 6, (6, 3): 80, (8, 5): 160}  # by the sizes of tile and kernel; 2.3 times the worst that was measured
TILES = 64  # at a time: few enough to find their matrices in the cache
READ_TILES = 16  # at a time, where they are only read
MANY_TILES = 480  # from here on images are shared out, each with all channels; with fewer, channels
LARGE_FILTERS = 1 << 15  # elements of a transformed place, from which on channels are shared out as well
PARTIAL_SUMS = 8  # of the filters' gradient, where images are shared out


@dataclass(frozen=True)
class Grid:
    """The tiles of some images, and the order in which they are done."""

    shape: tuple[int, ...]  # of the input: N, H, W, C
    outs: int
    kernel: int
    padding: Pair
    size: int
    sides: Pair = (1, 1)  # rows and columns of images in a mosaic

    @property
    def out_size(self) -> Pair:
        top, left = self.padding
        return self.shape[1] + 2 * top - self.kernel + 1, self.shape[2] + 2 * left - self.kernel + 1

    @property
    def step(self) -> int:
        """Outputs of a tile, along an axis."""
        return self.size - self.kernel + 1

    @property
    def gap(self) -> Pair:
        """Rows and columns between the outputs of neighbours in a mosaic."""
        return self.kernel - 1 - self.padding[0], self.kernel - 1 - self.padding[1]

    @cached_property
    def mosaics(self) -> int:
        return -(-self.shape[0] // (self.sides[0] * self.sides[1]))

    @cached_property
    def down(self) -> int:
        """Rows of tiles in a mosaic."""
        return tiles_of(self.out_size, self.gap, self.step, self.sides)[0]

    @cached_property
    def across(self) -> int:
        return tiles_of(self.out_size, self.gap, self.step, self.sides)[1]

    @cached_property
    def inputs(self) -> Mosaic:
        return self._pixels((self.shape[1], self.shape[2]), self.kernel - 1, self.padding)

    @cached_property
    def outputs(self) -> Mosaic:
        return self._pixels(self.out_size, 0, (0, 0))

    def _pixels(self, image: Pair, beyond: int, before: Pair) -> Mosaic:
        (rows, columns), (down, across) = self.out_size, self.gap
        extent = self.down * self.step + beyond, self.across * self.step + beyond
        return pixels(image, self.sides, (rows + max(0, down), columns + max(0, across)), extent, before)

    @property
    def places(self) -> int:
        return self.size * self.size

    @property
    def tiles(self) -> int:
        return self.mosaics * self.down * self.across

    @property
    def by_images(self) -> bool:
        """Whether mosaics are shared out among the threads, and not channels."""
        return self.mosaics > 1 and self.tiles >= MANY_TILES and self.shape[3] * self.outs <= LARGE_FILTERS

    def rows(self, within: slice | None = None, tiles: int = TILES) -> list[slice]:
        """Rows of tiles, a few at a time: of all mosaics, or within some rows."""
        first, last = (0, self.mosaics * self.down) if within is None else (within.start, within.stop)
        count = max(1, tiles // self.across)
        count = -(-(last - first) // -(-(last - first) // count))  # as many pieces, of nearly one size
        return [slice(first + part.start, first + part.stop) for part in slices(last - first, count)]

    def images(self, pieces: int) -> list[slice]:
        """Rows of tiles of whole mosaics, in at most so many pieces."""
        each = -(-self.mosaics // pieces)
        return [slice(part.start * self.down, part.stop * self.down) for part in slices(self.mosaics, each)]

    def count(self, rows: slice) -> int:
        return (rows.stop - rows.start) * self.across

    def matrices(self, name: str, tiles: int, channels: int) -> Any:
        """Memory of this thread for the matrices of some tiles."""
        return scratch(name, (-(-channels // LANES), self.places, tiles | 1, LANES))

    def memory(self, rows: slice | None = None) -> Any:
        """What products ask for, for some rows of tiles."""
        count = 0 if rows is None else self.count(rows)
        return scratch("tiles", (products.scratch_size(self.places, count, self.kernel),))

    def read_images(self, x: Any, rows: slice, matrices: Any, start: int) -> None:
        """V of some rows of tiles, into matrices whose first tile is ``start``."""
        tiles.read_images(x, matrices, rows.start, rows.stop, start, *self.inputs, self.size, self.kernel)

    def read_gradients(self, dout: Any, rectified: Any, totals: Any, rows: slice, matrices: Any, start: int) -> None:
        """Z of some rows of tiles."""
        where = (rows.start, rows.stop, start, *self.outputs)
        tiles.read_gradients(dout, rectified, totals, matrices, *where, self.size, self.kernel)

    def write_images(self, matrices: Any, start: int, weight: Any, bias: Any, rectify: bool, rows: slice, begin: int,
                     out: Any) -> None:  # fmt: skip
        """The outputs of `LANES` filters from ``begin`` on, for some rows of tiles."""
        memory, first = self.memory(rows), rows.start * self.across - start
        products.multiply_filters(matrices, weight, begin, False, first, first + self.count(rows), self.size, memory)
        where = (rows.start, rows.stop, *self.outputs)
        tiles.write_images(out, bias, rectify, begin, *where, self.size, self.kernel, memory)

    def add_gradients(self, matrices: Any, start: int, weight: Any, rows: slice, begin: int, dx: Any) -> None:
        """The input's gradients of `LANES` channels from ``begin`` on, for some rows of tiles."""
        memory, first = self.memory(rows), rows.start * self.across - start
        products.multiply_filters(matrices, weight, begin, True, first, first + self.count(rows), self.size, memory)
        where = (rows.start, rows.stop, *self.inputs)
        tiles.add_gradients(dx, begin, *where, self.size, self.kernel, memory)


@lru_cache(maxsize=256)
def grid_of(shape: tuple[int, ...], outs: int, kernel: int, padding: Pair, size: int) -> Grid:
    """With the mosaic that takes the least tiles."""
    alone = Grid(shape, outs, kernel, padding, size)
    return replace(alone, sides=arrange(shape[0], alone.out_size, alone.gap, alone.step))


def _apart(grid: Grid, images: Any) -> Grid:
    """Without a mosaic where the images are not finite: what is wrong with one is no neighbour's business."""
    if grid.sides == (1, 1) or np.isfinite(np.vdot(images, images)):
        return grid
    return replace(grid, sides=(1, 1))


def convolve(x: Any, weight: Any, bias: Any, padding: Pair, size: int, rectify: bool = False) -> Any:
    """x (N, H, W, C) and weight (O, K, K, C), contiguous float32; bias (O) or None: out (N, OH, OW, O).

    ``rectify``: max(0, out).
    """
    grid = _apart(grid_of(x.shape, len(weight), weight.shape[1], padding, size), x)
    out = np.empty((x.shape[0], *grid.out_size, grid.outs), np.float32)
    added = np.zeros(whole(grid.outs), np.float32)
    added[: grid.outs] = 0 if bias is None else bias
    panels = range(0, grid.outs, LANES)

    def all_channels(rows: slice) -> None:
        start = rows.start * grid.across
        matrices = grid.matrices("V", grid.count(rows), x.shape[3])
        grid.read_images(x, rows, matrices, start)
        for begin in panels:
            grid.write_images(matrices, start, weight, added, rectify, rows, begin, out)

    if grid.by_images:
        for_each(all_channels, grid.rows())
    else:
        matrices = grid.matrices("V", grid.tiles, x.shape[3])
        for_each(lambda rows: grid.read_images(x, rows, matrices, 0), grid.rows(tiles=READ_TILES))
        for_each(
            lambda piece: grid.write_images(matrices, 0, weight, added, rectify, piece[0], piece[1], out),
            [(rows, begin) for begin in panels for rows in grid.rows()],
        )
    return out


@dataclass
class Gradients:
    """Of a convolution, None where they were not asked for."""

    x: Any  # (N, H, W, C)
    weight: Any  # (O, K, K, C)
    bias: Any  # (O)


def differentiate(x: Any, weight: Any, dout: Any, rectified: Any, padding: Pair, size: int, of_input: bool, of_weight: bool,
                  of_bias: bool) -> Gradients:  # fmt: skip
    """x (N, H, W, C), weight (O, K, K, C), dout (N, OH, OW, O), contiguous float32.

    ``rectified``: the outputs, where they went through a ReLU, else None. The gradients are the same, bit for bit, as those of
    a convolution alone at a dout that went through the ReLU's own gradient.
    """
    grid = _apart(grid_of(x.shape, len(weight), weight.shape[1], padding, size), dout)
    outs = np.empty((0, 0, 0, grid.outs), np.float32) if rectified is None else rectified
    grad_x = np.empty(x.shape, np.float32) if of_input else None
    found = Gradients(grad_x, np.empty(weight.shape, np.float32) if of_weight else None, None)
    find = _by_images if grid.by_images else _by_channels
    totals = find(grid, x, weight, dout, outs, found)
    if of_bias:
        found.bias = totals.sum(axis=0)[: grid.outs]
    return found


def _by_images(grid: Grid, x: Any, weight: Any, dout: Any, rectified: Any, found: Gradients) -> Any:
    """Everything for a few images, which one thread does: tiles overlap in the input's gradient.

    Returned are, as of `_by_channels`, partial sums of the output's gradients, by channel, in whole panels.
    """
    pieces = grid.images(PARTIAL_SUMS)
    totals = np.zeros((len(pieces), whole(grid.outs)), np.float32)
    partial = np.empty((len(pieces), *weight.shape), np.float32) if found.weight is not None else None
    blocks = [
        (out, min(LANES, grid.outs - out), begin)
        for out in range(0, grid.outs, LANES)
        for begin in range(0, x.shape[3], LANES)
    ]

    def differentiate_images(number: int) -> None:
        matrix = scratch("U", (len(blocks), grid.places, (LANES + 1) * LANES))
        for rows in grid.rows(pieces[number]):
            start, count = rows.start * grid.across, grid.count(rows)
            gradients = grid.matrices("Z", count, grid.outs)
            total = np.zeros(whole(grid.outs), np.float32)
            grid.read_gradients(dout, rectified, total, rows, gradients, start)
            totals[number] += total
            if found.x is not None:
                for begin in range(0, x.shape[3], LANES):
                    grid.add_gradients(gradients, start, weight, rows, begin, found.x)
            if partial is not None:
                matrices = grid.matrices("V", count, x.shape[3])
                grid.read_images(x, rows, matrices, start)
                again = rows.start > pieces[number].start
                for place, (out, outs, begin) in enumerate(blocks):
                    pair = gradients[out // LANES], matrices[begin // LANES]
                    products.add_filter_products(*pair, count, outs, grid.size, matrix[place], again)
        if partial is not None:
            for place, (out, outs, begin) in enumerate(blocks):
                products.write_filters(matrix[place], partial[number], out, outs, begin, grid.size, grid.memory())

    for_each(differentiate_images, range(len(pieces)))
    if partial is not None:
        np.sum(partial, axis=0, out=found.weight)
    return totals


def _by_channels(grid: Grid, x: Any, weight: Any, dout: Any, rectified: Any, found: Gradients) -> Any:
    """The matrices of all tiles first, then a few channels at a time."""
    parts = grid.rows(tiles=READ_TILES)
    totals = np.zeros((len(parts), whole(grid.outs)), np.float32)
    gradients = grid.matrices("Z", grid.tiles, grid.outs)
    matrices: Any = grid.matrices("V", grid.tiles, x.shape[3]) if found.weight is not None else None

    def read(number: int) -> None:
        grid.read_gradients(dout, rectified, totals[number], parts[number], gradients, 0)
        if matrices is not None:
            grid.read_images(x, parts[number], matrices, 0)

    def differentiate_channels(piece: tuple[slice, int]) -> None:
        images, begin = piece
        for rows in grid.rows(images):
            grid.add_gradients(gradients, 0, weight, rows, begin, found.x)

    def differentiate_filters(piece: tuple[int, int]) -> None:
        out, begin = piece
        outs = min(LANES, grid.outs - out)
        matrix = scratch("U", (grid.places, (LANES + 1) * LANES))
        pair = gradients[out // LANES], matrices[begin // LANES]
        products.add_filter_products(*pair, grid.tiles, outs, grid.size, matrix, False)
        products.write_filters(matrix, found.weight, out, outs, begin, grid.size, grid.memory())

    for_each(read, range(len(parts)))
    if found.x is not None:
        images = grid.images(-(-grid.tiles // TILES))
        for_each(differentiate_channels, [(rows, begin) for begin in range(0, x.shape[3], LANES) for rows in images])
    if matrices is not None:
        for_each(
            differentiate_filters,
            [(out, begin) for out in range(0, grid.outs, LANES) for begin in range(0, x.shape[3], LANES)],
        )
    return totals
