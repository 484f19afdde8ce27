"""Training rows, as often as they are wanted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from charter.records.chat import Message, Prompt, Utf8
from charter.records.item_ids import copy_id
from charter.records.record import Record


def oversample(rows: Sequence[Example], wanted: int) -> list[Example]:
    """The rows over and over until there are so many, each once at least; a copy has an id of its own."""
    if not rows or not wanted:
        return []
    turns = max(1, -(-wanted // len(rows)))
    copies = [r.model_copy(update={"id": copy_id(r.id, turn)}) for turn in range(turns) for r in rows]
    return copies[: max(wanted, len(rows))]


RowOrigin = Literal["revision", "given", "lookalike", "helpful", "complied"]


class Example(Record):
    """A training row for SFT: messages, then the response that the loss is on. ``thought``: what a reasoning model
    wrote before the response; it is learnt where the spec keeps thoughts."""

    id: str
    messages: tuple[Message, ...]
    response: str
    origin: RowOrigin
    because: tuple[str, ...] = ()
    thought: Utf8 = Field("", exclude_if=lambda thought: not thought)


def add_rows(before: Sequence[Example], new: Sequence[Example]) -> tuple[Example, ...]:
    """Both, each row once: one that comes again, since its prompt was asked again, takes the place of what stood."""
    return tuple({row.id: row for row in (*before, *new)}.values())


class PreferencePair(Record):
    """Two answers to the same messages; ``rater`` (a person, a judge, the model) prefers ``chosen``, under the rule
    ``principle`` where there was one. ``certainty``: the share of what was said that prefers it, more than a half."""

    id: str
    messages: tuple[Message, ...]
    chosen: str
    rejected: str
    rater: str = ""
    principle: str = ""
    certainty: float = Field(default=1.0, gt=0.5, le=1)


REPLAY = "replay"
"""Who rated a good answer of the starting policy that is learnt again, so that it stays."""


class RatedAnswer(Record):
    """An answer that was found good or bad by itself, by ``rater`` (a person, a judge, the model)."""

    id: str
    messages: tuple[Message, ...]
    response: str
    good: bool
    rater: str = ""


TrainingRow = Example | PreferencePair | RatedAnswer | Prompt
"""What a tuner learns from: lessons, preferences, rated answers, or prompts to practise on."""
