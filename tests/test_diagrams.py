"""The diagrams of the pages: current, complete for those who do not see them, and nothing lies over anything else."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import combinations, pairwise
from xml.etree import ElementTree

import docs
import pytest
from docs.diagrams import DIAGRAMS, FOLDER, render_diagrams
from docs.drawing import LONGEST, WIDTH, Area, Arrow, Box, Diagram, place_boxes, render_diagram, route_arrow

SVG = "{http://www.w3.org/2000/svg}"
each_diagram = pytest.mark.parametrize("diagram", DIAGRAMS.values(), ids=list(DIAGRAMS))


def find_crossed_boxes(diagram: Diagram) -> list[tuple[Arrow, str]]:
    """Arrows that lie on a box, with the box: their ends only touch one."""
    areas = place_boxes(diagram)
    return [
        (arrow, key)
        for arrow in diagram.arrows
        for key, area in areas.items()
        if crosses(route_arrow(areas[arrow.start], areas[arrow.end], arrow.sides), area)
    ]


def crosses(points: list[tuple[float, float]], area: Area) -> bool:
    """Whether a part of an arrow lies within a box."""
    return any(
        min(x, to_x) < area.x + WIDTH
        and max(x, to_x) > area.x
        and min(y, to_y) < area.y + area.height
        and max(y, to_y) > area.y
        for (x, y), (to_x, to_y) in pairwise(points)
    )


def test_files_are_those_of_the_code() -> None:
    made = render_diagrams()
    assert {path: path.read_text(encoding="utf-8") for path in made} == made, "renew them: python -m docs"
    assert set(FOLDER.iterdir()) == set(made)


def test_every_diagram_stands_on_a_page_with_words_for_it() -> None:
    shown = [
        (alt, target)
        for page in docs.pages()
        for alt, target in re.findall(r"!\[([^\]]*)\]\((\S+\.svg)\)", page.read_text(encoding="utf-8"))
    ]
    assert {f"diagrams/{name}.svg" for name in DIAGRAMS} <= {target.removeprefix("docs/") for _, target in shown}
    assert all(alt for alt, _ in shown)


def test_no_page_asks_for_a_script_that_draws() -> None:
    config = (docs.ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert "mermaid" not in config
    assert [page.name for page in docs.pages() if "```mermaid" in page.read_text(encoding="utf-8")] == []


@each_diagram
def test_a_diagram_is_valid_and_says_what_it_shows(diagram: Diagram) -> None:
    root = ElementTree.fromstring(render_diagram(diagram))
    assert (root.attrib["role"], root.attrib["aria-labelledby"]) == ("img", "title desc")
    assert root.findtext(f"{SVG}title") == diagram.title
    assert len(root.findtext(f"{SVG}desc") or "") > 80
    assert len(root.findall(f"{SVG}polyline")) == len(diagram.arrows)


@each_diagram
def test_lines_fit_into_their_boxes(diagram: Diagram) -> None:
    assert [line for box in diagram.boxes.values() for line in box.lines if len(line) > LONGEST] == []


@each_diagram
def test_nothing_lies_over_anything_else(diagram: Diagram) -> None:
    places = [{(box.column, row) for row in range(box.row, box.row + box.rows)} for box in diagram.boxes.values()]
    assert [pair for pair in combinations(places, 2) if pair[0] & pair[1]] == []
    assert find_crossed_boxes(diagram) == []


def test_an_arrow_across_a_box_is_found() -> None:
    boxes = {name: Box(0, row, (name,)) for row, name in enumerate("abc")}
    straight = Diagram("t", "d", boxes, (Arrow("a", "c", "b t"),))
    assert find_crossed_boxes(straight) == [(straight.arrows[0], "b")]
    assert find_crossed_boxes(replace(straight, arrows=(Arrow("a", "c", "r r"),))) == []
    with pytest.raises(KeyError):
        render_diagram(replace(straight, arrows=(Arrow("a", "nowhere"),)))
