"""Which sets of marks overlap: exact Jaccard similarity of many sets, by rare marks, in arrays.

A set is a sorted array of different 64-bit marks (what a text holds, each as a number)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

Marks: TypeAlias = Any
"""A NumPy array of uint64: sorted, each once."""
SKETCH = 256
"""Bits of a set's sketch."""
CHUNK = 1_000_000
"""At most about so many pairs are looked at together, so that memory stays bounded."""


def unique_marks(marks: Marks) -> Marks:
    """The different ones among marks, sorted."""
    import numpy as np

    marks = np.sort(marks)
    return marks[np.concatenate((marks[:1] == marks[:1], marks[1:] != marks[:-1]))]


class Overlaps:
    """Finds every one of ``sets`` whose Jaccard similarity to another set reaches ``threshold``, exactly: such a set
    holds one of the other's rarest marks (prefix filtering; Bayardo, Ma and Srikant, WWW 2007)."""

    def __init__(self, sets: Sequence[Marks], threshold: float) -> None:
        import numpy as np

        self._threshold = threshold
        self._sizes = np.array([len(marks) for marks in sets], np.int64)
        flat = np.concatenate(sets) if sets else np.zeros(0, np.uint64)
        owners = np.repeat(np.arange(len(sets)), self._sizes)
        order = np.argsort(flat, kind="stable")
        self._owners = owners[order]
        self._marks, starts = np.unique(flat[order], return_index=True)
        self._bounds = np.append(starts, len(flat))

    def to(self, marks: Marks) -> list[int]:
        """The places of the sets that are near to these marks, in order."""
        import numpy as np

        if not len(self._marks) or not len(marks):
            return []
        at = np.minimum(np.searchsorted(self._marks, marks), len(self._marks) - 1)
        known = self._marks[at] == marks
        at = at[known]
        held = self._bounds[at + 1] - self._bounds[at]
        rare = len(marks) - min_shared(self._threshold, len(marks)) + 1 - int((~known).sum())
        if rare <= 0 or not len(at):
            return []
        order = np.argsort(held, kind="stable")
        shared = self._shared(at[order[:rare]])
        found = np.flatnonzero(shared)
        if not len(found):
            return []
        common = (shared + self._shared(at[order[rare:]]))[found]
        total = self._sizes[found] + len(marks) - common
        return [int(n) for n in found[common >= self._threshold * total - 1e-9]]

    def _shared(self, at: Any) -> Any:
        """How many of these marks each set holds."""
        import numpy as np

        held = [self._owners[self._bounds[place] : self._bounds[place + 1]] for place in at]
        return np.bincount(np.concatenate(held) if held else np.zeros(0, np.int64), minlength=len(self._sizes))


def min_shared(threshold: float, size: int) -> int:
    """Of a set of so many marks, the fewest that it shares with a set that is near to it."""
    return math.ceil(threshold * size - 1e-9)


def link_near_sets(sets: Sequence[Marks], threshold: float, anchors: Any, groups: Any, most: int | None = None) -> Any:
    """Joins the groups of sets that are near, and gives each set the number of its group.

    Args:
        sets: the sets of marks. An empty one is near to none.
        threshold: the Jaccard similarity from which two are near.
        anchors: for each set, whether it may link others; of two near sets one must be an anchor.
        groups: for each set, the number of its group so far.
        most: how many candidate pairs are looked at. Where there are more, each set is held against those alone that
            come next among the holders of a mark.

    Returns:
        The groups by number, where any chain of near sets is one group. Exact as far as ``most`` allows: every near
        pair is found by its rarest marks (with the position filter of PPJoin; Xiao et al., WWW 2008).
    """
    import numpy as np
    from scipy.sparse import csr_matrix

    sizes = np.array([len(marks) for marks in sets], dtype=np.int64)
    if not sizes.sum():
        return groups
    flat, owners = np.concatenate(sets), np.repeat(np.arange(len(sets), dtype=np.int64), sizes)
    _, names, counts = np.unique(flat, return_inverse=True, return_counts=True)
    del flat
    order = np.lexsort((names, counts[names], owners))  # within each set, the rarest first
    names = names[order]
    starts = np.concatenate(([0], np.cumsum(sizes)))
    rows = csr_matrix((np.ones(len(names), np.int32), names, starts), (len(sets), len(counts)))
    places = np.arange(len(names)) - starts[owners]
    rare = places < sizes[owners] - np.ceil(threshold * sizes[owners] - 1e-9) + 1
    rare &= counts[names] > 1
    holders, places, names = owners[rare], places[rare], names[rare]
    order = np.lexsort((holders, names))
    holders, places, names = holders[order], places[order], names[order]
    sketches = _sketch(sets)
    for left, right in _pairs(names, most):
        one, other = holders[left], holders[right]
        total = sizes[one] + sizes[other]
        shared = np.ceil(threshold / (1 + threshold) * total - 1e-9)
        still = np.minimum(sizes[one] - places[left], sizes[other] - places[right])  # from here on, at most
        keep = (still >= shared) & (groups[one] != groups[other])
        keep &= anchors[one] | anchors[other]
        pairs = _rule_out(np.unique(one[keep] * len(sets) + other[keep]), sizes, sketches, threshold)
        if len(pairs):
            groups = _join_overlapping(rows, sizes, pairs, threshold, groups)
    return groups


