"""The data of a run, and the lineage of one record: what it came from, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from charter.errors import StoreError
from charter.reports.data_card_markdown import read_data_cards
from charter.reports.explanation import Explanation, QuestionKind, explain_item
from charter.reports.prompt_data import read_prompt_sets
from charter.reports.skipped import count_failed_answers, read_row_counts, read_skipped_rows, tabulate_row_counts
from charter.runs.reader import RunReader
from charter.studio.page_rendering import render, session_of, studio_of
from charter.studio.record_search import LineSearch
from charter.studio.run_pages import find_run, run_contents
from charter.studio.step_pages import find_record, read_key

if TYPE_CHECKING:
    from starlette.requests import Request

MAX_SAME = 5
"""Records of one step that are named in a lineage."""
MAX_LISTED = 100
"""Rows and failures that a lineage shows."""


@dataclass(frozen=True)
class IdPlace:
    """A step in which an id stands: the records that hold it, and how many more there are."""

    folder: str
    step: str
    keys: tuple[str, ...]
    more: int


def show_data(request: Request) -> Response:
    """What prompts and sets a run used, and what was left out of them."""
    session_of(request)
    name, reading = find_run(request)
    figures = studio_of(request).shelf.keep_figures(reading, _read_data)
    return render(request, "data.html.j2", **run_contents(name, reading), reading=reading, **figures)


def show_lineage(request: Request) -> Response:
    """What a record came from, and what came of it."""
    session_of(request)
    found = find_record(request)
    reading, here, given = found.reading, f"{found.folder}/{found.step}", found.row.fields.get("id")
    id = given if isinstance(given, str) else ""
    before, after = _find_places(request, reading, here, id) if id else ([], [])
    return render(
        request,
        "lineage.html.j2",
        **run_contents(found.run, reading) | {"here": (found.folder, found.step)},
        row=found.row,
        before=before,
        after=after,
        found=_explain(reading, here, id) if id else None,
        most=MAX_LISTED,
    )


def _read_data(reading: RunReader) -> dict[str, Any]:
    return {
        "sets": read_prompt_sets(reading),
        "cards": read_data_cards(reading),
        "left_out": list(tabulate_row_counts(read_row_counts(reading))),
        "failed": count_failed_answers(reading),
        "skipped": read_skipped_rows(reading),
    }


def _find_places(request: Request, reading: RunReader, here: str, id: str) -> tuple[list[IdPlace], list[IdPlace]]:
    """Where an id stands in the steps before this one, and in those after it."""
    places: dict[bool, list[IdPlace]] = {True: [], False: []}
    wanted, is_before = LineSearch(field="id", value=id), True
    for step in reading.steps:
        if step == here:
            is_before = False
            continue
        file = studio_of(request).files.open_step(reading.directory, step)
        numbers = file.search_lines(wanted) if file else ()
        if file and numbers:
            folder, _, name = step.partition("/")
            keys = tuple(read_key(file, number) for number in numbers[:MAX_SAME])
            places[is_before].append(IdPlace(folder, name, keys, max(0, len(numbers) - MAX_SAME)))
    return places[True], places[False]


def _explain(reading: RunReader, step: str, id: str) -> Explanation | None:
    """What hangs together with a record, where it is a row, a rule or something about a prompt."""
    seal = reading.seal(step)
    held = seal.record_type if seal else ""
    kind: QuestionKind = "row" if held == "Example" else "principle" if held == "Principle" else "prompt"
    try:
        return explain_item(reading.directory, kind, id)
    except StoreError:
        return None
