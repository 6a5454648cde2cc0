"""Winograd's convolution where kernels are not compiled: every transform is a product of matrices, too.

The algorithm and its bounds are those of `winograd`. What transforms a square from both sides transforms the column of its
places from one, B' X B = (B' x B') X with Kronecker's product, so that many tiles of many channels, a row a place, are
transformed by one product with a small constant matrix:

    V = (B' x B') X,  U = (G x G) w,  out = (A' x A') M         M: for each place V U', over channels
    Z = (A x A) dout,  dx = (B x B) Z U,  dw = (G' x G') Z' V

with the transposes of the same constants in the second line. Work is cut by shape alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from ..geometry import Pair
from .compiled import winograd_matrices as tables
from .masking import masked
from .scratch import scratch
from .threads import for_each_product, slices
from .winograd import Gradients, Grid

COLUMNS = 8192  # of a product with a constant matrix: few enough to find its result in the cache
TILES = 256  # whose products one thread computes with all filters, where images are shared out
MANY_TILES = 1024  # the most whose matrices are kept at a time
PARTIAL_SUMS = 8  # of the filters' gradient, at least, where images are shared out
LINE = 16  # floats of a line of the cache


class _Constants(NamedTuple):
    """Kronecker's products of the three matrices with themselves: a row for each place that they compute."""

    images: Any  # (places, places)
    outputs: Any  # (step^2, places)
    filters: Any  # (places, kernel^2)


@cache
def _constants(size: int, kernel: int) -> _Constants:
    by_size = {
        (4, 3): (tables.B_4, tables.A_4, tables.G_4),
        (6, 3): (tables.B_6, tables.A_6, tables.G_6),
        (8, 5): (tables.B_8, tables.A_8, tables.G_8),
    }
    return _Constants(*[np.kron(matrix, matrix).astype(np.float32) for matrix in by_size[size, kernel]])


class _Part(NamedTuple):
    """Some rows of tiles of some images: all of several images, or some of one."""

    images: slice
    rows: slice
    tiles: slice


