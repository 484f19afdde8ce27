"""Diagrams as SVG: boxes on a grid, and arrows between them.

No page loads a script for its diagrams. Each has its own opaque ground in a light and in a dark form, so it can be read
whatever the page around it looks like. Lengths are in pixels of the SVG."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from itertools import pairwise

WIDTH, GAP_X, GAP_Y, MARGIN, LANE = 176, 40, 38, 34, 18
"""A box's width, the room between boxes and around all of them, and how far an arrow keeps from a box it rounds."""
LINE, PADDING, SIZE = 18, 11, 13.5
"""Height of a line, room above and below a box's lines, and size of the letters."""
LONGEST = 24
"""Characters of a line that fit into a box of one column."""

STYLE = """
.ground { fill: #ffffff; stroke: #d5dbdb }
.step { fill: #e0f2f1; stroke: #00796b }
.kept { fill: #fff8e1; stroke: #b28704 }
.end { fill: #f3f4f6; stroke: #5f6b6b }
.arrow { fill: none; stroke: #37474f; stroke-width: 1.5 }
.head { fill: #37474f }
text { fill: #1b2626; font-family: system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif }
.title { font-weight: 600 }
.label { fill: #37474f; stroke: #ffffff }
@media (prefers-color-scheme: dark) {
  .ground { fill: #1e2129; stroke: #3a4150 }
  .step { fill: #143d3a; stroke: #4db6ac }
  .kept { fill: #40350f; stroke: #d4b106 }
  .end { fill: #2a2f3a; stroke: #8a95a5 }
  .arrow { stroke: #b8c4cc }
  .head { fill: #b8c4cc }
  text { fill: #eceff1 }
  .label { fill: #b8c4cc; stroke: #1e2129 }
}
"""


@dataclass(frozen=True)
class Box:
    """A box at a column and a row; its first line is its name.

    ``kind`` is ``step`` (what is done), ``kept`` (what is on disk) or ``end`` (what comes of it).
    """

    column: int
    row: int
    lines: tuple[str, ...]
    kind: str = "step"
    rows: int = 1


@dataclass(frozen=True)
class Arrow:
    """An arrow from one box to another.

    ``sides`` is where it leaves and where it enters: r, l, t or b. A sign moves that end towards the beginning (-) or
    the end (+) of its side, as in ``l b+``.
    """

    start: str
    end: str
    sides: str = "r l"
    label: str = ""


@dataclass(frozen=True)
class Diagram:
    """Boxes by key, the arrows between them, and what a reader who does not see them is told."""

    title: str
    description: str
    boxes: Mapping[str, Box]
    arrows: tuple[Arrow, ...]


@dataclass(frozen=True)
class Area:
    """Where a box lies."""

    x: float
    y: float
    height: float

    def edge(self, side: str) -> tuple[float, float]:
        """The point of a side at which an arrow begins or ends."""
        share = {"": 0.5, "-": 0.22, "+": 0.78}[side[1:]]
        across, down = self.x + WIDTH * share, self.y + self.height * share
        places = {
            "l": (self.x, down),
            "r": (self.x + WIDTH, down),
            "t": (across, self.y),
            "b": (across, self.y + self.height),
        }
        return places[side[0]]


def place_boxes(diagram: Diagram) -> dict[str, Area]:
    """Where each box lies. All boxes of a row are as high as its longest text."""
    rows = range(max(box.row + box.rows for box in diagram.boxes.values()))
    single = [box for box in diagram.boxes.values() if box.rows == 1]
    heights = [max(LINE * len(box.lines) for box in single if box.row == row) + 2 * PADDING for row in rows]
    tops = [MARGIN + sum(heights[:row]) + GAP_Y * row for row in rows]
    return {
        key: Area(
            x=MARGIN + box.column * (WIDTH + GAP_X),
            y=tops[box.row],
            height=tops[box.row + box.rows - 1] + heights[box.row + box.rows - 1] - tops[box.row],
        )
        for key, box in diagram.boxes.items()
    }


