"""What people wrote for a method that begins with rules (principles, exemplars, seeds), and what a model thought and
answered under them."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field, TypeAdapter, ValidationError

from charter.constitution.document import Constitution
from charter.errors import SpecError
from charter.records.record import Record
from charter.spec.yaml_text import load_yaml

LINE_WIDTH = 80
"""Characters of a line by which exemplars are counted, however their file breaks them."""


class Exemplar(Record):
    """A dialogue that shows how to think: a user's prompt, the thought that names the rules that apply, the answer."""

    id: str = ""
    prompt: str = Field(min_length=1)
    thought: str = Field(min_length=1)
    answer: str = Field(min_length=1)


EXEMPLAR_PARTS = ("prompt", "thought", "answer")


class HumanLines(Record):
    """Lines that people wrote: seeds, question ``types``, principles (not those that an oracle proposed) and
    ``preferences`` one each, exemplars as many as they take at ``WIDTH`` characters. ``prompts``: those that sources
    gave and no model wrote; they are data beside the lines."""

    id: str = "supervision"
    seeds: int
    types: int = 0
    principles: int
    exemplars: int
    preferences: int = 0
    prompts: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.seeds + self.types + self.principles + self.exemplars + self.preferences


def human_lines(
    constitution: Constitution,
    exemplars: Sequence[Exemplar],
    seeds: int = 0,
    types: int = 0,
    prompts: int = 0,
) -> HumanLines:
    """Counts the lines. A principle with failures that caused it was proposed, unless people reworded it."""
    texts = [text for e in exemplars for text in (e.prompt, e.thought, e.answer)]
    return HumanLines(
        seeds=seeds,
        types=types,
        principles=sum(p.by == "people" or not p.because for p in constitution.active),
        exemplars=sum(len(textwrap.wrap(line, LINE_WIDTH)) for text in texts for line in text.splitlines()),
        prompts=prompts,
    )


def read_exemplars(path: Path) -> tuple[Exemplar, ...]:
    """Exemplars from a YAML list of mappings with prompt, thought and answer. Raises SpecError."""
    cure = "Write a YAML list whose items have prompt, thought and answer."
    try:
        value = load_yaml(path.read_text(encoding="utf-8"), str(path), cure)
        found = TypeAdapter(list[Exemplar]).validate_python(value)
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path} cannot be read: {error}", cure=cure) from error
    except ValidationError as error:
        faults = tuple(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise SpecError(f"{path} holds no exemplars", faults, cure) from error
    blank = [
        f"{n}.{name}: is empty" for n, e in enumerate(found) for name in EXEMPLAR_PARTS if not getattr(e, name).strip()
    ]
    if blank or not found:
        raise SpecError(f"{path} holds no exemplars", tuple(blank), cure)
    return tuple(e.model_copy(update={"id": e.id or f"e{number}"}) for number, e in enumerate(found, 1))
