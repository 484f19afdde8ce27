"""Rows of JSON: lines, lists, objects with lists in them, and tables that stand by column."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from charter.data.sources.data_rows import DataRow
from charter.errors import RowError, SpecError

RECORDS = ("data", "rows", "records", "examples", "instances", "items")
"""Members of a document that hold its rows, as most writers call them."""
_TEXTS = "prompt question questions instruction query goal behavior text input messages conversations response chosen"
COLUMNS = frozenset(_TEXTS.split())
"""Columns by which a table that stands by column is known from lists of prompts by topic."""
_BLANK = re.compile(r"\s*")


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key `{next(name for name in names if names.count(name) > 1)}` stands twice")
    return made


_DECODER = json.JSONDecoder(object_pairs_hook=_members)


def read_lines(file: str, lines: Iterator[str]) -> Iterator[DataRow]:
    """The value of each line that is not blank."""
    for number, line in enumerate(lines, 1):
        if text := line.strip():
            yield _line(file, number, text)


def is_document(head: str) -> bool:
    """Whether the beginning of a text is one document over several lines, or a list alone, and no JSON lines."""
    first, _, rest = head.lstrip().partition("\n")
    try:
        value = _DECODER.decode(first.strip())
    except (ValueError, RecursionError):
        return first.rstrip().rstrip("\r") in ("{", "[") or (first[:1] in "[{" and first.rstrip()[-1:] in ",{[")
    return isinstance(value, list) and not rest.strip()


def read_document(file: str, text: str) -> Iterator[DataRow]:
    """The rows of a document: the elements of a list, or the records within an object. Several values in one text are
    a row each. Raises SpecError naming the line of a fault."""
    at = _past(text, 0)
    if at == len(text):
        return
    if text[at] == "[":
        yield from _elements(file, text, at, ())
        return
    value, end = _decode(file, text, at)
    if _past(text, end) < len(text) or not isinstance(value, dict):
        yield from _values(file, text, at)
        return
    if not value:
        return
    if (table := _columns(value)) is not None:
        yield from (DataRow(file, number, row) for number, row in enumerate(table, 1))
        return
    paths = _paths(value)
    if paths is None:
        yield DataRow(file, _lineno(text, at), value)
        return
    for row in _within(file, text, at, ()):
        if row.above in paths:
            yield _unwrapped(row)


def _line(file: str, number: int, text: str) -> DataRow:
    try:
        return DataRow(file, number, _DECODER.decode(text))
    except (ValueError, RecursionError) as error:
        twice = "stands twice" in str(error)
        reason, detail = (str(error), "") if twice else ("is not JSON", f"{error!s:.200}")
        return DataRow(file, number, None, fault=RowError(f"{file}:{number}", reason, detail, "Mend that line."))


def _values(file: str, text: str, at: int) -> Iterator[DataRow]:
    """Values one after another."""
    while at < len(text):
        value, end = _decode(file, text, at)
        yield DataRow(file, _lineno(text, at), value)
        at = _past(text, end)


def _elements(file: str, text: str, at: int, above: tuple[str, ...]) -> Iterator[DataRow]:
    """The elements of the list that begins here; nothing may follow the outermost one."""
    line, seen = _lineno(text, at), at
    at = _past(text, at + 1)
    while text[at : at + 1] != "]":
        line, seen = line + text.count("\n", seen, at), at
        value, at = _decode(file, text, at)
        yield DataRow(file, line, value, above)
        at = _past(text, at)
        if text[at : at + 1] == ",":
            at = _past(text, at + 1)
            if text[at : at + 1] == "]":
                raise _broken(file, text, at, "a value is missing after the comma")
        elif text[at : at + 1] != "]":
            raise _broken(file, text, at, "`,` or `]` is missing")
    if not above and _past(text, at + 1) < len(text):
        raise _broken(file, text, at + 1, "more follows after the list")


def _within(file: str, text: str, at: int, above: tuple[str, ...]) -> Iterator[DataRow]:
    """The elements of every list within the objects of a valid document, from the object that begins here."""
    at = _past(text, at + 1)
    while text[at] != "}":
        name, at = _DECODER.raw_decode(text, at)
        at = _past(text, _past(text, at) + 1)
        _, end = _DECODER.raw_decode(text, at)
        if text[at] == "[":
            yield from _elements(file, text, at, (*above, name))
        elif text[at] == "{":
            yield from _within(file, text, at, (*above, name))
        at = _past(text, end)
        at = _past(text, at + 1) if text[at] == "," else at


def _columns(value: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """The rows of a table that stands by column, or by row number; None where the object is none."""
    held = list(value.values())
    names = value.get("columns")
    if (
        isinstance(names, list)
        and isinstance(value.get("data"), list)
        and all(isinstance(r, list) for r in value["data"])
    ):
        return [dict(zip(map(str, names), row, strict=False)) for row in value["data"]]
    if held and all(isinstance(part, dict) and part for part in held):
        inner = [list(part) for part in held]
        if all(key.isdigit() for key in inner[0]) and all(keys == inner[0] for keys in inner):
            return [{name: part[key] for name, part in value.items()} for key in inner[0]]
        if all(key.isdigit() for key in value):
            return held
    known = any(name.strip().casefold() in COLUMNS for name in value)
    lists = [part for part in held if isinstance(part, list) and not _talks(part)]
    if known and len(lists) == len(held) and len(set(map(len, lists))) == 1:
        return [dict(zip(value, row, strict=True)) for row in zip(*lists, strict=True)]
    return None


def _paths(value: Mapping[str, Any]) -> set[tuple[str, ...]] | None:
    """Where the rows stand: the keys that lead to the lists that hold them; None: the object is a row itself."""
    lists = dict(_lists(value, ()))
    if not lists or any(_talks(held) for path, held in lists.items() if len(path) == 1):
        return None
    named: set[tuple[str, ...]] = {path for path in lists if len(path) == 1 and path[0].casefold() in RECORDS}
    records = {path for path, held in lists.items() if any(isinstance(one, dict) for one in held)}
    return named or records or set(lists)


def _lists(value: Mapping[str, Any], above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Sequence[Any]]]:
    for name, held in value.items():
        if isinstance(held, list):
            yield (*above, name), held
        elif isinstance(held, dict):
            yield from _lists(held, (*above, name))


def _talks(held: Sequence[Any]) -> bool:
    """Whether a list holds the turns of one conversation."""
    speakers, words = {"role", "from"}, {"content", "value"}
    return bool(held) and all(isinstance(one, dict) and speakers & set(one) and words & set(one) for one in held)


def _unwrapped(row: DataRow) -> DataRow:
    """A row of the hub's viewer stands in an object with its number."""
    if isinstance(row.value, dict) and isinstance(row.value.get("row"), dict) and "row_idx" in row.value:
        return DataRow(row.file, row.number, row.value["row"], row.above)
    return row


def _decode(file: str, text: str, at: int) -> tuple[Any, int]:
    try:
        return _DECODER.raw_decode(text, at)
    except json.JSONDecodeError as error:
        raise _broken(file, text, error.pos, error.msg) from error
    except (ValueError, RecursionError) as error:
        raise _broken(file, text, at, f"{error!s:.200}") from error


def _broken(file: str, text: str, at: int, what: str) -> SpecError:
    return SpecError(f"{file}:{_lineno(text, at)} is not JSON: {what}", cure="Mend that line.")


def _lineno(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def _past(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return found.end() if found else at
