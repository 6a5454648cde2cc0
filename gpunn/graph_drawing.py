"""A layered drawing of a computation graph as SVG, from left to right, without any other program.

Four steps, after K. Sugiyama, S. Tagawa and M. Toda, "Methods for visual understanding of hierarchical system
structures", 1981: each vertex gets a column, so that all wires lead to the right; a wire that passes a column gets a
place there; the places of a column are put in an order that crosses few wires; and the heights are chosen so that
wires are straight where they can be.
"""

from __future__ import annotations

import html
import itertools
from typing import NamedTuple

FONT = 15  # pixels
LETTER = 0.58 * FONT  # the mean width of a letter
ROW = 64  # pixels from one place of a column to the next
BEND = 46  # pixels between columns, in which wires go up and down
SWEEPS = 12
MARGIN = 14
INK, VALUE, GRADIENT = "#222222", "#00694B", "#B23A00"


class Drawn(NamedTuple):
    """A vertex as it is drawn: its text, and what stands above and below the wire that leaves it."""

    title: str
    leaf: bool
    above: str
    below: str
    inputs: tuple[int, ...]


class Place(NamedTuple):
    """A place in a column: of a vertex, or of the wire from it that passes the column."""

    vertex: int
    column: int
    passing: bool


Columns = list[list[Place]]
Links = dict[Place, list[Place]]


def draw(vertices: list[Drawn]) -> str:
    """The picture. Every vertex but the last leads somewhere; inputs stand before what uses them."""
    columns, before = _places(vertices)
    after: Links = {}
    for target, sources in before.items():
        for source in sources:
            after.setdefault(source, []).append(target)
    columns = _ordered(columns, before, after)
    heights = _heights(columns, before, after)
    return _svg(vertices, columns, before, heights)


def _depths(vertices: list[Drawn]) -> list[int]:
    """The column of each vertex: behind all of its inputs; a leaf stands beside what uses it first."""
    depths = [0] * len(vertices)
    for number, vertex in enumerate(vertices):
        depths[number] = 1 + max((depths[i] for i in vertex.inputs), default=-1)
    first_use: dict[int, int] = {}
    for number, vertex in enumerate(vertices):
        for i in vertex.inputs:
            first_use[i] = min(first_use.get(i, depths[number]), depths[number])
    return [
        first_use[number] - 1 if vertex.leaf and number in first_use else depths[number]
        for number, vertex in enumerate(vertices)
    ]


def _places(vertices: list[Drawn]) -> tuple[Columns, Links]:
    """The places of each column, and from which places of the column before each one is reached.

    From the result backwards, the first operand first, so that in a tree no wires cross.
    """
    depths = _depths(vertices)
    columns: Columns = [[] for _ in range(max(depths) + 1)]
    before: Links = {}

    def take(place: Place) -> None:
        columns[place.column].append(place)
        before[place] = []

    waiting = [len(vertices) - 1]
    while waiting:
        number = waiting.pop()
        here = Place(number, depths[number], False)
        if here in before:
            continue
        take(here)
        inputs = list(dict.fromkeys(vertices[number].inputs))
        for i in inputs:
            target = here
            for column in range(here.column - 1, depths[i], -1):
                passing = Place(i, column, True)  # one wire for all that use it further to the right
                before[target].append(passing)
                if passing in before:
                    break
                take(passing)
                target = passing
            else:
                before[target].append(Place(i, depths[i], False))
        waiting += reversed(inputs)
    return columns, before


def _ordered(columns: Columns, before: Links, after: Links) -> Columns:
    """The order with the fewest crossings among those that sorting by the neighbours' mean place finds."""
    best, fewest = columns, _crossings(columns, before)
    current = list(columns)
    for sweep in range(SWEEPS):
        if fewest == 0:
            break
        rightward = sweep % 2 == 0
        neighbours, side = (before, -1) if rightward else (after, 1)
        for number in range(1, len(current)) if rightward else range(len(current) - 2, -1, -1):
            where = {place: float(i) for i, place in enumerate(current[number + side])}
            current[number] = _sorted(current[number], neighbours, where)
        crossings = _crossings(current, before)
        if crossings < fewest:
            best, fewest = list(current), crossings
    return best


def _sorted(column: list[Place], neighbours: Links, where: dict[Place, float]) -> list[Place]:
    means = [_mean([where[n] for n in neighbours.get(place, [])], float(i)) for i, place in enumerate(column)]
    return [column[i] for i in sorted(range(len(column)), key=means.__getitem__)]


