"""The records of a step's file, found by their place: however many there are, few are held."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Generic, TypeVar, overload

from pydantic import BaseModel

from charter.errors import DamagedError
from charter.records.record import canonical
from charter.runs.store.indexed_lines import IndexedLines
from charter.runs.store.line_stream import parse_record
from charter.runs.store.parquet_lines import PARQUET, ParquetLines
from charter.runs.store.regular_files import RESTORE_CURE, open_regular, translate_os_errors
from charter.runs.store.strict_json import parse_json

R = TypeVar("R", bound=BaseModel)

MAX_HELD = 8192
"""Records that are held in memory at once; of a longer step each is read when it is asked for."""
_TEXT = rb'"(?:[^"\\]|\\.)*+"'
_VALUE = rb"(%b|\[(?:%b,?)*+\]|true|false)" % (_TEXT, _TEXT)


@dataclass(frozen=True)
class FileStamp:
    """What tells one state of a file from another."""

    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def of_stream(cls, stream: BinaryIO) -> FileStamp:
        """That of an open file."""
        found = os.fstat(stream.fileno())
        return cls(found.st_size, found.st_mtime_ns, found.st_ino)


def read_stamp(path: Path, root: Path) -> FileStamp | None:
    """The state of a file; None where there is none. Raises StoreError, DamagedError."""
    with translate_os_errors(path, "read"):
        try:
            with os.fdopen(open_regular(path, root), "rb") as stream:
                return FileStamp.of_stream(stream)
        except FileNotFoundError:
            return None


class RecordFile:
    """One state of a step's file. A last line without its newline is no record yet.

    Args:
        path: The file, JSONL or Parquet.
        root: The run's folder; no link is followed below it.

    Raises:
        StoreError: It cannot be read.
        DamagedError: A link, something that is no file, or no Parquet.
    """

    def __init__(self, path: Path, root: Path) -> None:
        self.path, self.root = path, root
        with translate_os_errors(path, "read"), os.fdopen(open_regular(path, root), "rb") as stream:
            self.stamp = FileStamp.of_stream(stream)
        self._lines: IndexedLines | ParquetLines
        if path.suffix == PARQUET:
            self._lines = ParquetLines(path, root)
        else:
            self._lines = IndexedLines(path, root, self.stamp.size)

    def __len__(self) -> int:
        """How many whole lines it has; a file of lines is read once for it."""
        return len(self._lines)

    def has_line(self, number: int) -> bool:
        """Whether there is a line of this number; a file of lines is read no further than to it."""
        return self._lines.has_line(number)

    def iterate_lines(self, first: int = 0) -> Iterator[bytes]:
        """The lines from number ``first`` on, counted from 0, without their newlines. Raises StoreError,
        DamagedError."""
        return self._lines.iterate_lines(first)

    def read_lines(self, numbers: Iterable[int]) -> list[bytes]:
        """The lines of these numbers, counted from 0, without their newlines. Raises StoreError, DamagedError, and
        IndexError where there is no such line."""
        return self._lines.read_lines(numbers)

    def read_pieces(self) -> Iterator[tuple[int, bytes]]:
        """The whole lines, as many as a piece holds, each with the number of its first one. Raises StoreError,
        DamagedError."""
        return self._lines.read_pieces()

    def tally_values(self, field: str) -> Counter[str]:
        """How often each text is what a field holds, at any depth, or is one of the texts that it lists; ``true`` and
        ``false`` as JSON spells them. No record is parsed: within a text a quotation mark has a backslash before it,
        so that no text is taken for a field. Raises StoreError, DamagedError."""
        form = re.compile(re.escape(f"{canonical(field)}:").encode() + _VALUE)
        found: Counter[bytes] = Counter()
        for _, lines in self.read_pieces():
            found.update(form.findall(lines))
        texts: Counter[str] = Counter()
        for spelt, count in found.items():
            try:
                value = parse_json(spelt)
            except ValueError as error:
                raise DamagedError(f"{self.path}: {field} holds no JSON that is read: {error}", RESTORE_CURE) from error
            for text in value if isinstance(value, list) else [value]:
                texts[text if isinstance(text, str) else spelt.decode()] += count
        return texts


class StoredRecords(Sequence[R], Generic[R]):
    """The records of a sealed step, each read when it is asked for; a slice is a list.

    Args:
        file: The step's file.
        kind: What a line holds.
        count: How many records the step has.
    """

    def __init__(self, file: RecordFile, kind: type[R], count: int) -> None:
        self._file, self._kind, self._count = file, kind, count

    def __len__(self) -> int:
        """How many records the step has."""
        return self._count

    def __iter__(self) -> Iterator[R]:
        """In order, one held at a time. Raises StoreError, and DamagedError naming file and line."""
        for number, line in enumerate(self._file.iterate_lines(), 1):
            yield parse_record(self._file.path, number, line, self._kind)

    @overload
    def __getitem__(self, place: int) -> R: ...

    @overload
    def __getitem__(self, place: slice) -> list[R]: ...

    def __getitem__(self, place: int | slice) -> R | list[R]:
        """A record, or those of a slice. Raises as iterating does."""
        if isinstance(place, slice):
            return self._read(range(self._count)[place])
        return self._read([range(self._count)[place]])[0]

    def _read(self, numbers: Sequence[int]) -> list[R]:
        lines = self._file.read_lines(numbers)
        pairs = zip(numbers, lines, strict=True)
        return [parse_record(self._file.path, number + 1, line, self._kind) for number, line in pairs]


def load_records(path: Path, root: Path, kind: type[R], count: int | None = None) -> Sequence[R]:
    """The records of a file that is there: a list where they are few. ``count``: how many there are (None: counted).
    Raises StoreError, DamagedError."""
    file = RecordFile(path, root)
    stored = StoredRecords(file, kind, len(file) if count is None else count)
    return stored if len(stored) > MAX_HELD else list(stored)
