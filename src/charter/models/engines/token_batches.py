"""How rows of tokens are put together: groups that share a beginning, and batches bounded by padded tokens.

Both follow from the rows of a call alone, so that a call that is resumed forms the same batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

LEAST_SHARED = 16
"""Fewest tokens of a beginning that is read once for all its rows."""
LEAST_SAVED = 256
"""Fewest tokens that reading a beginning once must save: one more pass of the model costs about as much."""
PADDING = 0.15
"""Most padding of a batch, as a share of its real tokens."""
FLOOR = 0.25
"""A batch with less than this share of the padded tokens allowed may be padded further: more of them cost more."""


@dataclass(frozen=True)
class BatchBounds:
    """What a batch may hold: rows, padded tokens, and positions whose logits are kept."""

    rows: int
    tokens: int
    kept: int = 2**62


@dataclass(frozen=True)
class BatchRow:
    """A row: its tokens, how many of the first may be shared, and how many positions' logits are kept."""

    ids: list[int]
    shareable: int = 0
    kept: int = 1


@dataclass(frozen=True)
class RowGroup:
    """Rows, by their places, that share their first ``shared`` tokens (0: they are read whole)."""

    places: list[int]
    shared: int = 0


class BatchPlan(NamedTuple):
    """Batches of places whose rows all have this beginning; empty: they share none."""

    beginning: list[int]
    batches: list[list[int]]


def plan_batches(rows: Sequence[BatchRow], bounds: BatchBounds, padding: float = PADDING) -> list[BatchPlan]:
    """Every row, the longest first, in one batch of one plan. ``padding`` as for ``form_batches``."""
    plans = []
    order = sorted(range(len(rows)), key=lambda place: -len(rows[place].ids))
    for group in group_by_beginning([rows[place] for place in order]):
        members = [order[place] for place in group.places]
        sizes = [len(rows[place].ids) - group.shared for place in members]
        batches = form_batches(sizes, bounds, [rows[place].kept for place in members], padding)
        beginning = rows[members[0]].ids[: group.shared]
        plans.append(BatchPlan(beginning, [[members[n] for n in batch] for batch in batches]))
    return plans


def form_batches(
    sizes: Sequence[int], bounds: BatchBounds, kept: Sequence[int], padding: float = PADDING
) -> list[list[int]]:
    """Places in batches; ``sizes`` are the tokens of each row, the longest first, ``kept`` its positions whose logits
    are kept, ``padding`` the most of it as a share of a batch's real tokens. A row that is more than the bounds alone
    has a batch of its own."""
    batches: list[list[int]] = []
    real = most = 0
    for place, size in enumerate(sizes):
        rows = len(batches[-1]) + 1 if batches else bounds.rows + 1
        padded = rows * sizes[batches[-1][0]] if batches else 0
        loose = padded - real - size > padding * (real + size) and padded > FLOOR * bounds.tokens
        if loose or rows > bounds.rows or padded > bounds.tokens or rows * max(most, kept[place]) > bounds.kept:
            batches.append([])
            real = most = 0
        batches[-1].append(place)
        real, most = real + size, max(most, kept[place])
    return batches


def group_by_beginning(rows: Sequence[BatchRow]) -> list[RowGroup]:
    """Groups of rows that share so long a beginning that it is worth reading once, and one of all other rows; each with
    its places in order."""
    order = sorted(range(len(rows)), key=lambda place: rows[place].ids)
    shared = [_count_shared(rows[one], rows[two]) for one, two in pairwise(order)]
    owners: list[tuple[int, list[int]]] = [(0, [])]
    runs = [(0, len(order), 0)]  # rows from, to, and the group that they belong to so far
    while runs:
        start, stop, owner = runs.pop()
        least = min(shared[start : stop - 1], default=0)
        saved = (stop - start - 1) * least - (stop - start) * owners[owner][0]
        if least >= LEAST_SHARED and saved >= LEAST_SAVED:
            owners.append((least, []))
            owner = len(owners) - 1
        cuts = [start, *(n + 1 for n in range(start, stop - 1) if shared[n] == least), stop]
        if max(map(int.__sub__, cuts[1:], cuts), default=0) * max(shared[start : stop - 1], default=0) < LEAST_SAVED:
            owners[owner][1].extend(order[start:stop])
            continue
        for low, high in pairwise(cuts):
            if high - low == 1:
                owners[owner][1].append(order[low])
            else:
                runs.append((low, high, owner))
    return _drop_useless(owners)


def _drop_useless(owners: Sequence[tuple[int, list[int]]]) -> list[RowGroup]:
    """The groups in the order of their first places; those that are too small to save anything are read whole."""
    whole, kept = list[int](), []
    for shared, places in owners:
        if (len(places) - 1) * shared >= LEAST_SAVED:
            kept.append(RowGroup(sorted(places), shared))
        else:
            whole += places
    return sorted([*kept, *([RowGroup(sorted(whole))] if whole else [])], key=lambda group: group.places)


def _count_shared(one: BatchRow, two: BatchRow) -> int:
    """The tokens at the beginning that both rows share, as far as they may be."""
    low, high = 0, min(one.shareable, two.shareable)
    while low < high:
        middle = (low + high + 1) // 2
        if one.ids[low:middle] == two.ids[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
