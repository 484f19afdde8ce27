"""The items of a step in parts, so that a stage holds few of them at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

from charter.runs import store

PART = store.MAX_HELD
"""Items that a stage is handed at once, where a step has more. An engine fills its batches from a part, so a part is
many times the 256 to 1,024 requests that a server has in flight; and what is held stays at some tens of megabytes."""


class Item(Protocol):
    """Anything with an id."""

    @property
    def id(self) -> str:
        """Unique among the items of a step."""
        ...


@dataclass(frozen=True)
class PartAtWork:
    """A part that its stage has not finished.

    Args:
        items: The items of the part.
        known: The ids of those on record; more come as they are made.
        first: The number of the first item among all.
        total: How many items the step has.
        hand_on: Is given each record when it is written.
    """

    items: Sequence[Item]
    known: set[str]
    first: int
    total: int
    hand_on: Callable[[Any], None]


class RecordedLines:
    """The lines that are on record of a step at work, part after part; ``size``: where the whole lines end."""

    def __init__(self, lines: store.LineStream) -> None:
        self._lines, self._left, self.size = lines, iter(lines), 0

    def take(self, count: int) -> list[bytes]:
        """The next lines, as many as there are."""
        found = list(islice(self._left, count))
        self.size = max(self.size, self._lines.size)
        return found


@dataclass(frozen=True)
class ItemParts:
    """The items of a step, ``size`` at a time."""

    items: Sequence[Item]
    size: int

    @property
    def are_several(self) -> bool:
        """Whether there is more than one part."""
        return len(self.items) > self.size

    @property
    def starts(self) -> range:
        """The number of the first item of each part."""
        return range(0, len(self.items), max(self.size, 1))

    def take(self, first: int) -> Sequence[Item]:
        """The part that begins with this item; all items as they were given where they are one part."""
        return self.items[first : first + self.size] if self.are_several else self.items

    def order_lines(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        """The lines of all items in the items' order: those of a part stand together, in any order."""
        left = iter(lines)
        for first in self.starts:
            ids = [item.id for item in self.take(first)]
            by_id = {json.loads(line)["id"]: line for line in islice(left, len(ids))}
            yield from (by_id[id] for id in ids)