@dataclass(frozen=True)
class _Tiles:
    """Steps of the algorithm for some tiles. Matrices have a row a place, and in it for each tile the channels."""

    grid: Grid

    @property
    def in_image(self) -> int:
        return self.grid.down * self.grid.across

    @property
    def places(self) -> list[slice]:
        """The places whose products one thread computes, one after the other: all, where images are shared out."""
        return slices(self.grid.places, self.grid.places if self.grid.by_images else 1)

    @property
    def constants(self) -> _Constants:
        return _constants(self.grid.size, self.grid.kernel)

    def parts(self, images: slice, tiles: int) -> list[_Part]:
        """The tiles of some images, about so many at a time."""
        down, across = self.grid.down, self.grid.across
        several, count = max(1, tiles // self.in_image), max(1, tiles // across)
        found = []
        for some in _within(images, several):
            for rows in [slice(0, down)] if count >= down else slices(down, count):
                first = some.start * self.in_image + rows.start * across
                covered = (some.stop - some.start) * (rows.stop - rows.start) * across
                found.append(_Part(some, rows, slice(first, first + covered)))
        return found

    def transform_filters(self, weight: Any, matrix: Any) -> None:
        """U (places, O * C)."""
        outs, kernel, _, channels = weight.shape

        def transform(some: slice) -> None:
            filters = _matrix("filters", kernel * kernel, (some.stop - some.start) * channels)
            by_place = filters.reshape(kernel * kernel, -1, channels)
            np.copyto(by_place, weight[some].reshape(-1, kernel * kernel, channels).swapaxes(0, 1))
            np.matmul(self.constants.filters, filters, out=matrix[:, _times(some, channels)])

        for_each_product(transform, slices(outs, COLUMNS // channels))

    def filter_gradients(self, matrix: Any, shape: tuple[int, ...]) -> Any:
        """dw from the gradients (places, O * C) of the transformed filters."""
        outs, kernel, _, channels = shape
        grad_weight = np.empty(shape, np.float32)

        def transform(some: slice) -> None:
            filters = _matrix("filters", kernel * kernel, (some.stop - some.start) * channels)
            np.matmul(self.constants.filters.T, matrix[:, _times(some, channels)], out=filters)
            by_place = filters.reshape(kernel * kernel, -1, channels)
            np.copyto(grad_weight[some].reshape(-1, kernel * kernel, channels), by_place.swapaxes(0, 1))

        for_each_product(transform, slices(outs, COLUMNS // channels))
        return grad_weight

    def read_images(self, x: Any, part: _Part, columns: Any) -> None:
        """V of a part, into its columns of the matrix."""
        np.matmul(self.constants.images, self._gather(x, part, self.grid.size, self.grid.padding), out=columns)

    def read_gradients(self, dout: Any, rectified: Any, part: _Part, columns: Any) -> Any:
        """Z of a part; the sums of the output's gradient are returned."""
        seen = dout[part.images, _times(part.rows, self.grid.step)]
        if rectified is not None:
            cut = rectified[part.images, _times(part.rows, self.grid.step)] <= 0
            seen = masked(seen, np.logical_not(cut, out=cut))
        alone = _Part(slice(0, len(seen)), slice(0, part.rows.stop - part.rows.start), part.tiles)
        np.matmul(self.constants.outputs.T, self._gather(seen, alone, self.grid.step, (0, 0)), out=columns)
        return seen.reshape(-1, seen.shape[3]).sum(axis=0)

    def _gather(self, source: Any, part: _Part, extent: int, padding: Pair) -> Any:
        """The squares of ``extent`` x ``extent`` elements as a matrix, zero where they lie beside the images."""
        step, across, channels = self.grid.step, self.grid.across, source.shape[3]
        images, rows = part.images.stop - part.images.start, part.rows.stop - part.rows.start
        height, width = (rows - 1) * step + extent, (across - 1) * step + extent
        top, left = padding[0] - part.rows.start * step, padding[1]  # of the region that is read, above the images
        inside = [_overlap(top, height, source.shape[1]), _overlap(left, width, source.shape[2])]
        if top <= 0 and left == 0 and inside == [slice(0, height), slice(0, width)]:
            region = source[part.images, -top : height - top, :width]
        else:
            region = scratch("region", (images, height, width, channels))
            region.fill(0)
            taken = [
                slice(some.start - first, some.stop - first) for some, first in zip(inside, (top, left), strict=True)
            ]
            region[:, inside[0], inside[1]] = source[part.images, taken[0], taken[1]]
        of_image, of_row, of_column, of_channel = region.strides
        squares = np.lib.stride_tricks.as_strided(
            region,
            (extent, extent, images, rows, across, channels),
            (of_row, of_column, of_image, step * of_row, step * of_column, of_channel),
            writeable=False,
        )
        matrix = _matrix("squares", extent * extent, images * rows * across * channels)
        np.copyto(matrix.reshape(squares.shape), squares)
        return matrix

    def write_images(self, columns: Any, part: _Part, bias: Any, rectify: bool, out: Any) -> None:
        """The outputs of a part from its columns of the products."""
        step, outs = self.grid.step, out.shape[3]
        made = _matrix("made", step * step, columns.shape[1])
        np.matmul(self.constants.outputs, columns, out=made)
        squares = made.reshape(step, step, -1, part.rows.stop - part.rows.start, self.grid.across, outs)
        if bias is not None:
            squares += bias
        if rectify:
            np.maximum(squares, 0, out=squares)
        target = out[part.images, _times(part.rows, step)]
        for i, j in product(range(step), repeat=2):
            places = target[:, i::step, j::step]
            places[...] = squares[i, j, :, : places.shape[1], : places.shape[2]]

    def add_gradients(self, matrix: Any, first: int, images: slice, dx: Any) -> None:
        """dx of some images from their columns of the products; the matrix begins with the tile ``first``."""
        grid, channels = self.grid, dx.shape[3]
        size, step, (top, left) = grid.size, grid.step, grid.padding
        height, width = grid.down * step + grid.kernel - 1, grid.across * step + grid.kernel - 1
        padded = scratch("region", (images.stop - images.start, height, width, channels))
        padded.fill(0)
        for part in self.parts(images, COLUMNS // channels):
            columns = matrix[:, _times(_from(part.tiles, first), channels)]
            made = _matrix("squares", size * size, columns.shape[1])
            np.matmul(self.constants.images.T, columns, out=made)
            count = part.rows.stop - part.rows.start
            squares = made.reshape(size, size, -1, count, grid.across, channels)
            seen = padded[_from(part.images, images.start), part.rows.start * step :]
            for i, j in product(range(size), repeat=2):
                places = seen[:, i : i + count * step : step, j : j + grid.across * step : step]
                np.add(places, squares[i, j], out=places)
        dx[images] = padded[:, top : top + dx.shape[1], left : left + dx.shape[2]]


def convolve(x: Any, weight: Any, bias: Any, padding: Pair, size: int, rectify: bool = False) -> Any:
    """x (N, H, W, C) and weight (O, K, K, C), contiguous float32; bias (O) or None: out (N, OH, OW, O).

    ``rectify``: max(0, out).
    """
    grid, channels = Grid(x.shape, len(weight), weight.shape[1], padding, size), x.shape[3]
    tiles = _Tiles(grid)
    out = np.empty((x.shape[0], *grid.out_size, grid.outs), np.float32)
    filters = _matrix("U", grid.places, grid.outs * channels)
    tiles.transform_filters(weight, filters)
    by_place = filters.reshape(grid.places, grid.outs, channels)

    def compute(group: Sequence[_Part]) -> None:
        first, count = group[0].tiles.start, group[-1].tiles.stop - group[0].tiles.start
        read, made = _matrix("V", grid.places, count * channels), _matrix("M", grid.places, count * grid.outs)
        images, outputs = read.reshape(grid.places, count, channels), made.reshape(grid.places, count, grid.outs)
        for_each_product(
            lambda part: tiles.read_images(x, part, read[:, _times(_from(part.tiles, first), channels)]), group
        )
        _multiply(images, by_place.swapaxes(1, 2), outputs, tiles.places)
        for_each_product(
            lambda part: tiles.write_images(
                made[:, _times(_from(part.tiles, first), grid.outs)], part, bias, rectify, out
            ),
            group,
        )

    parts = tiles.parts(slice(0, x.shape[0]), COLUMNS // max(channels, grid.outs))
    if grid.by_images:
        for_each_product(compute, _groups(parts, TILES))
    else:
        for group in _groups(parts, MANY_TILES):
            compute(group)
    return out


def differentiate(x: Any, weight: Any, dout: Any, rectified: Any, padding: Pair, size: int, of_input: bool, of_weight: bool,
                  of_bias: bool) -> Gradients:  # fmt: skip
    """x (N, H, W, C), weight (O, K, K, C), dout (N, OH, OW, O), contiguous float32.

    ``rectified``: the outputs, where they went through a ReLU, else None. The gradients are the same, bit for bit, as those of
    a convolution alone at a dout that went through the ReLU's own gradient.
    """
    grid, channels = Grid(x.shape, len(weight), weight.shape[1], padding, size), x.shape[3]
    tiles, outs = _Tiles(grid), grid.outs
    grad_x = np.empty(x.shape, np.float32) if of_input else None
    if of_input:
        filters = _matrix("U", grid.places, outs * channels)
        tiles.transform_filters(weight, filters)
        by_place = filters.reshape(grid.places, outs, channels)

    def compute(images: slice) -> tuple[Any, Any]:
        """The shares of these images in the gradients of filters and bias."""
        first, count = images.start * tiles.in_image, (images.stop - images.start) * tiles.in_image
        made = _matrix("M", grid.places, count * outs)
        gradients = made.reshape(grid.places, count, outs)
        sums = for_each_product(
            lambda part: tiles.read_gradients(dout, rectified, part, made[:, _times(_from(part.tiles, first), outs)]),
            tiles.parts(images, COLUMNS // outs),
        )
        read = _matrix("V", grid.places, count * channels)
        of_images = read.reshape(grid.places, count, channels)
        if of_input:
            _multiply(gradients, by_place, of_images, tiles.places)
            few = max(1, COLUMNS // (channels * tiles.in_image))
            for_each_product(lambda some: tiles.add_gradients(read, first, some, grad_x), _within(images, few))
        if not of_weight:
            return None, _sum(sums)
        for_each_product(
            lambda part: tiles.read_images(x, part, read[:, _times(_from(part.tiles, first), channels)]),
            tiles.parts(images, COLUMNS // channels),
        )
        products = _matrix("dU", grid.places, outs * channels)
        of_filters = products.reshape(grid.places, outs, channels)
        _multiply(gradients.swapaxes(1, 2), of_images, of_filters, tiles.places)
        return tiles.filter_gradients(products, weight.shape), _sum(sums)

    most = max(1, MANY_TILES // tiles.in_image)
    if grid.by_images:
        each = min(most, -(-x.shape[0] // PARTIAL_SUMS))
        shares: Iterable[tuple[Any, Any]] = for_each_product(compute, slices(x.shape[0], each))
    else:
        shares = map(compute, slices(x.shape[0], most))  # one at a time is kept
    grad_weight, grad_bias = _sum_pairs(shares)
    return Gradients(grad_x, grad_weight, grad_bias if of_bias else None)


def _multiply(a: Any, b: Any, out: Any, places: Sequence[slice]) -> None:
    """For each place a product of matrices."""
    for_each_product(lambda some: np.matmul(a[some], b[some], out=out[some]), places)


def _sum(arrays: Sequence[Any]) -> Any:
    total = arrays[0]
    for array in arrays[1:]:
        total += array
    return total


def _sum_pairs(pairs: Iterable[tuple[Any, Any]]) -> tuple[Any, Any]:
    """The sums of the first and of the second of each pair, in their order; the first may be None in all."""
    total, total_beside = None, None
    for one, beside in pairs:
        total = one if total is None else np.add(total, one, out=total)
        total_beside = beside if total_beside is None else np.add(total_beside, beside, out=total_beside)
    return total, total_beside


def _matrix(name: str, rows: int, columns: int) -> Any:
    """Memory of this thread, an odd number of lines between rows: else all would claim the same places of the cache."""
    between = (-(-columns // LINE) | 1) * LINE
    return scratch(name, (rows, between))[:, :columns]


def _groups(parts: Sequence[_Part], tiles: int) -> list[Sequence[_Part]]:
    """Parts that follow each other, with at most so many tiles together, or one with more."""
    groups: list[list[_Part]] = []
    for part in parts:
        if not groups or part.tiles.stop - groups[-1][0].tiles.start > tiles:
            groups.append([])
        groups[-1].append(part)
    return list(groups)


def _within(some: slice, step: int) -> list[slice]:
    return [slice(some.start + part.start, some.start + part.stop) for part in slices(some.stop - some.start, step)]


def _times(some: slice, factor: int) -> slice:
    return slice(some.start * factor, some.stop * factor)


def _from(some: slice, first: int) -> slice:
    return slice(some.start - first, some.stop - first)


def _overlap(before: int, length: int, extent: int) -> slice:
    """Which of ``length`` places lie in an array of ``extent``, when ``before`` places lie before it."""
    first = min(length, max(0, before))
    return slice(first, max(first, min(length, before + extent)))
