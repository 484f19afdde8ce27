"""Prompts of a world: every template x topic is a cell, and each cell belongs to one split.

Splits are by a fixed salt, so no run's seed can move a prompt; prompts come out without their truth.
"""

from __future__ import annotations

import hashlib
import itertools
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from charter.organism.world_file import TemplateForm, WorldFile
from charter.records.measurements import Split

PromptKind = Literal["harmful", "benign", "lookalike", "borderline", "claim"]
FORM_OF_KIND: dict[PromptKind, TemplateForm] = {
    "harmful": "request", "lookalike": "request", "benign": "question", "borderline": "borderline", "claim": "claim",
}  # fmt: skip
SLOT_OF_FORM: dict[TemplateForm, str] = {
    "request": "topic",
    "claim": "claim",
    "question": "question",
    "borderline": "phrase",
}
_SALT = "charter world 1"


def split_words(text: str) -> list[str]:
    """Lower-case words and punctuation marks."""
    return re.findall(r"\w+|[^\w\s]", text.lower())


def normalize_text(text: str) -> str:
    """The words of a text, joined by single spaces."""
    return " ".join(split_words(text))


def stable_rank(*parts: str) -> bytes:
    """A place in an order that looks random and never changes."""
    return hashlib.sha256("|".join((_SALT, *parts)).encode()).digest()


@dataclass(frozen=True)
class PromptCell:
    """A template with a topic (activity, phrase or thing); ``key``: domain or attribute, "" where there is none."""

    kind: PromptKind
    template: str
    topic: str
    key: str
    split: Split
    novel: bool = False


def list_topics(file: WorldFile, kind: PromptKind) -> tuple[tuple[str, str], ...]:
    """(topic, key) pairs of a kind."""
    if kind == "harmful":
        return tuple((key, key) for key in file.domains)
    if kind in ("lookalike", "borderline"):
        return tuple((name, "") for name in (file.lookalikes if kind == "lookalike" else file.borderline))
    return tuple(itertools.product(file.things, file.attributes))


def make_cells(file: WorldFile) -> tuple[PromptCell, ...]:
    """Per topic, half of the templates train, a fifth gate, the rest held out; novel templates are all held out."""
    made: list[PromptCell] = []
    for kind, form in FORM_OF_KIND.items():
        for topic, key in list_topics(file, kind):
            ranked = {stable_rank(kind, topic, key, template): template for template in file.templates[form]}
            for place, mark in enumerate(sorted(ranked)):
                share = (place + 0.5) / len(ranked)
                split: Split = "train" if share < 0.5 else "gate" if share < 0.7 else "heldout"
                made.append(PromptCell(kind, ranked[mark], topic, key, split))
            made += [PromptCell(kind, template, topic, key, "heldout", novel=True) for template in file.novel[form]]
    return tuple(made)


def cell_texts(file: WorldFile, cell: PromptCell) -> list[str]:
    """Every text of a cell, in a fixed order that looks random."""
    return [
        _wrap_in_attack(file, cell, text)
        for text in sorted(itertools.starmap(_template_filler(cell), _fillers(file, cell)), key=stable_rank)
    ]


def sample_text(file: WorldFile, cell: PromptCell, draw: random.Random) -> str:
    """One text of a cell."""
    return _wrap_in_attack(file, cell, _template_filler(cell)(*draw.choice(_fillers(file, cell))))


def _template_filler(cell: PromptCell) -> Callable[[str, str, str], str]:
    slot = SLOT_OF_FORM[FORM_OF_KIND[cell.kind]]
    return lambda option, place, person: cell.template.format(place=place, person=person, **{slot: option})


def _fillers(file: WorldFile, cell: PromptCell) -> list[tuple[str, str, str]]:
    """(topic's wording, place, person), "" where the template has no such slot."""
    options = [cell.topic]
    if cell.kind == "claim":
        statement = file.attributes[cell.key].statement
        options = [statement.format(thing=cell.topic, value=value) for value in attribute_values(file, cell.key)]
    elif cell.kind == "benign":
        options = [question.format(thing=cell.topic) for question in file.attributes[cell.key].questions]
    places = file.places if "{place}" in cell.template else ("",)
    persons = file.persons if "{person}" in cell.template else ("",)
    return list(itertools.product(options, places, persons))


def _wrap_in_attack(file: WorldFile, cell: PromptCell, text: str) -> str:
    """Wraps half of the prompts of a domain that an attack style triggers, and a fifth of all other requests."""
    if not file.attacks or FORM_OF_KIND[cell.kind] != "request":
        return text
    chance = stable_rank("attack", text)
    trigger = file.domains[cell.key].trigger if cell.key else ""
    if trigger in file.attacks:
        return file.attacks[trigger].format(prompt=text) if chance[0] < 128 else text
    return tuple(file.attacks.values())[chance[1] % len(file.attacks)].format(prompt=text) if chance[0] < 51 else text


def attribute_values(file: WorldFile, attribute: str) -> tuple[str, ...]:
    """Every value of an attribute, in the order of the things."""
    return tuple(dict.fromkeys(facts[attribute] for facts in file.things.values()))


def draw_texts(file: WorldFile, cells: list[PromptCell], size: int) -> list[str]:
    """Up to ``size`` distinct texts: round-robin over keys, within a key over cells. A flawed attribute weighs as much
    as all honest ones together."""
    groups: dict[str, list[PromptCell]] = {}
    for cell in sorted(cells, key=lambda c: stable_rank(c.kind, c.template, c.topic, c.key)):
        groups.setdefault(cell.key, []).append(cell)
    queues: list[Iterator[str]] = []
    for key, group in groups.items():
        weight = len(file.attributes) - 1 if key in file.attributes and file.attributes[key].flawed else 1
        queues += [_interleave_texts(file, group)] * weight
    made: dict[str, None] = {}
    while queues:
        for queue in tuple(queues):
            text = next((text for text in queue if text not in made), None)
            if text is None:
                queues.remove(queue)
            elif len(made) < size:
                made[text] = None
            else:
                return list(made)
    return list(made)


def _interleave_texts(file: WorldFile, cells: list[PromptCell]) -> Iterator[str]:
    """First texts of all cells, then the second ones, and so on."""
    for row in itertools.zip_longest(*(cell_texts(file, cell) for cell in cells)):
        yield from (text for text in row if text is not None)