def _mean(values: list[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _crossings(columns: Columns, before: Links) -> int:
    count = 0
    for left, right in itertools.pairwise(columns):
        where = {place: i for i, place in enumerate(left)}
        wires = [(where[source], i) for i, place in enumerate(right) for source in before[place]]
        count += sum((a[0] - b[0]) * (a[1] - b[1]) < 0 for number, a in enumerate(wires) for b in wires[number + 1 :])
    return count


def _heights(columns: Columns, before: Links, after: Links) -> dict[Place, float]:
    """In rows: places of a column are at least 1 apart, and each is as near to the mean of its neighbours as may be."""
    height = {place: float(i) for column in columns for i, place in enumerate(column)}
    for sweep in range(SWEEPS):
        neighbours = before if sweep % 2 == 0 else after
        for column in columns if sweep % 2 == 0 else reversed(columns):
            wanted = [_mean([height[n] for n in neighbours.get(place, [])], height[place]) for place in column]
            height.update(zip(column, _apart(wanted), strict=True))
    top = min(height.values())
    return {place: value - top for place, value in height.items()}


def _apart(wanted: list[float]) -> list[float]:
    """The increasing numbers with steps of at least 1 that lie nearest to ``wanted`` in the sum of squares.

    Less its place, each must not decrease: neighbours that do are given their mean (pooling of adjacent violators).
    """
    pools: list[list[float]] = []  # mean, length
    for i, value in enumerate(wanted):
        pools.append([value - i, 1])
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            mean, length = pools.pop()
            pools[-1] = [(pools[-1][0] * pools[-1][1] + mean * length) / (pools[-1][1] + length), pools[-1][1] + length]
    means = [mean for mean, length in pools for _ in range(int(length))]
    return [mean + i for i, mean in enumerate(means)]


def _text_width(text: str) -> float:
    return LETTER * len(text)


def _body_width(vertex: Drawn) -> float:
    """Of the circle or box; an operation of one sign is a circle."""
    return max(2.2 * FONT, _text_width(vertex.title) + FONT) if vertex.title else 0.5 * FONT


def _svg(vertices: list[Drawn], columns: Columns, before: Links, heights: dict[Place, float]) -> str:
    spans, left = [], float(MARGIN)  # of each column: where it begins, and where its wires begin to bend
    for column in columns:
        shown = [vertices[place.vertex] for place in column if not place.passing]
        width = max(_body_width(v) + max(_text_width(v.above), _text_width(v.below)) + FONT for v in shown)
        spans.append((left, left + width))
        left += width + BEND
    wires, bodies = [], []
    for place in (place for column in columns for place in column):
        (begin, end), y = spans[place.column], _y(heights[place])
        body = 0.0 if place.passing else _body_width(vertices[place.vertex])
        wires.append(_wire(f"M {begin + body:.1f} {y:.1f} H {end:.1f}", place.column == len(columns) - 1))
        if not place.passing:
            bodies += _body(vertices[place.vertex], begin, y, body)
        sources = sorted(before[place], key=lambda source: heights[source])
        for i, source in enumerate(sources):
            bend, start = spans[source.column][1], _y(heights[source])
            arrive = y + (i - (len(sources) - 1) / 2) * min(9.0, 26.0 / len(sources))
            middle = (bend + begin) / 2
            curve = f"{middle:.1f} {start:.1f} {middle:.1f} {arrive:.1f} {begin:.1f} {arrive:.1f}"
            wires.append(_wire(f"M {bend:.1f} {start:.1f} C {curve}", not place.passing))
    width, height = max(left - BEND + MARGIN, 240.0), _y(max(heights.values()) + 0.5) + MARGIN + 1.6 * FONT
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
            f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="Helvetica, Arial, sans-serif" font-size="{FONT}">',
            '<defs><marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
            f'<path d="M 0 0 L 8 4 L 0 8 z" fill="{INK}"/></marker></defs>',
            '<rect width="100%" height="100%" fill="white"/>',
            f'<g fill="none" stroke="{INK}" stroke-width="1.4">',
            *wires,
            "</g>",
            *bodies,
            f'<text x="{MARGIN}" y="{height - MARGIN:.1f}"><tspan fill="{VALUE}">above: value</tspan>'
            f'<tspan fill="{GRADIENT}" dx="12">below: gradient</tspan></text>',
            "</svg>",
            "",
        ]
    )


def _y(height: float) -> float:
    return MARGIN + (height + 0.5) * ROW


def _wire(path: str, arrow: bool) -> str:
    head = ' marker-end="url(#arrow)"' if arrow else ""
    return f'<path d="{path}"{head}/>'


def _body(vertex: Drawn, x: float, y: float, width: float) -> list[str]:
    """The circle or box of a vertex, its title, and the texts beside it."""
    size = 2.2 * FONT
    corner = 3 if vertex.leaf else size / 2
    fill = "#EAF3FA" if vertex.leaf else "#FFFFFF"
    parts = [
        f'<rect x="{x:.1f}" y="{y - size / 2:.1f}" width="{width:.1f}" height="{size:.1f}" rx="{corner}" '
        f'fill="{fill}" stroke="{INK}" stroke-width="1.4"/>'
    ]
    if vertex.title:
        middle, baseline = x + width / 2, y + 0.35 * FONT
        parts.append(
            f'<text x="{middle:.1f}" y="{baseline:.1f}" text-anchor="middle">{html.escape(vertex.title)}</text>'
        )
    beside = x + width + 0.4 * FONT
    for text, color, offset in ((vertex.above, VALUE, -0.45 * FONT), (vertex.below, GRADIENT, 1.15 * FONT)):
        if text:
            parts.append(f'<text x="{beside:.1f}" y="{y + offset:.1f}" fill="{color}">{html.escape(text)}</text>')
    return parts
