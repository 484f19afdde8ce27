"""Sets of marks in the order of their sizes, with their rarest marks, for finding those that overlap."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

from charter.similarity.mark_sets import (
    CHUNK,
    CHUNK_SETS,
    ArrayFile,
    Marks,
    MarkSets,
    Rows,
    cut_parts,
    sort_sets,
    spread_places,
)

SKETCH = 256
"""Bits of a set's sketch."""
SLOT_BITS = 24
"""Marks are counted in at most so many slots, as a power of two. Two marks in one slot only bring more candidates."""
MOST_COUNTED = (1 << 20) - 1
"""Slots with more marks than so many are equally common."""
BLOCK, BLOCKS = 4096, 64
"""Sets of about the same size make a block: so many or more, and at most so many blocks."""
SHARED = 4
"""So many rare marks are to be shared where that costs little: texts that share one rare word share several."""


class SetIndex:
    """Sets in the order of their sizes, each with its rarest marks and a sketch, for finding those that are near: whose
    Jaccard similarity reaches ``threshold``.

    Two near sets share marks among the rarest of both (prefix filtering; Bayardo, Ma and Srikant, WWW 2007): the fewer,
    the more alike their sizes are (Xiao et al., WWW 2008); and several, where a few more marks are looked at (Wang, Li
    and Feng, SIGMOD 2012). Empty sets are near to none."""

    def __init__(
        self, sets: MarkSets, threshold: float, *, like: SetIndex | None = None, most: int | None = None
    ) -> None:
        """``like``: the index that these sets are held against, whose marks tell what is rare. ``most``: how many pairs
        that share a rare mark are looked at; where there are more, the marks that most sets hold are left out."""
        import numpy as np

        self.threshold = threshold
        self._sets, self.order = sort_sets(sets)
        self.sizes = self._sets.sizes
        self.counts: Any = _count_slots(self._sets.marks) if like is None else like.counts
        many = self.sizes - np.ceil(threshold * self.sizes - 1e-9).astype(np.int64) + SHARED
        self._kept = np.minimum(many, self.sizes)
        self.is_whole = True
        self._rare, self.sketches = self._read_sets()
        self._starts = np.concatenate((np.zeros(1, np.int64), np.cumsum(self._kept)))
        if most is not None:
            self._drop_common(most)

    @property
    def blocks(self) -> list[Rows]:
        """Sets of about the same size."""
        size = len(self.order)
        count = min(BLOCKS, -(-size // BLOCK))
        return list(pairwise(size * n // count for n in range(count + 1) if count))

    def gather_marks(self, rows: Any) -> tuple[Marks, Any]:
        """The marks of some sets, by their places in the order, and the place in ``rows`` that each belongs to."""
        import numpy as np

        sizes = self.sizes[rows]
        marks = self._sets.marks[spread_places(self._sets.starts[rows], sizes)]
        return marks, np.repeat(np.arange(len(rows)), sizes)

    def find_rarest(self, rows: Rows, least: int, shared: int) -> MarkSets:
        """The slots of the rarest marks of each of these sets: so many that each set that is near, and has ``least``
        marks or more, has ``shared`` of them among its own, or as many as the two share at all."""
        import numpy as np

        sizes = self.sizes[slice(*rows)]
        common = min_common(self.threshold, sizes, np.maximum(least, self.threshold * sizes))
        many = np.where(common <= sizes, np.minimum(sizes - common + shared, self._kept[slice(*rows)]), 0)
        ends = np.concatenate((np.zeros(1, np.int64), np.cumsum(many)))
        return MarkSets(self._rare[spread_places(self._starts[:-1][slice(*rows)], many)], ends)

    def _read_sets(self) -> tuple[Any, Any]:
        """The slots of each set's rarest marks, the rarest first; and 256 bits of which its marks set one each: of a
        bit that another set lacks, so does it the mark."""
        import numpy as np

        rare, sketches = ArrayFile("i4"), ArrayFile("u8")
        bits = len(self.counts).bit_length() - 1
        for first, last in cut_parts(self.sizes, CHUNK, CHUNK_SETS):
            marks = self._sets.marks[self._sets.starts[first] : self._sets.starts[last]]
            owners = np.repeat(np.arange(last - first), self.sizes[first:last])
            slots = _find_slots(marks, bits)
            keys = owners.astype(np.uint64) << np.uint64(20) | self.counts[slots]
            keys = np.sort(keys << np.uint64(SLOT_BITS) | slots)
            within = np.arange(len(keys)) - np.repeat(np.cumsum(self.sizes[first:last]), self.sizes[first:last])
            kept = within + self.sizes[first:last][owners] < self._kept[first:last][owners]
            rare.write(keys[kept] & np.uint64((1 << SLOT_BITS) - 1))
            held = np.zeros((last - first, SKETCH), np.uint8)
            held[owners, marks % np.uint64(SKETCH)] = 1
            sketches.write(np.packbits(held, axis=1).view(np.uint64))
        return rare.read(), sketches.read().reshape(-1, SKETCH // 64)

    def _drop_common(self, most: int) -> None:
        """Leaves out the marks that most sets hold, where more than ``most`` pairs of sets share a rare mark."""
        import numpy as np

        held = np.zeros(len(self.counts), np.int64)
        for start in range(0, len(self._rare), CHUNK):
            held += np.bincount(self._rare[start : start + CHUNK], minlength=len(held))
        ranked = np.sort(held[held > 1])
        pairs = np.cumsum(ranked * (ranked - 1) // 2)
        if not len(pairs) or pairs[-1] <= most:
            return
        within = int(np.searchsorted(pairs, most, side="right"))
        rare, many = ArrayFile("i4"), np.zeros(len(self.order), np.int64)
        for first, last in cut_parts(self._kept, CHUNK, CHUNK_SETS):
            slots = self._rare[self._starts[first] : self._starts[last]]
            kept = held[slots] < ranked[within]
            owners = np.repeat(np.arange(last - first), self._kept[first:last])
            many[first:last] = np.bincount(owners[kept], minlength=last - first)
            rare.write(slots[kept])
        self._rare, self._kept = rare.read(), many
        self._starts = np.concatenate((np.zeros(1, np.int64), np.cumsum(self._kept)))
        self.is_whole = False


def min_common(threshold: float, sizes: Any, others: Any) -> Any:
    """The fewest marks that two near sets of these sizes share."""
    import numpy as np

    return np.ceil(threshold / (1 + threshold) * (sizes + others) - 1e-9).astype(np.int64)


def _count_slots(marks: Marks) -> Any:
    """How many marks fall into each slot, at most ``MOST_COUNTED`` of them."""
    import numpy as np

    bits = min(SLOT_BITS, max(10, math.ceil(math.log2(len(marks) + 1)) - 1))
    counts = np.zeros(1 << bits, np.int64)
    for start in range(0, len(marks), CHUNK):
        counts += np.bincount(_find_slots(marks[start : start + CHUNK], bits), minlength=1 << bits)
    return np.minimum(counts, MOST_COUNTED).astype(np.uint64)


def _find_slots(marks: Marks, bits: int) -> Any:
    """The slot of each mark: its highest bits."""
    import numpy as np

    return marks >> np.uint64(64 - bits)
