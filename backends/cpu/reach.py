"""Which elements of an image each output of a convolution sees, as tables of offsets for products of matrices.

An output at the border sees less than one inside: what lies outside the image is no element of a product. Outputs that see
through the same places of the kernel form a class, for instance the four corners, the four edges and the inside of an image
with 3x3 filters and a padding of 1; so do places of the kernel that meet the same outputs. A class is one product.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ..geometry import Pair
from .compiled.squares import STEP
from .scratch import address


class Tables(NamedTuple):
    """Of the products C (rows, LANES) += A (rows, terms) B (terms, LANES), all in one; offsets in bytes, but for ``c_rows``."""

    spans: Any  # (products, 4): its first row, how many, its first term, how many
    c_rows: Any  # numbers of rows
    a_rows: Any
    a_terms: Any
    b_terms: Any

    def for_kernels(self) -> tuple[Any, ...]:
        """The first two, and the addresses of the others."""
        return self.spans, self.c_rows, *(address(table) for table in (self.a_rows, self.a_terms, self.b_terms))


class _Class(NamedTuple):
    """Of what sees the same, down or across an image: where it begins to look, and how far from there it looks."""

    members: Any
    starts: Any  # a member each
    seen: Any
    steps: Any  # one for each of ``seen``


def seen_by_outputs(length: int, outs: int, kernel: int, stride: int, padding: int, dilation: int) -> Any:
    """(outs, kernel): the element i stride - padding + u dilation that output i sees at the place u; -1 if none."""
    elements = np.arange(outs)[:, None] * stride - padding + np.arange(kernel) * dilation
    return np.where((elements >= 0) & (elements < length), elements, -1)


def outputs_that_saw(length: int, outs: int, kernel: int, stride: int, padding: int, dilation: int) -> Any:
    """(length, kernel): the output that saw an element at each place of the kernel; -1 if none."""
    times_stride = np.arange(length)[:, None] + padding - np.arange(kernel) * dilation
    found = times_stride // stride
    return np.where((times_stride % stride == 0) & (found >= 0) & (found < outs), found, -1)


def _classes(elements: Any) -> Iterator[_Class]:
    """Of the rows of a table as above."""
    members: dict[bytes, list[int]] = {}
    for number, row in enumerate(elements >= 0):
        members.setdefault(row.tobytes(), []).append(number)
    for some in members.values():
        seen = np.flatnonzero(elements[some[0]] >= 0)
        starts = elements[some, seen[0]] if len(seen) else np.zeros(len(some), np.int64)
        yield _Class(np.array(some), starts, seen, elements[some[0], seen] - starts[0])


def places_by_terms(images: int, down: Any, across: Any, size: Pair, channels: int) -> Tables:
    """Rows are places of all images, terms are those of a filter, in the order of (KH, KW, C).

    ``down`` and ``across``: tables as above, of what places see in images of ``size``, where that many channels stand last.
    """
    products = [
        (
            _of_images(images, (len(down), len(across)), _crossed(rows.members, columns.members, len(across))),
            _of_images(images, size, _crossed(rows.starts, columns.starts, size[1])) * 4 * channels,
            _of_channels(channels, _crossed(rows.steps, columns.steps, size[1])) * 4,
            _of_channels(channels, _crossed(rows.seen, columns.seen, across.shape[1])) * STEP,
        )
        for rows in _classes(down)
        for columns in _classes(across)
    ]
    return _joined(products)


def terms_by_places(images: int, down: Any, across: Any, size: Pair, channels: int, pitch: int, most: int) -> Tables:
    """Rows are the terms of a filter, terms are places of all images, which have ``pitch`` columns of B. At most ``most`` rows
    are in a product."""
    products = []
    for rows in _classes(down.T):
        for columns in _classes(across.T):
            a_rows = _of_channels(channels, _crossed(rows.starts, columns.starts, size[1])) * 4
            c_rows = _of_channels(channels, _crossed(rows.members, columns.members, across.shape[1]))
            a_terms = _of_images(images, size, _crossed(rows.steps, columns.steps, size[1])) * 4 * channels
            places = _crossed(rows.seen, columns.seen, len(across))
            b_terms = _of_images(images, (len(down), len(across)), places) * 4 * pitch
            products.append((c_rows, a_rows, a_terms, b_terms))
    tables = _joined(products)
    spans = [
        (first + done, min(most, rows - done), *terms)
        for first, rows, *terms in tables.spans.tolist()
        for done in range(0, rows, most)
    ]
    return tables._replace(spans=np.array(spans, np.int64))


def _crossed(down: Any, across: Any, width: int) -> Any:
    """Pixels, by their rows and columns in an image."""
    return (down[:, None] * width + across).reshape(-1)


def _of_images(images: int, size: Pair, pixels: Any) -> Any:
    return (np.arange(images)[:, None] * (size[0] * size[1]) + pixels).reshape(-1)


def _of_channels(channels: int, pixels: Any) -> Any:
    return (pixels[:, None] * channels + np.arange(channels)).reshape(-1)


def _joined(products: list[tuple[Any, ...]]) -> Tables:
    lengths = np.array([(len(product[0]), len(product[2])) for product in products], np.int64)
    firsts = np.cumsum(lengths, axis=0) - lengths
    spans = np.stack([firsts[:, 0], lengths[:, 0], firsts[:, 1], lengths[:, 1]], axis=1)
    return Tables(spans, *(np.concatenate(table).astype(np.int64) for table in zip(*products, strict=True)))
