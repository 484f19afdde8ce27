"""What self-instruct is made of: seeds, question types, calls, what they brought, and the count of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from charter.records.chat import Prompt
from charter.records.record import Record
from charter.records.templates import Templates
from charter.similarity.splits import LeakageFilter
from charter.spec import SelfInstructSpec


class Instruction(Record):
    """A prompt in the making. Where topics guide the red teaming it has a question ``type`` and a ``topic``; a topic
    itself is one whose text is the topic."""

    id: str
    text: str
    type: str = ""
    topic: str = ""


class QuestionType(Record):
    """A kind of question that a static model cannot answer, or will get wrong: its name, what it ``asks``, and a seed
    ``topic`` with a seed ``question``."""

    id: str
    asks: str
    topic: str
    question: str

    @property
    def seed(self) -> Instruction:
        """Its seed question."""
        return Instruction(id=f"type:{self.id}", text=self.question, type=self.id, topic=self.topic)

    @property
    def seed_topic(self) -> Instruction:
        """Its seed topic."""
        return Instruction(id=f"topic:{self.id}", text=self.topic, type=self.id)


class GenerationCall(Record):
    """What one call shows: demonstrations, and ``hints`` (type and topic) where questions are asked for. ``about``: the
    question type, where topics are."""

    id: str
    demonstrations: tuple[Instruction, ...]
    hints: tuple[Instruction, ...] = ()
    question_type: QuestionType | None = None


class GenerationReply(Record):
    """What was read from one reply; ``dropped`` counts by reason what was not."""

    id: str
    items: tuple[Instruction, ...]
    dropped: dict[str, int]
    raw: str


class FilteredInstruction(Record):
    """One instruction after the filters: ``dropped`` names the one that it failed, and is empty where it is kept."""

    id: str
    instruction: Instruction
    dropped: str = ""


class Yield(Record):
    """What a part of self-instruct brought (``seeds``, ``general``, ``topics`` or ``questions``): calls asked, items
    written, kept, and dropped by reason. ``distinct``: of the kept texts, the share of n-grams that occur once, by n,
    over as many of the first texts as there are seeds. ``by_type``: kept, by question type."""

    id: str
    calls: int
    written: int
    kept: int
    dropped: dict[str, int]
    distinct_n: dict[str, float]
    by_type: dict[str, int]


@dataclass(frozen=True)
class SelfInstructInputs:
    """What self-instruct begins with. ``types`` may be empty: then no topics are asked for."""

    seeds: Sequence[Instruction]
    types: Sequence[QuestionType]
    guard: LeakageFilter
    templates: Templates
    options: SelfInstructSpec


@dataclass(frozen=True)
class SelfInstructResult:
    """What self-instruct ends with: prompts for any method, and the count of what was dropped on the way."""

    prompts: tuple[Prompt, ...]
    yields: tuple[Yield, ...]
