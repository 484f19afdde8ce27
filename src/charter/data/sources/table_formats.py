"""Rows of tables: CSV and its like with any usual separator, Parquet, and workbooks."""

from __future__ import annotations

import csv
import itertools
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, time
from pathlib import Path
from typing import Any

from charter.data.sources.data_rows import DataRow
from charter.errors import RowError, SpecError

CELL = 1 << 26
"""Characters that a cell of a CSV may have."""
SEPARATORS = (",", ";", "\t", "|")
HEAD = 20
"""Rows by which the separator of a table is told."""
BATCH = 1024
"""Rows of a Parquet file that are held at once."""
_QUOTE = "Mend that row: a cell that holds a separator, a quotation mark or a line break stands in quotation marks."


def read_delimited(file: str, lines: Iterable[str], separator: str = "") -> Iterator[DataRow]:
    """The rows of a table of text. Without a ``separator`` it is told from the head and the rows after it. Raises
    SpecError where a column stands twice."""
    csv.field_size_limit(CELL)  # of the whole process; the library's own would refuse long texts
    lines = iter(lines)
    head = list(itertools.islice(lines, HEAD + 1))
    stated = head[0].strip().strip('"') if head else ""
    skipped = 0
    if stated.casefold().startswith("sep=") and len(stated) <= 5:
        separator, head, skipped = stated[4:] or "\t", head[1:], 1
    table = csv.reader(itertools.chain(head, lines), delimiter=separator or _separator(head), strict=True)
    names: list[str] | None = None
    while True:
        line = table.line_num + skipped + 1
        try:
            cells = next(table, None)
        except csv.Error as error:
            fault = RowError(f"{file}:{line}", "is no row of a table", f"{error}: is a quotation mark wrong?", _QUOTE)
            yield DataRow(file, line, None, fault=fault)
            continue
        if cells is None:
            return
        if not cells:
            continue
        if names is None:
            names = check_head(cells, file)
            continue
        yield _delimited_row(file, table.line_num + skipped, names, cells)


def check_head(cells: Sequence[Any], file: str) -> list[str]:
    """The names of a table's columns without the space around them. Raises SpecError where one stands twice."""
    names = [str("" if cell is None else cell).strip().strip("\ufeff\u200b").strip() for cell in cells]
    twice = [name for name, count in Counter(names).items() if name and count > 1]
    if twice:
        raise SpecError(
            f"{file}: the column `{twice[0]}` stands twice in the head", cure="Give each a name of its own."
        )
    return names


def read_parquet(path: Path) -> Iterator[DataRow]:
    """The rows of a Parquet file. Raises SpecError where a column stands twice."""
    from pyarrow import parquet

    number = 0
    with parquet.ParquetFile(path) as file:
        check_head(file.schema_arrow.names, str(path))
        for batch in file.iter_batches(batch_size=BATCH):
            for value in batch.to_pylist():
                number += 1
                yield DataRow(str(path), number, value)


def read_workbook(path: Path) -> Iterator[DataRow]:
    """The rows of a workbook's one sheet that holds any. Raises SpecError."""
    try:
        import openpyxl
        from openpyxl.utils.exceptions import InvalidFileException
    except ImportError as error:
        cure = "Install it: pip install 'charter[xlsx]'; or save the sheet as CSV."
        raise SpecError(f"{path}: reading workbooks needs openpyxl", cure=cure) from error
    from zipfile import BadZipFile

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about styles and checks of cells, which no row holds
            book = openpyxl.load_workbook(path, read_only=True, data_only=True)
            try:
                yield from _sheet_rows(path, book)
            finally:
                book.close()
    except (InvalidFileException, BadZipFile, KeyError, ValueError, SyntaxError) as error:
        raise SpecError(f"{path} is no workbook: {error!s:.200}", cure="Save it anew as XLSX, or as CSV.") from error


def _sheet_rows(path: Path, book: Any) -> Iterator[DataRow]:
    filled = [sheet for sheet in book.worksheets if any(_filled(row) for row in sheet.iter_rows(values_only=True))]
    if len(filled) > 1:
        names = ", ".join(sheet.title for sheet in filled)
        raise SpecError(f"{path} has rows on several sheets: {names}", cure="Leave one, or save each as CSV.")
    for sheet in filled:
        rows = ((n, cells) for n, cells in enumerate(sheet.iter_rows(values_only=True), 1) if _filled(cells))
        head = check_head(next(rows)[1], str(path))
        for number, cells in rows:
            yield DataRow(str(path), number, {n: _cell(c) for n, c in zip(head, cells, strict=False) if n})


def _filled(cells: Sequence[Any]) -> bool:
    return any(cell is not None and str(cell).strip() for cell in cells)


def _cell(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date | time) else value


def _delimited_row(file: str, line: int, names: Sequence[str], cells: Sequence[str]) -> DataRow:
    if len(cells) != len(names):
        more = "more" if len(cells) > len(names) else "fewer"
        detail = f"{len(cells)} of {len(names)}; the separator is taken to be one of , ; | or a tab"
        fault = RowError(f"{file}:{line}", f"has {more} cells than the head of the table", detail, _QUOTE)
        return DataRow(file, line, None, fault=fault)
    return DataRow(file, line, {name: cell for name, cell in zip(names, cells, strict=True) if name})


def _separator(head: Sequence[str]) -> str:
    """The separator of the head that gives the first rows as many cells as itself; else the head's most frequent."""
    best, known = ",", (False, 1)
    for separator in SEPARATORS:
        rows = []
        try:
            rows = [row for row in csv.reader(head, delimiter=separator) if row]
        except csv.Error:
            continue
        size = len(rows[0]) if rows else 1
        found = (all(len(row) == size for row in rows[:-1]), size)
        if size > 1 and found > known:
            best, known = separator, found
    return best
