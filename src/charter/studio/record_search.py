"""The lines of a step's file, found by what they hold, in bounded memory.

A search reads the file in pieces and compares bytes: the records' JSON has one spelling, so a field's value has one
too.
"""

from __future__ import annotations

import json
import threading
from array import array
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from charter.records.record import canonical
from charter.runs import store
from charter.runs.store import RecordFile

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


class SearchableFile(RecordFile):
    """A step's file whose lines are found by what they hold, too."""

    def __init__(self, path: Path, root: Path) -> None:
        super().__init__(path, root)
        self._searches: OrderedDict[LineSearch, array[int]] = OrderedDict()

    def search_lines(self, wanted: LineSearch) -> Sequence[int]:
        """The numbers of the lines that hold what is looked for, in order. Raises StoreError."""
        if wanted.is_empty:
            return range(len(self))
        found = self._searches.get(wanted)
        if found is None:
            parts = list(self._match_parts(wanted))
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
        if near is not None and self.has_line(near) and read_id(self.read_lines([near])[0]) == id:
            return near
        for number in self.search_lines(LineSearch(field="id", value=id)):
            if read_id(self.read_lines([number])[0]) == id:
                return number
        return None

    def _match_parts(self, wanted: LineSearch) -> Iterator[set[int]]:
        if wanted.text:
            form = canonical(wanted.text)[1:-1].encode(errors="replace").lower()
            yield self._match_lines((form,), folded=True)
        if wanted.field_forms:
            yield self._match_lines(wanted.field_forms, folded=False)

    def _match_lines(self, forms: Sequence[bytes], folded: bool) -> set[int]:
        found: set[int] = set()
        for first, data in self.read_pieces():
            text = data.lower() if folded else data
            for form in forms:
                line, counted = first, 0
                at = text.find(form)
                while at >= 0:
                    line, counted = line + text.count(b"\n", counted, at), at
                    found.add(line)
                    at = text.find(form, text.index(b"\n", at))
        return found


class RecordFiles:
    """The files that were read last, each as long as it stays what it was."""

    def __init__(self) -> None:
        self._files: OrderedDict[Path, SearchableFile] = OrderedDict()
        self._mutex = threading.Lock()

    def open_step(self, root: Path, step: str) -> SearchableFile | None:
        """The file of a run's step; None where it has none. Raises StoreError, DamagedError."""
        path = store.records_path(root, step)
        if not store.is_present(path.parent, path.name):
            return None
        with self._mutex:
            known = self._files.get(path)
        stamp = store.read_stamp(path, root)
        if known is None or known.stamp != stamp:
            known = SearchableFile(path, root)
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
