"""The lines of a step's file, found by their place: 100,000 records are paged, searched and filtered in bounded memory.

A file is read once to learn where its lines end, eight bytes for each. A page reads its own lines alone. A search
reads the file in pieces and compares bytes: the records' JSON has one spelling, so a field's value has one too.
"""

from __future__ import annotations

import json
import os
import threading
from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from charter.records.record import canonical
from charter.run import store

_PIECE = 4 << 20
_KEPT_FILES, _KEPT_SEARCHES = 12, 8


@dataclass(frozen=True)
class LineSearch:
    """What is looked for in a line.

    Args:
        text: Words anywhere in a record, its fields' names included; letters A to Z in either case.
        field: A field's name, at any depth.
        value: What this field holds, whole; a number, ``true``, ``false`` and ``null`` as JSON spells them.
    """

    text: str = ""
    field: str = ""
    value: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether every line is meant."""
        return not (self.text or (self.field and self.value))

    @property
    def field_forms(self) -> tuple[bytes, ...]:
        """The bytes that say that the field holds the value. None of them can stand within a text, where a quotation
        mark has a backslash before it."""
        if not (self.field and self.value):
            return ()
        key = f"{canonical(self.field)}:"
        forms = [f"{key}{canonical(self.value)}"]
        if _is_bare(self.value):
            forms += [f"{key}{self.value}{end}" for end in ",}"]
        return tuple(form.encode(errors="replace") for form in forms)


@dataclass(frozen=True)
class FileStamp:
    """What tells one state of a file from another."""

    size: int
    mtime_ns: int
    inode: int


class RecordFile:
    """One state of a step's file. A last line without its newline is no record yet.

    Args:
        path: The file.
        root: The run's folder; no link is followed below it.

    Raises:
        StoreError: It cannot be read.
        DamagedError: A link, or something that is no file.
    """

    def __init__(self, path: Path, root: Path) -> None:
        self.path, self.root = path, root
        self._searches: OrderedDict[LineSearch, array[int]] = OrderedDict()
        self._ends = array("Q")
        with self._open() as stream:
            self.stamp = _stamp(stream)
            at = 0
            while piece := stream.read(_PIECE):
                place = piece.find(b"\n")
                while place >= 0:
                    self._ends.append(at + place + 1)
                    place = piece.find(b"\n", place + 1)
                at += len(piece)

    def __len__(self) -> int:
        """How many whole lines it has."""
        return len(self._ends)

    def read_lines(self, numbers: Sequence[int]) -> list[bytes]:
        """The lines of these numbers, counted from 0, without their newlines. Raises StoreError."""
        with self._open() as stream:
            return [self._read_line(stream, number) for number in numbers]

    def search_lines(self, wanted: LineSearch) -> Sequence[int]:
        """The numbers of the lines that hold what is looked for, in order. Raises StoreError."""
        if wanted.is_empty:
            return range(len(self))
        found = self._searches.get(wanted)
        if found is None:
            with self._open() as stream:
                parts = list(self._match_parts(stream, wanted))
            common = set(parts[0]).intersection(*parts[1:])
            found = self._searches[wanted] = array("Q", sorted(common))
            while len(self._searches) > _KEPT_SEARCHES:
                self._searches.popitem(last=False)
        return found

    def find_record(self, id: str, near: int | None = None) -> int | None:
        """The number of the line of the record with this id; None where there is none.

        Args:
            id: The record's id.
            near: A line that is tried first.
        """
        if near is not None and near < len(self) and read_id(self.read_lines([near])[0]) == id:
            return near
        for number in self.search_lines(LineSearch(field="id", value=id)):
            if read_id(self.read_lines([number])[0]) == id:
                return number
        return None

    def _match_parts(self, stream: BinaryIO, wanted: LineSearch) -> Iterator[set[int]]:
        if wanted.text:
            form = canonical(wanted.text)[1:-1].encode(errors="replace").lower()
            yield self._match_lines(stream, (form,), folded=True)
        if wanted.field_forms:
            yield self._match_lines(stream, wanted.field_forms, folded=False)

    def _match_lines(self, stream: BinaryIO, forms: Sequence[bytes], folded: bool) -> set[int]:
        found: set[int] = set()
        for start, data in self._read_pieces(stream):
            text = data.lower() if folded else data
            for form in forms:
                at = text.find(form)
                while at >= 0:
                    line = bisect_right(self._ends, start + at)
                    found.add(line)
                    at = text.find(form, self._ends[line] - start)
        return found

    def _read_pieces(self, stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
        """Whole lines, as many as a piece holds, each with the place where it begins."""
        start, first = 0, 0
        while first < len(self._ends):
            last = max(bisect_right(self._ends, start + _PIECE) - 1, first)
            stream.seek(start)
            yield start, stream.read(self._ends[last] - start)
            start, first = self._ends[last], last + 1

    def _read_line(self, stream: BinaryIO, number: int) -> bytes:
        start = self._ends[number - 1] if number else 0
        stream.seek(start)
        return stream.read(self._ends[number] - start - 1)

    def _open(self) -> BinaryIO:
        with store.translate_os_errors(self.path, "read"):
            return os.fdopen(store.open_regular(self.path, self.root), "rb")


class RecordFiles:
    """The files that were read last, each as long as it stays what it was."""

    def __init__(self) -> None:
        self._files: OrderedDict[Path, RecordFile] = OrderedDict()
        self._mutex = threading.Lock()

    def open_step(self, root: Path, step: str) -> RecordFile | None:
        """The file of a run's step; None where it has none. Raises StoreError, DamagedError."""
        path = store.inner_path(root, f"{step}.jsonl")
        if not store.is_present(root, f"{step}.jsonl"):
            return None
        with self._mutex:
            known = self._files.get(path)
        with store.translate_os_errors(path, "read"), os.fdopen(store.open_regular(path, root), "rb") as stream:
            stamp = _stamp(stream)
        if known is None or known.stamp != stamp:
            known = RecordFile(path, root)
        with self._mutex:
            self._files[path] = known
            self._files.move_to_end(path)
            while len(self._files) > _KEPT_FILES:
                self._files.popitem(last=False)
        return known


def read_id(line: bytes) -> str | None:
    """The id of a line's record; None where it has none, or is no record."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    id = found.get("id") if isinstance(found, dict) else None
    return id if isinstance(id, str) else None


def _is_bare(value: str) -> bool:
    """Whether a value is a number or a constant as JSON spells it."""
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return False
    return found is None or isinstance(found, bool | int | float)


def _stamp(stream: BinaryIO) -> FileStamp:
    found = os.fstat(stream.fileno())
    return FileStamp(found.st_size, found.st_mtime_ns, found.st_ino)
