"""The tables of what a convolution's outputs see, against a loop over all of it."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from backends.cpu import reach
from backends.cpu.compiled.squares import STEP
from backends.geometry import output_length

# length, kernel, stride, padding, dilation
AXES = [
    (1, 1, 1, 0, 1),
    (1, 3, 1, 1, 1),
    (2, 3, 1, 1, 1),
    (9, 3, 2, 1, 1),
    (8, 3, 3, 2, 2),
    (5, 4, 1, 5, 1),  # outputs that see nothing
    (11, 2, 4, 0, 1),  # elements that nothing sees
    (9, 11, 4, 3, 1),
]
CHANNELS, IMAGES = 3, 2


@pytest.mark.parametrize("axis", AXES, ids=str)
def test_who_sees_what(axis: tuple[int, ...]) -> None:
    length, kernel, stride, padding, dilation = axis
    outs = output_length(length, kernel, stride, padding, dilation)
    seen = reach.seen_by_outputs(length, outs, kernel, stride, padding, dilation)
    saw = reach.outputs_that_saw(length, outs, kernel, stride, padding, dilation)
    expected_seen, expected_saw = np.full((outs, kernel), -1), np.full((length, kernel), -1)
    for i, u in product(range(outs), range(kernel)):
        y = i * stride - padding + u * dilation
        if 0 <= y < length:
            expected_seen[i, u], expected_saw[y, u] = y, i
    np.testing.assert_array_equal(seen, expected_seen)
    np.testing.assert_array_equal(saw, expected_saw)


def read(tables: reach.Tables) -> dict[tuple[int, int], list[int]]:
    """For each row of C and each offset of B, where in A a product reads; and that each row belongs to one product."""
    found: dict[tuple[int, int], list[int]] = {}
    rows: list[int] = []
    for begin, count, begin_terms, terms in tables.spans.tolist():
        rows += tables.c_rows[begin : begin + count].tolist()
        for r, k in product(range(begin, begin + count), range(begin_terms, begin_terms + terms)):
            key = int(tables.c_rows[r]), int(tables.b_terms[k])
            found.setdefault(key, []).append(int(tables.a_rows[r] + tables.a_terms[k]))
    assert sorted(rows) == list(range(len(rows)))
    return found


@pytest.mark.parametrize("down", AXES, ids=str)
@pytest.mark.parametrize("across", AXES, ids=str)
def test_each_product_is_there_once(down: Any, across: Any) -> None:
    tables = []
    for length, kernel, *window in (down, across):
        tables.append(reach.seen_by_outputs(length, output_length(length, kernel, *window), kernel, *window))
    size, outs = (down[0], across[0]), (len(tables[0]), len(tables[1]))
    forward: dict[tuple[int, int], list[int]] = {}
    backward: dict[tuple[int, int], list[int]] = {}
    for n, i, j, u, v, c in product(*(range(count) for count in (IMAGES, *outs, down[1], across[1], CHANNELS))):
        y, x = tables[0][i, u], tables[1][j, v]
        if y >= 0 and x >= 0:
            pixel = 4 * (((n * size[0] + y) * size[1] + x) * CHANNELS + c)
            place, term = (n * outs[0] + i) * outs[1] + j, (u * across[1] + v) * CHANNELS + c
            forward[place, term * STEP] = [pixel]
            backward[term, place * 4 * 7] = [pixel]
    assert read(reach.places_by_terms(IMAGES, *tables, size, CHANNELS)) == forward
    of_filters = reach.terms_by_places(IMAGES, *tables, size, CHANNELS, 7, 4)
    assert read(of_filters) == backward
    assert of_filters.spans[:, 1].max() <= 4
