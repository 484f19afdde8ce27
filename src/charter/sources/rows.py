"""Rows of JSONL, JSON, CSV and Parquet files (``.gz`` too), each with its place: file and line."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from charter.errors import SpecError

KINDS = (".jsonl", ".json", ".csv", ".parquet")
CELL = 1 << 26
"""Characters that a cell of a CSV may have."""
_QUOTE = "Mend that row: a cell that holds a comma or a line break stands in quotation marks."
_UNCLOSED = f"A cell may have {CELL:,} characters: is a quotation mark not closed?"


@dataclass(frozen=True)
class Row:
    """A row as it stands. ``place`` is file and line; ``above`` the keys of the JSON objects around it."""

    place: str
    value: Any
    above: tuple[str, ...] = ()


def file_rows(path: str) -> Iterator[Row]:
    """The rows of a file, or of every data file in a folder, in the order of their names. Raises SpecError."""
    given = Path(path).expanduser()
    if not given.is_dir():
        yield from _rows(given)
        return
    found = sorted(file for file in given.rglob("*") if file.is_file() and _kind(file) in KINDS)
    if not found:
        raise SpecError(f"{given} holds no {', '.join(KINDS)} file", cure="Give the file, or the folder that holds it.")
    for file in found:
        yield from _rows(file)


def _kind(path: Path) -> str:
    named = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    return named.suffix.lower()


def _rows(path: Path) -> Iterator[Row]:
    kind = _kind(path)
    try:
        if kind == ".parquet":
            yield from _parquet(path)
            return
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as raw:
            text = io.TextIOWrapper(raw, encoding="utf-8-sig", newline="")
            if kind == ".csv":
                yield from _csv(path, text)
            elif kind == ".json":
                yield from _json(path, text.read())
            else:
                yield from _jsonl(path, text)
    except (OSError, EOFError, UnicodeDecodeError) as error:
        _unreadable(path, error)


def _unreadable(path: Path, error: Exception) -> NoReturn:
    raise SpecError(
        f"{path} cannot be read: {error!s:.300}", cure="Give a whole UTF-8 JSONL, JSON or CSV file, or Parquet."
    ) from error


def _csv(path: Path, text: io.TextIOWrapper) -> Iterator[Row]:
    csv.field_size_limit(CELL)  # of the whole process; the library's own would refuse long texts
    table, line = csv.DictReader(text), 1
    try:
        for row in table:
            line, place = table.line_num, f"{path}:{table.line_num}"
            if None in row or None in row.values():
                more = "more" if None in row else "fewer"
                raise SpecError(f"{place} has {more} cells than the head of the table", cure=_QUOTE)
            yield Row(place, row)
    except csv.Error as error:
        raise SpecError(f"{path} cannot be read after line {line}: {error}", cure=_UNCLOSED) from error


def _jsonl(path: Path, text: io.TextIOWrapper) -> Iterator[Row]:
    for number, line in enumerate(text, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise SpecError(f"{path}:{number} is not JSON: {error}", cure="Mend that line.") from error
        yield Row(f"{path}:{number}", value)


def _json(path: Path, text: str) -> Iterator[Row]:
    """The elements of every list in a document of lists within objects."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        raise SpecError(f"{path}:{error.lineno} is not JSON: {error}", cure="Mend that line.") from error
    except (ValueError, RecursionError) as error:
        _unreadable(path, error)
    line, seen = 1, 0
    for at, above, value in _elements(text, 0, ()):
        line, seen = line + text.count("\n", seen, at), at
        yield Row(f"{path}:{line}", value, above)


_BETWEEN = re.compile(r"[\s,:]*")
_DECODER = json.JSONDecoder()


def _elements(text: str, at: int, above: tuple[str, ...]) -> Generator[tuple[int, tuple[str, ...], Any], None, int]:
    """(position, keys above, element) of a valid document, list by list; returns where the value ends. What is neither
    an object nor a list is an element of its own."""
    at = _past(text, at)
    if text[at] not in "[{":
        value, end = _DECODER.raw_decode(text, at)
        yield at, above, value
        return end
    within = text[at] == "["
    at = _past(text, at + 1)
    while text[at] not in "]}":
        start = at
        value, at = _DECODER.raw_decode(text, at)
        if within:
            yield start, above, value
        else:
            at = yield from _elements(text, at, (*above, value))
        at = _past(text, at)
    return at + 1


def _past(text: str, at: int) -> int:
    found = _BETWEEN.match(text, at)
    return found.end() if found else at


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow
    from pyarrow import parquet

    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches():
                for value in batch.to_pylist():
                    number += 1
                    yield Row(f"{path}:{number}", value)
    except pyarrow.ArrowException as error:
        _unreadable(path, error)