def _rule_out(pairs: Any, sizes: Any, sketches: Any, threshold: float) -> Any:
    """The pairs that their sketches leave possible: of a bit that the other set lacks, it lacks the marks too."""
    import numpy as np

    one, other = pairs // len(sizes), pairs % len(sizes)
    lacking = np.bitwise_count(sketches[one] & ~sketches[other]).sum(axis=1, dtype=np.int64)
    shared = np.ceil(threshold / (1 + threshold) * (sizes[one] + sizes[other]) - 1e-9)
    return pairs[sizes[one] - lacking >= shared]


def _sketch(sets: Sequence[Marks]) -> Any:
    """256 bits for each set, of which its marks set one each: of a bit that another set lacks, so does it the mark."""
    import numpy as np

    bits = np.zeros((len(sets), SKETCH), np.uint8)
    flat = np.concatenate(sets)
    owners = np.repeat(np.arange(len(sets)), [len(marks) for marks in sets])
    bits[owners, flat % np.uint64(SKETCH)] = 1
    return np.packbits(bits, axis=1).view(np.uint64)


def _join_overlapping(rows: Any, sizes: Any, pairs: Any, threshold: float, groups: Any) -> Any:
    """The groups, with those pairs joined whose Jaccard similarity reaches the threshold."""
    import numpy as np

    one, other = pairs // len(sizes), pairs % len(sizes)
    near = []
    for start in range(0, len(one), CHUNK // 10):
        part = slice(start, start + CHUNK // 10)
        common = np.asarray(rows[one[part]].multiply(rows[other[part]]).sum(axis=1)).ravel()
        total = sizes[one[part]] + sizes[other[part]] - common
        near.append(common >= threshold * total - 1e-9)
    found = np.concatenate(near)
    return join_groups(groups, one[found], other[found])


def link_sharing_sets(sets: Sequence[Marks], anchors: Any, groups: Any) -> Any:
    """The groups, with those sets joined that share any mark with the same anchor, as in ``linked``."""
    import numpy as np

    sizes = [len(marks) for marks in sets]
    if not sum(sizes):
        return groups
    marks, owners = np.concatenate(sets), np.repeat(np.arange(len(sets)), sizes)
    order = np.lexsort((~anchors[owners], marks))  # of those that hold a mark, anchors first
    owners = owners[order]
    _, first, counts = np.unique(marks[order], return_index=True, return_counts=True)
    chief = np.repeat(owners[first], counts)
    linked = anchors[chief]
    return join_groups(groups, owners[linked], chief[linked])


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


def _pairs(names: Any, most: int | None) -> Iterator[tuple[Any, Any]]:
    """Every two places with the same name, some at a time: ``names`` is sorted. Where there are more than ``most``,
    each place goes with the next few alone: as many as keep to it."""
    import numpy as np

    size = len(names)
    if not size:
        return
    ends = np.searchsorted(names, names, side="right")
    follow = ends - np.arange(size) - 1  # how many after each place have its name
    if most is not None and follow.sum() > most:
        low, high = 1, int(follow.max())
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if np.minimum(follow, middle).sum() <= most else (low, middle - 1)
        follow = np.minimum(follow, low)
    bounds = np.concatenate(([0], np.cumsum(follow)))
    start = 0
    while start < size:
        stop = max(start + 1, int(np.searchsorted(bounds, bounds[start] + CHUNK, side="right")) - 1)
        many = follow[start:stop]
        left = np.repeat(np.arange(start, stop), many)
        if len(left):
            yield left, left + 1 + np.arange(len(left)) - np.repeat(bounds[start:stop] - bounds[start], many)
        start = stop
