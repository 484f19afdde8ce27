"""A step as a table that can be searched, filtered and paged; and one record of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.responses import Response

from charter.records.step_names import STEPS
from charter.runs import store
from charter.runs.reader import RunReader
from charter.studio.page_rendering import make_link, read_page_number, render, session_of, studio_of
from charter.studio.record_search import LineSearch, SearchableFile
from charter.studio.run_pages import find_run, run_contents

if TYPE_CHECKING:
    from starlette.requests import Request

RECORDS_A_PAGE = 50
MAX_COLUMNS, MAX_CHOICES, MAX_CHOICE = 8, 12, 60
EMPTY: tuple[Any, ...] = (None, "", [], {})
MAX_SEARCH = 500
"""Characters that may be looked for."""


@dataclass(frozen=True)
class TableRow:
    """A record in a table: ``line`` counts from 1; ``is_sealed`` is None where the step has no seal yet."""

    line: int
    key: str
    fields: dict[str, Any]
    is_sealed: bool | None


@dataclass(frozen=True)
class FoundRecord:
    """A record with its run, its step and the file that holds it."""

    run: str
    reading: RunReader
    folder: str
    step: str
    file: SearchableFile
    row: TableRow


def show_step(request: Request) -> Response:
    """The table of a step."""
    session_of(request)
    name, reading, folder, step = _find_step(request)
    seal = reading.seal(f"{folder}/{step}")
    file = studio_of(request).files.open_step(reading.directory, f"{folder}/{step}")
    wanted = LineSearch(*(request.query_params.get(key, "")[:MAX_SEARCH] for key in ("q", "field", "value")))
    page = read_page_number(request.query_params.get("page", "1"))
    digests = store.SealedDigests(reading.directory, seal) if seal else None
    count = _count_lines(file, digests, page) if file else 0
    numbers = range(count) if wanted.is_empty or not file else file.search_lines(wanted)
    shown = [n for n in numbers[(page - 1) * RECORDS_A_PAGE : page * RECORDS_A_PAGE] if file and file.has_line(n)]
    rows = _read_rows(file, shown, digests) if file else []
    return render(
        request,
        "step.html.j2",
        **run_contents(name, reading) | {"here": (folder, step)},
        at_step=partial(make_link, "runs", name, "steps", folder, step),
        meaning=STEPS.get(step, ""),
        seal=seal,
        count=count,
        found=len(numbers),
        wanted=wanted,
        page=page,
        pages=-(-len(numbers) // RECORDS_A_PAGE),
        rows=rows,
        columns=_choose_columns(rows),
        choices=_list_choices(rows),
        broken=[row.line for row in rows if row.is_sealed is False],
    )


def show_record(request: Request) -> Response:
    """One record, whole."""
    session_of(request)
    found = find_record(request)
    name, reading, folder, step = found.run, found.reading, found.folder, found.step
    return render(
        request,
        "record.html.j2",
        **run_contents(name, reading) | {"here": (folder, step)},
        at_step=partial(make_link, "runs", name, "steps", folder, step),
        row=found.row,
        count=len(found.file),
        previous=_key_at(found.file, found.row.line - 2),
        following=_key_at(found.file, found.row.line),
    )


def find_record(request: Request) -> FoundRecord:
    """The record that the address names. Raises HTTPException where there is none, StoreError, DamagedError."""
    name, reading, folder, step = _find_step(request)
    file = studio_of(request).files.open_step(reading.directory, f"{folder}/{step}")
    number = _find_line(file, request.path_params["key"]) if file else None
    if file is None or number is None:
        raise HTTPException(404, "The step has no such record.")
    seal = reading.seal(f"{folder}/{step}")
    digests = store.SealedDigests(reading.directory, seal) if seal else None
    return FoundRecord(name, reading, folder, step, file, _read_rows(file, [number], digests)[0])


def read_key(file: SearchableFile, number: int) -> str:
    """What names the record of a line, counted from 0, in an address."""
    return record_key(_parse_line(file.read_lines([number])[0]), number + 1)


def record_key(fields: dict[str, Any], line: int) -> str:
    """What names a record in an address: its id, or ``@`` and its line where the id cannot stand in a path."""
    id = fields.get("id")
    if not isinstance(id, str) or not id or id.startswith("@") or {".", ".."} & set(id.split("/")):
        return f"@{line}"
    return id


def _count_lines(file: SearchableFile, digests: Sequence[str] | None, page: int) -> int:
    """How many records a step has. A finished one's seal counts them; its file is read to the end for its last page
    alone, which shows what was added to it."""
    if digests is not None and page * RECORDS_A_PAGE < len(digests):
        return len(digests)
    return len(file)


def _find_step(request: Request) -> tuple[str, RunReader, str, str]:
    name, reading = find_run(request)
    folder, step = request.path_params["folder"], request.path_params["step"]
    if f"{folder}/{step}" not in reading.steps:
        raise HTTPException(404, "The run has no such step.")
    return name, reading, folder, step


def _find_line(file: SearchableFile, key: str) -> int | None:
    if key.startswith("@") and key[1:].isascii() and key[1:].isdigit() and len(key) < 12:
        number = int(key[1:]) - 1
        return number if file.has_line(number) else None
    return file.find_record(key)


def _key_at(file: SearchableFile, number: int) -> str:
    return read_key(file, number) if file.has_line(number) else ""


def _read_rows(file: SearchableFile, numbers: Sequence[int], digests: store.SealedDigests | None) -> list[TableRow]:
    """The rows of these lines, each compared with its seal."""
    lines = file.read_lines(numbers)
    sealed: Sequence[str | None] = digests.read_at(numbers) if digests is not None else [None] * len(lines)
    rows = []
    for number, line, digest in zip(numbers, lines, sealed, strict=True):
        fields, kept = _parse_line(line), None if digest is None else store.sha256(line) == digest
        rows.append(TableRow(number + 1, record_key(fields, number + 1), fields, kept))
    return rows


def _parse_line(line: bytes) -> dict[str, Any]:
    """A line's record; what is no record is shown as it stands."""
    try:
        found = store.parse_json(line, finite=False)
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {"(unreadable)": line.decode(errors="replace")}


def _choose_columns(rows: Sequence[TableRow]) -> list[str]:
    """The fields that differ on this page first, then a few of the others; those that are empty everywhere are left
    out."""
    names = dict.fromkeys(name for row in rows for name, value in row.fields.items() if value not in EMPTY)
    names.pop("id", None)
    spread = {name: len({json.dumps(row.fields.get(name), sort_keys=True) for row in rows}) for name in names}
    return sorted(names, key=lambda name: spread[name] < 2)[:MAX_COLUMNS]


def _list_choices(rows: Sequence[TableRow]) -> dict[str, list[str]]:
    """Fields with few short values on this page, to filter by."""
    seen: dict[str, dict[str, None]] = {}
    for row in rows:
        _collect_values(row.fields, seen, 0)
    return {name: list(values)[:MAX_CHOICES] for name, values in seen.items() if name != "id"}


def _collect_values(fields: dict[str, Any], seen: dict[str, dict[str, None]], depth: int) -> None:
    for name, value in fields.items():
        if isinstance(value, dict) and depth < 3:
            _collect_values(value, seen, depth + 1)
        elif value is None or isinstance(value, bool | int | float):
            seen.setdefault(name, {})[json.dumps(value)] = None
        elif isinstance(value, str) and 0 < len(value) <= MAX_CHOICE:
            seen.setdefault(name, {})[value] = None
