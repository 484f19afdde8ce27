"""Revisions: a finding answered again under principles, with its critique and what verification said."""

from __future__ import annotations

from pydantic import Field

from charter.records.chat import Exchange
from charter.records.record import Record
from charter.records.training_rows import Example
from charter.records.verdicts import Finding


class Critique(Record):
    """What the target said of its own finding under the principles, before it revises."""

    id: str
    text: str


class Revision(Record):
    """A finding answered again under principles; holds an exchange, so that the judge fits it unchanged.
    ``recited``: the words of a rule that it repeats."""

    id: str
    critique: str
    exchange: Exchange
    principles: tuple[str, ...]
    recited: str = Field("", exclude_if=lambda recited: not recited)


class RevisionTrial(Record):
    """A finding to be answered again under the constitution less the principles in ``omitted``."""

    id: str
    finding: Finding
    omitted: tuple[str, ...] = ()


class RevisionCheck(Record):
    """The outcome of verification for one revision: kept, or dropped with every reason."""

    id: str
    kept: bool
    reasons: tuple[str, ...] = ()
    example: Example | None = None


class ReasonedAnswer(Record):
    """What a model said to a prompt under rules. ``thought`` is empty where none could be read; ``rules``: the ids of
    those that it names; the exchange holds the original prompt and the answer alone; ``raw``: the whole reply."""

    id: str
    thought: str
    rules: tuple[str, ...]
    exchange: Exchange
    raw: str


class FilteredAnswer(Record):
    """What the filters made of a reasoned answer: a revision of its prompt, or every reason against it. ``cut``: a
    repetition was cut off."""

    id: str
    revision: Revision | None
    reasons: tuple[str, ...] = ()
    repetition_cut: bool = False
