"""What people wrote for a method that begins with rules (principles, exemplars, seeds), and what a model thought and
answered under them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import yaml
from pydantic import Field, TypeAdapter, ValidationError

from charter.constitution import Constitution
from charter.errors import SpecError
from charter.nouns import Exchange, Record, Revision


class Exemplar(Record):
    """A dialogue that shows how to think: a user's prompt, the thought that names the rules that apply, the answer."""

    id: str = ""
    prompt: str = Field(min_length=1)
    thought: str = Field(min_length=1)
    answer: str = Field(min_length=1)


class Reasoned(Record):
    """What a model said to a prompt under rules. ``thought`` is empty where none could be read; ``rules``: the ids of
    those that it names; the exchange holds the original prompt and the answer alone; ``raw``: the whole reply."""

    id: str
    thought: str
    rules: tuple[str, ...]
    exchange: Exchange
    raw: str


class Sifted(Record):
    """What the filters made of a reasoned answer: a revision of its prompt, or every reason against it. ``cut``: a
    repetition was cut off."""

    id: str
    revision: Revision | None
    reasons: tuple[str, ...] = ()
    cut: bool = False


class Supervision(Record):
    """Lines that people wrote: seeds and principles one each, exemplars as many as they have. ``prompts``: those that
    sources gave and no model wrote; they are data beside the lines."""

    id: str = "supervision"
    seeds: int
    principles: int
    exemplars: int
    prompts: int

    @property
    def lines(self) -> int:
        """All of them."""
        return self.seeds + self.principles + self.exemplars


def supervision(
    constitution: Constitution, exemplars: Sequence[Exemplar], seeds: int = 0, prompts: int = 0
) -> Supervision:
    """Counts the lines."""
    texts = [text for e in exemplars for text in (e.prompt, e.thought, e.answer)]
    return Supervision(
        seeds=seeds,
        principles=len(constitution.active),
        exemplars=sum(bool(line.strip()) for text in texts for line in text.splitlines()),
        prompts=prompts,
    )


def read_exemplars(path: Path) -> tuple[Exemplar, ...]:
    """Exemplars from a YAML list of mappings with prompt, thought and answer. Raises SpecError."""
    cure = "Write a YAML list whose items have prompt, thought and answer."
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
        found = TypeAdapter(list[Exemplar]).validate_python(value)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SpecError(f"{path} cannot be read: {error}", cure=cure) from error
    except ValidationError as error:
        faults = tuple(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise SpecError(f"{path} holds no exemplars", faults, cure) from error
    return tuple(e.model_copy(update={"id": e.id or f"e{number}"}) for number, e in enumerate(found, 1))


_NUMBERS = re.compile(r"\brules?\s+((?:\d{1,3}\s*(?:\([^)]*\))?(?:\s*,?\s*and\s+|\s*,\s*|\s*))+)", re.IGNORECASE)


def named(thought: str, constitution: Constitution, numbered: bool) -> tuple[str, ...]:
    """The ids of the rules that a thought names. Where rules are shown with numbers: those in "rule 3" or "rules 1
    (ethical), 4 and 7", or with their title in brackets; else those whose title is among the thought's words."""
    rules, said = constitution.active, " ".join(thought.lower().split())
    if not numbered:
        words = f" {' '.join(re.findall(r'[a-z0-9]+', said))} "
        titles = [" ".join(re.findall(r"[a-z0-9]+", p.title.lower())) for p in rules]
        return tuple(p.id for p, title in zip(rules, titles, strict=True) if title and f" {title} " in words)
    listed = (re.sub(r"\([^)]*\)", " ", group) for group in _NUMBERS.findall(said))
    numbers = {int(n) for group in listed for n in re.findall(r"\d+", group)}
    bracketed = set(re.findall(r"\(\s*([^()]*?)\s*\)", said))
    return tuple(p.id for n, p in enumerate(rules, 1) if n in numbers or (p.title and p.title.lower() in bracketed))
