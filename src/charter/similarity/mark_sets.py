"""Many sets of marks in one array, in memory or in a file.

A set is a sorted array of different 64-bit marks (what a text holds, each as a number)."""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from charter.errors import StoreError

Marks: TypeAlias = Any
"""A NumPy array of uint64: sorted, each once."""
Rows: TypeAlias = tuple[int, int]
"""The first of some sets, and the one after the last."""
CHUNK = 4_000_000
"""About so many marks, or candidate pairs, are in work together, so that memory stays bounded."""
CHUNK_SETS = 1 << 16
"""So many sets are in work together at most."""
IN_MEMORY = 1 << 26
"""An array of more bytes lies in a file without a name, in the folder that ``TMPDIR`` names."""


def unique_marks(marks: Marks) -> Marks:
    """The different ones among marks, sorted."""
    import numpy as np

    marks = np.sort(marks)
    return marks[np.concatenate((marks[:1] == marks[:1], marks[1:] != marks[:-1]))]


@dataclass(frozen=True)
class MarkSets:
    """Many sets. ``marks``: those of one set after those of the other; ``starts``: where each set begins, and the end
    (int64, [sets + 1])."""

    marks: Marks
    starts: Any

    @property
    def sizes(self) -> Any:
        """How many marks each set has."""
        return self.starts[1:] - self.starts[:-1]

    @property
    def owners(self) -> Any:
        """The number of its set for each mark."""
        import numpy as np

        return np.repeat(np.arange(len(self.starts) - 1), self.sizes)


class ArrayFile:
    """An array that is written in parts, and read when it is whole. If it has more than ``IN_MEMORY`` bytes, it lies in
    a file that is gone when nobody holds the array."""

    def __init__(self, kind: str = "u8") -> None:
        """``kind``: the type of a number, as NumPy writes it."""
        self._kind = kind
        self._file = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115 - the array that comes of it outlives it

    def write(self, numbers: Any, at: int | None = None) -> None:
        """Writes some numbers of this kind after those before, or from the place ``at`` on. Raises StoreError where the
        disk is full."""
        import numpy as np

        part = np.ascontiguousarray(numbers, self._kind)
        with self._translate_errors():
            if at is not None:
                self._file.seek(at * part.itemsize)
            self._file.write(part.data)

    def read(self) -> Any:
        """The whole array, once: nothing is written after it. Raises StoreError where the disk is full."""
        import numpy as np

        with self._file, self._translate_errors():
            size = self._file.seek(0, 2)
            if size > IN_MEMORY:
                return np.asarray(np.memmap(self._file, self._kind, "r"))
            self._file.seek(0)
            return np.frombuffer(self._file.read(), self._kind)

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._file.close()
            raise StoreError(
                f"marks of texts cannot be written to {tempfile.gettempdir()}: {error}",
                "Make room there, or name another folder in TMPDIR.",
            ) from error


class MarkStack:
    """Sets that come one after the other, for as many as the disk has room for."""

    def __init__(self) -> None:
        self._marks, self._ends = ArrayFile(), array("q", [0])

    def append(self, sets: MarkSets) -> None:
        """Puts some sets after the others."""
        self._marks.write(sets.marks)
        self._ends.frombytes((sets.starts[1:] + self._ends[-1]).tobytes())

    def read(self) -> MarkSets:
        """All sets, once."""
        import numpy as np

        return MarkSets(self._marks.read(), np.asarray(self._ends))


def stack_marks(parts: Iterable[MarkSets]) -> MarkSets:
    """Sets that are given in parts, in one array. A part is held at a time."""
    stack = MarkStack()
    for sets in parts:
        stack.append(sets)
    return stack.read()


def sort_sets(sets: MarkSets) -> tuple[MarkSets, Any]:
    """The sets that hold any mark, the smallest first, and the number that each had. Sets of one size keep their order.

    A part of the sets is read at a time. Its sets of one size will lie side by side, so that few pieces are written."""
    import numpy as np

    order = np.argsort(sets.sizes, kind="stable")[int((sets.sizes == 0).sum()) :]
    ends = np.concatenate((np.zeros(1, np.int64), np.cumsum(sets.sizes[order])))
    target = np.zeros(len(sets.sizes), np.int64)
    target[order] = ends[:-1]
    file = ArrayFile()
    for first, last in cut_parts(sets.sizes, CHUNK, CHUNK_SETS):
        sizes = sets.sizes[first:last]
        part = np.argsort(sizes, kind="stable")
        marks = sets.marks[spread_places(sets.starts[first:last][part], sizes[part])]
        each, begins = np.unique(sizes[part], return_index=True)
        counts = each * np.diff(np.append(begins, len(part)))
        begun = np.cumsum(counts) - counts
        for start, count, at in zip(begun, counts, target[first + part[begins]], strict=True):
            file.write(marks[start : start + count], int(at))
    return MarkSets(file.read(), ends), order


def spread_places(starts: Any, sizes: Any) -> Any:
    """The places from each start on, so many of each."""
    import numpy as np

    ends = np.cumsum(sizes)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - ends + sizes, sizes)


def cut_parts(sizes: Any, most: int, count: int) -> Iterator[Rows]:
    """Parts of what has these sizes: each of about ``most`` at most in sum, and of ``count`` at most."""
    import numpy as np

    sums = np.cumsum(sizes)
    first = 0
    while first < len(sums):
        before = int(sums[first - 1]) if first else 0
        last = int(np.searchsorted(sums, before + most, side="right"))
        last = min(max(last, first + 1), first + count)
        yield first, last
        first = last
