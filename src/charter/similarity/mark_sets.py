"""Many sets of marks in one array.

A set is a sorted array of different 64-bit marks (what a text holds, each as a number)."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

Marks: TypeAlias = Any
"""A NumPy array of uint64: sorted, each once."""
Rows: TypeAlias = tuple[int, int]
"""The first of some sets, and the one after the last."""
CHUNK = 4_000_000
"""About so many marks, or candidate pairs, are in work together, so that memory stays bounded."""
CHUNK_SETS = 1 << 16
"""So many sets are in work together at most."""


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


def stack_marks(sets: Iterable[Marks]) -> MarkSets:
    """Sets in one array; they are held one at a time, so that many take eight bytes for each mark."""
    import numpy as np

    marks, starts = array("Q"), array("q", [0])
    for own in sets:
        marks.frombytes(own.tobytes())
        starts.append(len(marks))
    return MarkSets(np.asarray(marks), np.asarray(starts))


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
