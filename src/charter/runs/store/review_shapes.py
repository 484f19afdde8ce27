"""What each kind of line in a queue's journal must hold. A line that does not is damage, whoever wrote its hash."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from charter.runs.store.event_shapes import Amount, EventShape


class BegunShape(EventShape):
    """The first line: which queue, by the digest of its seal."""

    seal: str


class ReservedShape(EventShape):
    """An item is shown to a rater, who has it until then (POSIX seconds)."""

    item: str
    rater: str
    until: Amount


class PassedShape(EventShape):
    """A rater passed an item over."""

    item: str
    rater: str


class LabelledShape(EventShape):
    """A rater said something of an item."""

    item: str
    rater: str
    role: str
    label: str | None
    comment: str
    corrected: str
    source: str


class SettledShape(EventShape):
    """A named person decided about an item."""

    item: str
    by: str
    role: str
    label: str
    note: str


_SHAPES: dict[str, type[EventShape]] = {
    "begun": BegunShape,
    "reserved": ReservedShape,
    "passed": PassedShape,
    "labelled": LabelledShape,
    "settled": SettledShape,
}


def find_review_shape_fault(event: dict[str, Any]) -> str:
    """What is wrong with the fields of a line; empty where nothing is."""
    shape = _SHAPES.get(str(event.get("event")))
    if shape is None:
        return "event: no event of a review"
    try:
        shape.model_validate(event)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return ""
