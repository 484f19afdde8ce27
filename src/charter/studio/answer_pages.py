"""Held-out prompts with the starting model's and the aligned model's answers side by side."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from starlette.responses import Response

from charter.records.measurements import Better
from charter.reports.paired_tests import FINAL_STEP, START_STEP
from charter.runs.reader import RunReader
from charter.studio.page_rendering import Studio, read_page_number, render, session_of, studio_of
from charter.studio.record_search import SearchableFile
from charter.studio.run_pages import find_run, run_contents

if TYPE_CHECKING:
    from starlette.requests import Request

ANSWERS_A_PAGE = 20
_KEPT_RUNS = 4

AnswerFilter = Literal["all", "changed", "worse", "better"]
Outcomes = dict[str, bool | None]


@dataclass(frozen=True)
class AnswerPair:
    """A held-out prompt: what was found in the answers of both sides, and the lines at which they stand."""

    id: str
    before: Outcomes
    after: Outcomes
    worse: tuple[str, ...]
    better: tuple[str, ...]
    before_line: int
    after_line: int

    def fits(self, wanted: AnswerFilter) -> bool:
        """Whether it is shown under a filter."""
        moved = {"all": True, "changed": self.before != self.after, "worse": bool(self.worse)}
        return bool(moved.get(wanted, self.better))


class AnswerPairs:
    """The pairs of the runs that were read last."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[object, list[AnswerPair]]] = OrderedDict()
        self._mutex = threading.Lock()

    def read_pairs(self, studio: Studio, reading: RunReader) -> list[AnswerPair]:
        """Every held-out prompt that was measured on either side. Raises StoreError, DamagedError."""
        files = [studio.files.open_step(reading.directory, f"{s}_measurements") for s in (START_STEP, FINAL_STEP)]
        stamp, key = [file and file.stamp for file in files], str(reading.directory)
        with self._mutex:
            known = self._known.get(key)
        if known is None or known[0] != stamp:
            known = (stamp, list(_pair_outcomes(files[0], files[1], _list_directions(reading))))
        with self._mutex:
            self._known[key] = known
            self._known.move_to_end(key)
            while len(self._known) > _KEPT_RUNS:
                self._known.popitem(last=False)
        return known[1]


def show_answers(request: Request) -> Response:
    """The pairs, a page at a time."""
    session_of(request)
    name, reading = find_run(request)
    studio, pairs = studio_of(request), request.app.state.answer_pairs.read_pairs(studio_of(request), reading)
    asked = request.query_params.get("only", "all")
    only: AnswerFilter = next((known for known in get_args(AnswerFilter) if known == asked), "all")
    fitting = [pair for pair in pairs if pair.fits(only)]
    page = read_page_number(request.query_params.get("page", "1"))
    shown = fitting[(page - 1) * ANSWERS_A_PAGE : page * ANSWERS_A_PAGE]
    before, after = (studio.files.open_step(reading.directory, f"{s}_exchanges") for s in (START_STEP, FINAL_STEP))
    sides = [
        (pair, _read_exchange(before, pair.id, pair.before_line), _read_exchange(after, pair.id, pair.after_line))
        for pair in shown
    ]
    return render(
        request,
        "answers.html.j2",
        **run_contents(name, reading),
        sides=sides,
        only=only,
        counts={known: sum(pair.fits(known) for pair in pairs) for known in get_args(AnswerFilter)},
        found=len(fitting),
        page=page,
        pages=-(-len(fitting) // ANSWERS_A_PAGE),
    )


def _list_directions(reading: RunReader) -> dict[str, Better]:
    scores = {**reading.scores(f"{START_STEP}_scores"), **reading.scores(f"{FINAL_STEP}_scores")}
    return {name: score.better for name, score in scores.items()}


def _pair_outcomes(
    before: SearchableFile | None, after: SearchableFile | None, directions: dict[str, Better]
) -> Iterator[AnswerPair]:
    first, second = _read_outcomes(before), _read_outcomes(after)
    for id in dict.fromkeys([*first, *second]):
        (line, old), (other_line, new) = first.get(id, (-1, {})), second.get(id, (-1, {}))
        moved = {name: new[name] for name in old if None not in (old[name], new.get(name)) and old[name] != new[name]}
        better = tuple(name for name, event in moved.items() if event == (directions.get(name, "higher") == "higher"))
        worse = tuple(name for name in moved if name not in better)
        yield AnswerPair(id, old, new, worse, better, line, other_line)


def _read_outcomes(file: SearchableFile | None) -> dict[str, tuple[int, Outcomes]]:
    """By id the line and what was found. A line that is no measurement is left out; the step's page shows it."""
    found: dict[str, tuple[int, Outcomes]] = {}
    for number, line in enumerate(file.iterate_lines()) if file else ():
        try:
            fields = json.loads(line)
            found.setdefault(fields["id"], (number, dict(fields["outcomes"])))
        except (ValueError, KeyError, TypeError):
            continue
    return found


def _read_exchange(file: SearchableFile | None, id: str, near: int) -> dict[str, Any] | None:
    """The answer of one side; None where there is none. Both steps of a side have the same order."""
    number = file.find_record(id, near if near >= 0 else None) if file else None
    if file is None or number is None:
        return None
    found: dict[str, Any] = json.loads(file.read_lines([number])[0])
    return found