def route_arrow(start: Area, end: Area, sides: str) -> list[tuple[float, float]]:
    """The corners of an arrow, its ends among them."""
    out, into = sides.split()
    (x, y), (to_x, to_y) = start.edge(out), end.edge(into)
    level = out[0] in "lr"
    if level and into[0] in "lr" and out[0] != into[0]:
        if start.height != end.height:  # beside a box of several rows: straight on
            y = to_y = y if start.height < end.height else to_y
        return _without_repeats([(x, y), ((x + to_x) / 2, y), ((x + to_x) / 2, to_y), (to_x, to_y)])
    if not level and into[0] in "tb" and out[0] != into[0]:
        return _without_repeats([(x, y), (x, (y + to_y) / 2), (to_x, (y + to_y) / 2), (to_x, to_y)])
    if out[0] == into[0]:
        lane = {"r": max(x, to_x) + LANE, "l": min(x, to_x) - LANE, "b": max(y, to_y) + LANE, "t": min(y, to_y) - LANE}
        turn = lane[out[0]]
        corners = [(turn, y), (turn, to_y)] if level else [(x, turn), (to_x, turn)]
        return [(x, y), *corners, (to_x, to_y)]
    if out[0] == "r" and into[0] == "t" and to_y < y:  # around, over everything
        return [(x, y), (x + LANE, y), (x + LANE, to_y - LANE), (to_x, to_y - LANE), (to_x, to_y)]
    return [(x, y), (to_x, y) if level else (x, to_y), (to_x, to_y)]


def _without_repeats(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """A straight arrow has no corners."""
    return [points[0], points[-1]] if points[1] == points[2] else points


def render_diagram(diagram: Diagram) -> str:
    """A diagram as an SVG document. Raises KeyError where an arrow names no box."""
    areas = place_boxes(diagram)
    width = max(area.x for area in areas.values()) + WIDTH + MARGIN
    height = max(area.y + area.height for area in areas.values()) + MARGIN
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
            f'height="{height:g}" role="img" aria-labelledby="title desc" font-size="{SIZE}">',
            f'<title id="title">{escape(diagram.title)}</title>',
            f'<desc id="desc">{escape(diagram.description)}</desc>',
            f"<style>{STYLE}</style>",
            '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
            'orient="auto"><path class="head" d="M0 0 8 4 0 8z"/></marker></defs>',
            f'<rect class="ground" x="0.5" y="0.5" width="{width - 1:g}" height="{height - 1:g}" rx="8"/>',
            *(line for arrow in diagram.arrows for line in _draw_arrow(arrow, areas)),
            *(line for key, box in diagram.boxes.items() for line in _draw_box(box, areas[key])),
            *(line for arrow in diagram.arrows for line in _draw_label(arrow, areas)),
            "</svg>\n",
        ]
    )


def _draw_arrow(arrow: Arrow, areas: Mapping[str, Area]) -> Iterator[str]:
    points = route_arrow(areas[arrow.start], areas[arrow.end], arrow.sides)
    drawn = " ".join(f"{x:g},{y:g}" for x, y in points)
    yield f'<polyline class="arrow" points="{drawn}" marker-end="url(#head)"/>'


def _draw_box(box: Box, area: Area) -> Iterator[str]:
    yield f'<rect class="{box.kind}" x="{area.x:g}" y="{area.y:g}" width="{WIDTH}" height="{area.height:g}" rx="6"/>'
    top = area.y + (area.height - LINE * len(box.lines)) / 2 + 13
    for number, line in enumerate(box.lines):
        name = "" if number else ' class="title"'
        place = f'x="{area.x + WIDTH / 2:g}" y="{top + LINE * number:g}"'
        yield f'<text{name} {place} text-anchor="middle">{escape(line)}</text>'


def _draw_label(arrow: Arrow, areas: Mapping[str, Area]) -> Iterator[str]:
    """A label lies on the middle of its arrow's longest part."""
    if not arrow.label:
        return
    points = route_arrow(areas[arrow.start], areas[arrow.end], arrow.sides)
    (x, y), (to_x, to_y) = max(
        pairwise(points), key=lambda part: abs(part[0][0] - part[1][0]) + abs(part[0][1] - part[1][1])
    )
    yield (
        f'<text class="label" x="{(x + to_x) / 2:g}" y="{(y + to_y) / 2 + 4:g}" text-anchor="middle" font-size="12" '
        f'stroke-width="7" stroke-linejoin="round" paint-order="stroke">{escape(arrow.label)}</text>'
    )
