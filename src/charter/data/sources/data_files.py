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

SUFFIXES = (".jsonl", ".json", ".csv", ".parquet")
MAX_CELL_CHARS = 1 << 26
"""Characters that a cell of a CSV may have."""
_QUOTE = "Mend that row: a cell that holds a comma or a line break stands in quotation marks."
_UNCLOSED = f"A cell may have {MAX_CELL_CHARS:,} characters: is a quotation mark not closed?"


@dataclass(frozen=True)
class FileRow:
    """A row as it stands. ``place`` is file and line; ``above`` the keys of the JSON objects around it."""

    place: str
    value: Any
    parent_keys: tuple[str, ...] = ()


def read_file_rows(path: str) -> Iterator[FileRow]:
    """The rows of a file, or of every data file in a folder, in the order of their names. Raises SpecError."""
    given = Path(path).expanduser()
    if not given.is_dir():
        yield from _read_file(given)
        return
    found = sorted(file for file in given.rglob("*") if file.is_file() and _data_suffix(file) in SUFFIXES)
    if not found:
        raise SpecError(
            f"{given} holds no {', '.join(SUFFIXES)} file", cure="Give the file, or the folder that holds it."
        )
    for file in found:
        yield from _read_file(file)


def _data_suffix(path: Path) -> str:
    named = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    return named.suffix.lower()


def _read_file(path: Path) -> Iterator[FileRow]:
    kind = _data_suffix(path)
    try:
        if kind == ".parquet":
            yield from _read_parquet(path)
            return
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as raw:
            text = io.TextIOWrapper(raw, encoding="utf-8-sig", newline="")
            if kind == ".csv":
                yield from _read_csv(path, text)
            elif kind == ".json":
                yield from _read_json(path, text.read())
            else:
                yield from _read_jsonl(path, text)
    except (OSError, EOFError, UnicodeDecodeError) as error:
        _raise_unreadable(path, error)


def _raise_unreadable(path: Path, error: Exception) -> NoReturn:
    raise SpecError(
        f"{path} cannot be read: {error!s:.300}", cure="Give a whole UTF-8 JSONL, JSON or CSV file, or Parquet."
    ) from error


def _read_csv(path: Path, text: io.TextIOWrapper) -> Iterator[FileRow]:
    csv.field_size_limit(MAX_CELL_CHARS)  # of the whole process; the library's own would refuse long texts
    table, line = csv.DictReader(text), 1
    try:
        for row in table:
            line, place = table.line_num, f"{path}:{table.line_num}"
            if None in row or None in row.values():
                more = "more" if None in row else "fewer"
                raise SpecError(f"{place} has {more} cells than the head of the table", cure=_QUOTE)
            yield FileRow(place, row)
    except csv.Error as error:
        raise SpecError(f"{path} cannot be read after line {line}: {error}", cure=_UNCLOSED) from error


def _read_jsonl(path: Path, text: io.TextIOWrapper) -> Iterator[FileRow]:
    for number, line in enumerate(text, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise SpecError(f"{path}:{number} is not JSON: {error}", cure="Mend that line.") from error
        yield FileRow(f"{path}:{number}", value)


def _read_json(path: Path, text: str) -> Iterator[FileRow]:
    """The elements of every list in a document of lists within objects."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        raise SpecError(f"{path}:{error.lineno} is not JSON: {error}", cure="Mend that line.") from error
    except (ValueError, RecursionError) as error:
        _raise_unreadable(path, error)
    line, seen = 1, 0
    for at, above, value in _iter_elements(text, 0, ()):
        line, seen = line + text.count("\n", seen, at), at
        yield FileRow(f"{path}:{line}", value, above)


_BETWEEN = re.compile(r"[\s,:]*")
_DECODER = json.JSONDecoder()


def _iter_elements(
    text: str, at: int, above: tuple[str, ...]
) -> Generator[tuple[int, tuple[str, ...], Any], None, int]:
    """(position, keys above, element) of a valid document, list by list; returns where the value ends. What is neither
    an object nor a list is an element of its own."""
    at = _skip_separators(text, at)
    if text[at] not in "[{":
        value, end = _DECODER.raw_decode(text, at)
        yield at, above, value
        return end
    within = text[at] == "["
    at = _skip_separators(text, at + 1)
    while text[at] not in "]}":
        start = at
        value, at = _DECODER.raw_decode(text, at)
        if within:
            yield start, above, value
        else:
            at = yield from _iter_elements(text, at, (*above, value))
        at = _skip_separators(text, at)
    return at + 1


def _skip_separators(text: str, at: int) -> int:
    found = _BETWEEN.match(text, at)
    return found.end() if found else at


def _read_parquet(path: Path) -> Iterator[FileRow]:
    import pyarrow
    from pyarrow import parquet

    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches():
                for value in batch.to_pylist():
                    number += 1
                    yield FileRow(f"{path}:{number}", value)
    except pyarrow.ArrowException as error:
        _raise_unreadable(path, error)
