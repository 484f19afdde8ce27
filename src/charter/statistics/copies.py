"""Copies: a text that stands several times among the prompts is one text, and counts once.

Ids tell copies apart from other texts. Where prompts are read, those of the same normalised words get ids of one
text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol, TypeVar

_ID = re.compile(r"(?P<text>(?:.*/)?[0-9a-f]{12})-(?P<ordinal>\d+)")


class _Named(Protocol):
    @property
    def id(self) -> str: ...


R = TypeVar("R", bound=_Named)


def read_text_mark(id: str) -> str:
    """What the copies of a text have in common in their ids (``user_prompt``); any other id as it stands."""
    found = _ID.fullmatch(id)
    return found["text"] if found else id


def drop_copies(records: Sequence[R]) -> list[R]:
    """One record for each text: that of its first copy."""
    first: dict[str, R] = {}
    for record in records:
        mark = read_text_mark(record.id)
        if mark not in first or _ordinal(record.id) < _ordinal(first[mark].id):
            first[mark] = record
    return list(first.values())


def describe_copies(records: Sequence[_Named]) -> str:
    """How many are copies, as a note for a score; empty where none is."""
    copies = len(records) - len({read_text_mark(record.id) for record in records})
    return f"{copies} of {len(records)} prompts are copies of others: a text counts once" if copies else ""


def _ordinal(id: str) -> int:
    found = _ID.fullmatch(id)
    return int(found["ordinal"]) if found else 0
