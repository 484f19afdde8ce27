"""Who labels what: the state of a review queue, folded from its journal.

The rules. An item goes to at most as many raters as the queue asks for, reservations counted. It goes to each rater
once. An item that was passed over comes last for that rater. A reservation ends with its time, so that no item waits
for somebody who left. A label may be changed by its rater until the item is settled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from charter.records.reviews import FinalLabel, ItemSettlement, ReviewLabel, ReviewQueue

LEASE = 30 * 60.0
"""Seconds for which an item that is shown to a rater is kept for that rater."""


class ReviewBoard:
    """The state of one queue. ``add`` takes the lines of its journal in order; nothing else changes it.

    ``labels``: item -> rater -> the rater's last label; ``settled``: item -> what was decided. Times are POSIX
    seconds."""

    def __init__(self, queue: ReviewQueue, items: Sequence[str]) -> None:
        self.queue, self.items = queue, tuple(items)
        self.labels: dict[str, dict[str, ReviewLabel]] = {item: {} for item in items}
        self.settled: dict[str, ItemSettlement] = {}
        self.passed: dict[tuple[str, str], int] = {}
        self.changed = 0
        self._reserved: dict[str, dict[str, float]] = {item: {} for item in items}
        self._kinds = {
            "reserved": self._add_reservation,
            "passed": self._add_pass,
            "labelled": self._add_label,
            "settled": self._add_settlement,
        }

    def add(self, event: Mapping[str, Any]) -> str:
        """Takes a line of the journal. What is wrong with it, where it is about no item of the queue or says what is
        not on the menu; empty where nothing is."""
        add = self._kinds.get(str(event["event"]))
        if add is None:
            return ""
        if event["item"] not in self.labels:
            return f"{event['item']!r:.40} is no item of the queue"
        if event.get("label") is not None and event["label"] not in self.queue.menu:
            return f"{event['label']!r:.40} is not on the menu"
        add(event)
        return ""

    def choose_item(self, rater: str, now: float) -> str | None:
        """The item that the rater is to see next; None where nothing is left or free. What is reserved for the rater
        comes first, what the rater passed over last, and otherwise the queue's order holds."""
        free = [
            item for item in self.items if not self.refuse_label(item, rater, now) and rater not in self.labels[item]
        ]
        mine = [item for item in free if rater in self._reserved[item]]
        ordered = mine or sorted(free, key=lambda item: self.passed.get((item, rater), 0))
        return ordered[0] if ordered else None

    def is_reserved(self, item: str, rater: str, now: float) -> bool:
        """Whether an item is kept for a rater."""
        return self._reserved[item].get(rater, 0.0) > now

    def refuse_label(self, item: str, rater: str, now: float) -> str:
        """Why a rater may not label an item; empty where the rater may."""
        if item not in self.labels:
            return f"the queue has no item {item!r:.40}"
        if item in self.settled:
            return f"{item} was settled by {self.settled[item].by}"
        if rater in self.labels[item]:
            return ""
        others = len(self.labels[item])
        if others >= self.queue.raters:
            return f"{item} has its {self.queue.raters} raters"
        held = [name for name, until in self._reserved[item].items() if name != rater and until > now]
        held = [name for name in held if name not in self.labels[item]]
        if others + len(held) >= self.queue.raters:
            return f"{item} is being labelled by {', '.join(held)}"
        return ""

    def list_visible(self, item: str, rater: str) -> list[ReviewLabel]:
        """The labels of an item that a rater may see: all of them once the own one is in, none before."""
        return list(self.labels[item].values()) if rater in self.labels[item] else []

    def list_own(self, rater: str) -> list[ReviewLabel]:
        """What a rater said so far, in the order of the journal."""
        own = [said[rater] for said in self.labels.values() if rater in said]
        return sorted(own, key=lambda label: int(label.id.rpartition("#")[2]))

    def is_complete(self, item: str) -> bool:
        """Whether all of an item's raters have said something."""
        return len(self.labels[item]) >= self.queue.raters

    def find_final(self, item: str) -> FinalLabel | None:
        """What an item is in the end: as it was settled, or what more than half of all its raters say once all have;
        None where that is open."""
        if settlement := self.settled.get(item):
            return FinalLabel(item=item, label=settlement.label, by="settlement", labels=(settlement.id,))
        if not self.is_complete(item):
            return None
        said = list(self.labels[item].values())
        for label in self.queue.menu:
            same = [one for one in said if one.label == label]
            if 2 * len(same) > len(said):
                return FinalLabel(item=item, label=label, by="raters", labels=tuple(one.id for one in same))
        return None

    def list_disputed(self) -> list[str]:
        """Items with all their raters and no label that more than half of them give: they are to be adjudicated."""
        return [item for item in self.items if self.is_complete(item) and self.find_final(item) is None]

    def _add_reservation(self, event: Mapping[str, Any]) -> None:
        self._reserved[event["item"]][event["rater"]] = event["until"]

    def _add_pass(self, event: Mapping[str, Any]) -> None:
        item, rater = event["item"], event["rater"]
        self._reserved[item].pop(rater, None)
        self.passed[item, rater] = event["n"]

    def _add_label(self, event: Mapping[str, Any]) -> None:
        item, rater = event["item"], event["rater"]
        self._reserved[item].pop(rater, None)
        self.changed += rater in self.labels[item]
        fields = {key: event[key] for key in ReviewLabel.model_fields if key != "id"}
        self.labels[item][rater] = ReviewLabel(id=self._line_id(event), **fields)

    def _add_settlement(self, event: Mapping[str, Any]) -> None:
        fields = {key: event[key] for key in ItemSettlement.model_fields if key != "id"}
        self.settled[event["item"]] = ItemSettlement(id=self._line_id(event), **fields)

    def _line_id(self, event: Mapping[str, Any]) -> str:
        return f"{self.queue.id}#{event['n']}"
