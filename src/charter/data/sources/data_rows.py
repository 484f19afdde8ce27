"""A row of a data file, its columns, and the count of the rows that could be used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from charter.errors import RowError, SpecError
from charter.records.row_counts import RowCount, SkippedRow

T = TypeVar("T")
_COLUMNS = "Give the set's own file, or name the columns with `path` and `columns`."


@dataclass(frozen=True)
class DataRow:
    """A row as it stands: its file, its line (or number), and its value.

    ``above``: the keys of the JSON objects around it. ``fault``: why the file's text gives no value here."""

    file: str
    number: int
    value: Any
    above: tuple[str, ...] = ()
    fault: RowError | None = None

    @property
    def place(self) -> str:
        """File and line."""
        return f"{self.file}:{self.number}"


def read_usable(
    name: str, rows: Iterable[DataRow], read: Callable[[DataRow], T], skip: int | None = None, files: Sequence[str] = ()
) -> tuple[list[T], RowCount]:
    """What ``read`` makes of every row that can be used.

    Args:
        name: what the source is called.
        rows: the rows, in order.
        read: makes something of a row, or raises RowError.
        skip: at most so many rows may be left out; None: none, and the reader's user cannot say otherwise.
        files: the files that the rows come from, to name those without a row.

    Raises RowError naming the first row that cannot be used, where there are more of them than ``skip``."""
    made: list[T] = []
    faults: list[SkippedRow] = []
    first: RowError | None = None
    seen, filled = 0, set[str]()
    for row in rows:
        seen += 1
        filled.add(row.file)
        try:
            if row.fault is not None:
                raise row.fault
            made.append(read(row))
        except RowError as fault:
            first = first or fault
            faults.append(SkippedRow(id=fault.place, reason=fault.reason))
    count = RowCount(
        id=name,
        rows=seen,
        used=len(made),
        left_out=tuple(faults),
        empty=tuple(file for file in files if file not in filled),
    )
    if first is not None and len(faults) > (skip or 0):
        raise _refusal(first, count, skip)
    return made, count


def require_rows(count: RowCount) -> RowCount:
    """The same count. Raises SpecError where no row was used."""
    if count.used:
        return count
    found = f"{count.rows:,} rows, none of which can be used here" if count.rows else "it is empty"
    raise SpecError(
        f"{', '.join(count.empty) or count.id} gives no row: {found}",
        cure="Give a file with rows, or leave this source out.",
    )


def read_column(row: DataRow, *names: str) -> Any:
    """The first of the named columns that says something. A name counts whatever its case and the space around it.

    Raises RowError naming file and line."""
    value = row.value
    held = [key for name in names if isinstance(value, Mapping) and (key := _key(row, value, name)) is not None]
    for key in held:
        if not is_nothing(value[key]):
            return value[key]
    if held:
        raise RowError(row.place, f"`{held[0]}` is empty")
    known = ", ".join(map(str, value)) if isinstance(value, Mapping) else "no columns"
    raise RowError(row.place, f"has no column `{'` or `'.join(names)}`", f"it has: {known:.200}", _COLUMNS)


def has_column(row: DataRow, name: str) -> bool:
    """Whether the row has the column, whatever stands in it."""
    return isinstance(row.value, Mapping) and _key(row, row.value, name) is not None


def read_word(row: DataRow, *names: str) -> str:
    """The same as a text; empty where the row has none of them. Raises RowError for half a character."""
    value = row.value if isinstance(row.value, Mapping) else {}
    keys = [_key(row, value, name) for name in names]
    said = next((str(value[key]) for key in keys if key is not None and not is_nothing(value[key])), "")
    check_characters(said, row.place)
    return said


def is_nothing(value: object) -> bool:
    """Whether a cell says nothing: null, NaN, or an empty text, list or object."""
    return value is None or value != value or value in ("", [], {})


def check_characters(text: str, place: str) -> None:
    """Raises RowError where a text holds half a character."""
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = f"a lone surrogate, {text[error.start]!a}"
        raise RowError(place, "holds half a character", half) from error


def _key(row: DataRow, value: Mapping[Any, Any], name: str) -> Any:
    if name in value:
        return name
    alike = [key for key in value if isinstance(key, str) and key.strip().casefold() == name.strip().casefold()]
    if len(alike) > 1:
        raise RowError(row.place, f"has several columns `{name}`", ", ".join(alike), "Give one of them another name.")
    return alike[0] if alike else None


def _refusal(first: RowError, count: RowCount, skip: int | None) -> RowError:
    bad = len(count.left_out)
    told = "; ".join(f"{n:,}: {reason}" for reason, n in count.reasons.items())
    more = f"{bad:,} of {count.rows:,} rows cannot be used: {told:.400}" if bad > 1 else ""
    way = f" Or let such rows pass: `skip: {bad}` beside the source." if skip is not None and count.used else ""
    detail = f"{first.message.removeprefix(first.place).removeprefix(': ')}{f'; {more}' if more else ''}"
    return RowError(first.place, detail, cure=f"{first.cure}{way}")
