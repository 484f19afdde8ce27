"""Which sets of marks overlap: exact Jaccard similarity of many sets, by rare marks, in arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from charter.similarity.mark_sets import CHUNK, CHUNK_SETS, MarkSets, Rows, cut_parts
from charter.similarity.set_index import SHARED, SetIndex, min_common

FEW_PLACES, PLACE_WORK = 50_000, 8
"""So few pairs are all tested. To test one takes as long as to count so many shared marks."""
TESTED, COUNTED_BITS = 100_000, 10
"""So many candidate pairs are tested together; and of those that are left, two to the power of so many counted."""
JOINED = 16
"""Groups are joined when so many near pairs are found, and a share of the sets: one part of so many."""
SORTED = 1 << 23
"""About so many marks are sorted together."""


def find_near(sets: MarkSets, index: SetIndex) -> Any:
    """Whether each of ``sets`` is near to any of the index: booleans."""
    import numpy as np

    found = np.zeros(len(sets.starts) - 1, bool)
    asked = SetIndex(sets, index.threshold, like=index)
    for one, _ in iterate_near(asked, index, lambda one, _: ~found[one]):
        found[one] = True
    return found


def iterate_near(one: SetIndex, other: SetIndex, wanted: Callable[[Any, Any], Any]) -> Iterator[tuple[Any, Any]]:
    """The numbers of near sets, some pairs at a time: each pair once, also where both indexes are the same.

    Args:
        one: the sets on the left.
        other: those on the right.
        wanted: which of some pairs are still looked for, by the numbers of their sets. It is asked anew each time.
    """
    import numpy as np

    marked = np.zeros(len(other.counts), np.int32)
    for rows, columns in _pair_blocks(one, other):
        for left, right in _find_candidates(one, rows, other, columns, marked):
            for start in range(0, len(left), TESTED):
                a, b = left[start : start + TESTED], right[start : start + TESTED]
                if one is other:
                    a, b = a[a < b], b[a < b]
                keep = wanted(one.order[a], other.order[b])
                a, b = a[keep], b[keep]
                lacking = np.bitwise_count(one.sketches[a] & ~other.sketches[b]).sum(axis=1, dtype=np.int64)
                keep = one.sizes[a] - lacking >= min_common(one.threshold, one.sizes[a], other.sizes[b])
                a, b = a[keep], b[keep]
                common = _count_common(one, a, other, b)
                keep = common >= one.threshold * (one.sizes[a] + other.sizes[b] - common) - 1e-9
                yield one.order[a[keep]], other.order[b[keep]]


def _pair_blocks(one: SetIndex, other: SetIndex) -> Iterator[tuple[Rows, Rows]]:
    """Blocks of both whose sets may be near by their sizes; of one index with itself the second is no earlier."""
    import numpy as np

    if len(one.order) * len(other.order) <= FEW_PLACES:
        blocks = [[(0, len(index.order))] if len(index.order) else [] for index in (one, other)]
    else:
        blocks = [one.blocks, other.blocks]
    for rows in blocks[0]:
        least, most = one.threshold * one.sizes[rows[0]] - 1e-9, one.sizes[rows[1] - 1] / one.threshold + 1e-9
        low, high = int(np.searchsorted(other.sizes, least)), int(np.searchsorted(other.sizes, most, side="right"))
        low = max(low, rows[0]) if one is other else low
        for first, last in blocks[1]:
            if max(first, low) < min(last, high):
                yield rows, (max(first, low), min(last, high))


def _find_candidates(
    one: SetIndex, rows: Rows, other: SetIndex, columns: Rows, marked: Any
) -> Iterator[tuple[Any, Any]]:
    """Pairs of sets of two blocks, by their places in the order, that share so many of their rarest marks that they may
    be near; all pairs where that is less work."""
    import numpy as np

    few, many = one.sizes[rows[0]], other.sizes[columns[0]]
    places = (rows[1] - rows[0]) * (columns[1] - columns[0])
    chosen, work, least = None, places * PLACE_WORK, 1
    levels = (1, SHARED) if one.is_whole and other.is_whole else (1,)
    for shared in levels if places > FEW_PLACES else ():
        tried = _RareMarks(one.find_rarest(rows, many, shared), other.find_rarest(columns, few, shared), marked)
        if tried.work < work:
            chosen, work, least = tried, 2 * tried.work, min(shared, int(min_common(one.threshold, few, many)))
    if chosen is None:
        size = columns[1] - columns[0]
        for first, last in cut_parts(np.full(rows[1] - rows[0], size), CHUNK, CHUNK_SETS):
            left = np.repeat(np.arange(first, last) + rows[0], size)
            yield left, np.tile(np.arange(*columns), last - first)
        return
    for left, right in chosen.iterate_sharing(least):
        yield left + rows[0], right + columns[0]


class _RareMarks:
    """The rarest marks of the sets of two blocks, as sparse matrices over the slots of the second. ``work``: how many
    times a set of each has the same slot."""

    def __init__(self, left: MarkSets, right: MarkSets, marked: Any) -> None:
        """``left`` and ``right``: as of ``find_rarest``; ``marked``: a number for each slot, of any value."""
        import numpy as np

        width = len(right.marks)
        marked[right.marks] = np.arange(width)
        columns, at = marked[right.marks], marked[left.marks]  # a slot's column is the last place where it stands
        known = right.marks[np.minimum(at, width - 1)] == left.marks if width else np.zeros(len(at), bool)
        ends = np.concatenate((np.zeros(1, np.int64), np.cumsum(known)))
        self._left, self._right = MarkSets(at[known], ends[left.starts]), MarkSets(columns, right.starts)
        self._width = width
        held = np.bincount(columns, minlength=width)[self._left.marks]
        sums = np.concatenate((np.zeros(1, np.int64), np.cumsum(held)))[self._left.starts]
        self._by_row = sums[1:] - sums[:-1]
        self.work = int(sums[-1])

    def iterate_sharing(self, least: int) -> Iterator[tuple[Any, Any]]:
        """The rows and columns that share at least so many slots, some at a time."""
        import numpy as np
        from scipy.sparse import csr_array

        matrices = []
        for side in (self._left, self._right):
            ones = np.ones(len(side.marks), np.int32)
            matrices.append(csr_array((ones, side.marks, side.starts), (len(side.sizes), self._width)))
        left, right = matrices[0], matrices[1].T.tocsr()
        for first, last in cut_parts(self._by_row, CHUNK, CHUNK_SETS):
            shared = left[first:last] @ right
            kept = shared.data >= least
            rows = np.repeat(np.arange(first, last), np.diff(shared.indptr))
            yield rows[kept], shared.indices[kept].astype(np.int64)


def _count_common(one: SetIndex, rows: Any, other: SetIndex, columns: Any) -> Any:
    """How many marks each of these pairs of sets shares, of each mark by all but its highest ten bits."""
    import numpy as np

    found, size = [np.zeros(0, np.int64)], 1 << COUNTED_BITS
    for start in range(0, len(rows), size):
        sides = [
            marks << np.uint64(COUNTED_BITS) | owners.astype(np.uint64)
            for marks, owners in (
                one.gather_marks(rows[start : start + size]),
                other.gather_marks(columns[start : start + size]),
            )
        ]
        keys = np.sort(np.concatenate(sides))
        twice = keys[1:][keys[1:] == keys[:-1]] & np.uint64(size - 1)
        found.append(np.bincount(twice.astype(np.int64), minlength=len(rows[start : start + size])))
    return np.concatenate(found)


def link_near_sets(sets: MarkSets, threshold: float, anchors: Any, groups: Any, most: int | None = None) -> Any:
    """Joins the groups of sets that are near, and gives each set the number of its group.

    Args:
        sets: the sets of marks. An empty one is near to none.
        threshold: the Jaccard similarity from which two are near.
        anchors: for each set, whether it may link others; of two near sets one must be an anchor.
        groups: for each set, the number of its group so far.
        most: as for ``SetIndex``; None: all are looked at.

    Returns:
        The groups by number, where any chain of near sets is one group. Exact as far as ``most`` allows.
    """
    import numpy as np

    parted, found, count = np.array(groups), [], 0

    def may_link(one: Any, other: Any) -> Any:
        return (parted[one] != parted[other]) & (anchors[one] | anchors[other])

    index = SetIndex(sets, threshold, most=most)
    del sets
    for one, other in iterate_near(index, index, may_link):
        found.append((one, other))
        count += len(one)
        if count > max(TESTED, len(parted) // JOINED):
            parted, found, count = _join_all(parted, found), [], 0
    return _join_all(parted, found)


def _join_all(groups: Any, pairs: Sequence[tuple[Any, Any]]) -> Any:
    import numpy as np

    if not pairs:
        return groups
    one, other = (np.concatenate(side) for side in zip(*pairs, strict=True))
    return join_groups(groups, one, other)


def link_sharing_sets(sets: MarkSets, anchors: Any, groups: Any) -> Any:
    """The groups, with those sets joined that share any mark with the same anchor, as in ``link_near_sets``."""
    import numpy as np

    ranges = -(-len(sets.marks) // SORTED)
    for number in range(ranges):
        marks, owners = _select_marks(sets, number / ranges, (number + 1) / ranges)
        order = np.argsort(marks)
        marks, owners = marks[order], owners[order]
        starts = np.flatnonzero(np.concatenate((marks[:1] == marks[:1], marks[1:] != marks[:-1])))
        if not len(starts):
            continue
        ranked = np.where(anchors[owners], owners, owners + len(anchors))  # of those that hold a mark, anchors first
        chief = np.repeat(np.minimum.reduceat(ranked, starts), np.diff(np.append(starts, len(marks))))
        linked = (chief < len(anchors)) & (chief != owners)
        groups = join_groups(groups, owners[linked], chief[linked])
    return groups


def _select_marks(sets: MarkSets, low: float, high: float) -> tuple[Any, Any]:
    """The marks within a range, and the number of the set of each. The range: shares of all numbers of 64 bits."""
    import numpy as np

    least, most = (np.uint64(min(int(end * 2.0**64), (1 << 64) - 1)) for end in (low, high))
    found = [(np.zeros(0, np.uint64), np.zeros(0, np.int64))]
    for first, last in cut_parts(sets.sizes, CHUNK, CHUNK_SETS):
        marks = sets.marks[sets.starts[first] : sets.starts[last]]
        kept = (marks >= least) & ((marks < most) | (high == 1))
        owners = np.repeat(np.arange(first, last), sets.sizes[first:last])
        found.append((marks[kept], owners[kept]))
    return np.concatenate([marks for marks, _ in found]), np.concatenate([owners for _, owners in found])


def join_groups(groups: Any, one: Any, other: Any) -> Any:
    """The groups after each pair of sets is put into one: a group's number is that of its least."""
    import numpy as np
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    if not len(one):
        return groups
    size = len(groups)
    links = coo_matrix((np.ones(len(one), bool), (groups[one], groups[other])), (size, size))
    _, parts = connected_components(links, directed=False)
    return parts[groups]
