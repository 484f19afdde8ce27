"""The records of a large step as Parquet: the line of each record, and its fields that hold one value as columns.

Seals, digests and readers know the lines alone. The other columns are for pandas, DuckDB and their like. ``sealed`` in
the journal holds the digest of the whole file.
"""

from __future__ import annotations

import os
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import BaseModel

from charter.runs.store.files import write_atomic
from charter.runs.store.regular_files import (
    MAX_OBJECT_BYTES,
    Fault,
    FaultError,
    open_regular,
    translate_os_errors,
)
from charter.runs.store.strict_json import parse_json

PARQUET = ".parquet"
LINE_COLUMN = "record"
"""The column of the lines."""
_GROUP_ROWS, _GROUP_BYTES = 8192, 32 << 20
"""A group of rows, which is read as a whole, ends at so many rows, or bytes of lines."""
_INT64 = 1 << 63
_TYPES = {"string": "string", "integer": "int64", "number": "float64", "boolean": "bool"}
"""Types of JSON schema, as Arrow names them."""


class ParquetLines:
    """The lines of a Parquet file, found by their place; the group of rows that was read last is held. Raises
    StoreError, and DamagedError where the file is none that ``write_parquet`` wrote.

    Args:
        path: The file.
        root: The run's folder; no link is followed below it.
    """

    def __init__(self, path: Path, root: Path) -> None:
        self._path, self._root = path, root
        self._metadata = self._read(lambda file: file.metadata)
        groups = [self._metadata.row_group(number) for number in range(self._metadata.num_row_groups)]
        if any(group.num_rows < 0 or group.total_byte_size > MAX_OBJECT_BYTES for group in groups):
            raise self._find_fault(f"a group of rows that would hold more than {MAX_OBJECT_BYTES >> 20} MiB")
        rows: list[int] = [group.num_rows for group in groups]
        self._starts = [0, *accumulate(rows)]
        self._held: tuple[int, Any] = (-1, None)
        self._mutex = threading.Lock()

    def __len__(self) -> int:
        """How many there are."""
        return self._starts[-1]

    def has_line(self, number: int) -> bool:
        """Whether there is a line of this number."""
        return 0 <= number < len(self)

    def iterate_lines(self, first: int = 0) -> Iterator[bytes]:
        """The lines from number ``first`` on, counted from 0."""
        for group in range(bisect_right(self._starts, first) - 1, len(self._starts) - 1):
            yield from self._read_group(group).slice(max(first - self._starts[group], 0)).to_pylist()

    def read_lines(self, numbers: Iterable[int]) -> list[bytes]:
        """The lines of these numbers, counted from 0. Raises IndexError too, where there is no such line."""
        found = []
        for number in numbers:
            if not self.has_line(number):
                raise IndexError(number)
            group = bisect_right(self._starts, number) - 1
            found.append(self._read_group(group)[number - self._starts[group]].as_py())
        return found

    def read_pieces(self) -> Iterator[tuple[int, bytes]]:
        """The lines with newlines, as many as a group holds, each with the number of its first one."""
        for group, start in enumerate(self._starts[:-1]):
            yield start, b"".join(line + b"\n" for line in self._read_group(group).to_pylist())

    def _read_group(self, group: int) -> Any:
        """The lines of a group of rows, as an array."""
        with self._mutex:
            if self._held[0] != group:
                lines = self._read(lambda file: _read_array(file, group), self._metadata)
                if len(lines) != self._starts[group + 1] - self._starts[group] or lines.null_count:
                    raise self._find_fault("a group of rows has not the lines that it should have")
                self._held = (group, lines)
            return self._held[1]

    def _read(self, read: Callable[[Any], Any], metadata: Any = None) -> Any:
        """What ``read`` makes of the open file, whose ``metadata`` may be known."""
        import pyarrow
        from pyarrow import parquet

        with translate_os_errors(self._path, "read"), os.fdopen(open_regular(self._path, self._root), "rb") as stream:
            try:
                return read(parquet.ParquetFile(stream, metadata=metadata, pre_buffer=False))
            except (pyarrow.ArrowException, KeyError, OSError) as error:
                if isinstance(error, OSError) and error.errno:
                    raise
                raise self._find_fault("not Parquet that is read") from error

    def _find_fault(self, what: str) -> FaultError:
        return FaultError(self._root, Fault(file=self._path.relative_to(self._root).as_posix(), line=None, what=what))


def _read_array(file: Any, group: int) -> Any:
    import pyarrow

    column = file.read_row_group(group, columns=[LINE_COLUMN], use_threads=False).column(LINE_COLUMN)
    return column.cast(pyarrow.binary()).combine_chunks()


def write_parquet(path: Path, lines: Iterable[bytes], kind: type[BaseModel]) -> None:
    """Replaces ``path`` by a file of these lines, and of the fields of ``kind`` that hold a text, a number, true or
    false, or nothing. A whole number that takes more than 64 bits is left out of its column. Raises StoreError."""
    import pyarrow
    from pyarrow import parquet

    columns = _list_columns(kind)
    fields = [pyarrow.field(name, pyarrow.type_for_alias(alias)) for name, alias in columns.items()]
    schema = pyarrow.schema([pyarrow.field(LINE_COLUMN, pyarrow.string(), nullable=False), *fields])

    def write(stream: BinaryIO) -> None:
        options: dict[str, Any] = {"compression": "zstd", "write_statistics": False, "use_dictionary": [*columns]}
        with parquet.ParquetWriter(stream, schema, **options) as writer:
            for group in _group_lines(lines):
                writer.write_batch(_make_batch(group, columns, schema))

    write_atomic(path, write)


def _make_batch(group: list[bytes], columns: Mapping[str, str], schema: Any) -> Any:
    """The rows of some lines; whatever is parsed on the way is gone before the next lines are read."""
    import pyarrow

    rows = [parse_json(line, finite=False) for line in group]
    arrays = [pyarrow.array(group, pyarrow.binary()).cast(pyarrow.string())]
    for name, alias in columns.items():
        arrays.append(pyarrow.array([_fit_value(row.get(name), alias) for row in rows], alias))
    return pyarrow.record_batch(arrays, schema=schema)


def _list_columns(kind: type[BaseModel]) -> dict[str, str]:
    """The fields that become columns, each with its type."""
    fields = kind.model_json_schema(mode="serialization").get("properties", {})
    found = {}
    for name, field in fields.items():
        types = {one.get("type") for one in field.get("anyOf", [field])} - {"null"}
        if len(types) == 1 and name != LINE_COLUMN and (alias := _TYPES.get(str(*types))):
            found[name] = alias
    return found


def _fit_value(value: Any, alias: str) -> Any:
    if value is None or (alias == "int64" and not -_INT64 <= value < _INT64):
        return None
    return float(value) if alias == "float64" else value


def _group_lines(lines: Iterable[bytes]) -> Iterator[list[bytes]]:
    group, size = list[bytes](), 0
    for line in lines:
        group.append(line)
        size += len(line)
        if len(group) == _GROUP_ROWS or size >= _GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group
