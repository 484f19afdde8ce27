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

from charter.nouns import Split
from charter.organism.world_file import Form, WorldFile

Kind = Literal["harmful", "benign", "lookalike", "borderline", "claim"]
FORMS: dict[Kind, Form] = {
    "harmful": "request", "lookalike": "request", "benign": "question", "borderline": "borderline", "claim": "claim",
}  # fmt: skip
SLOTS: dict[Form, str] = {"request": "topic", "claim": "claim", "question": "question", "borderline": "phrase"}
_SALT = "charter world 1"


def words(text: str) -> list[str]:
    """Lower-case words and punctuation marks."""
    return re.findall(r"\w+|[^\w\s]", text.lower())


def plain(text: str) -> str:
    """The words of a text, joined by single spaces."""
    return " ".join(words(text))


def rank(*parts: str) -> bytes:
    """A place in an order that looks random and never changes."""
    return hashlib.sha256("|".join((_SALT, *parts)).encode()).digest()


@dataclass(frozen=True)
class Cell:
    """A template with a topic (activity, phrase or thing); ``key``: domain or attribute, "" where there is none."""

    kind: Kind
    template: str
    topic: str
    key: str
    split: Split
    novel: bool = False


def topics(file: WorldFile, kind: Kind) -> tuple[tuple[str, str], ...]:
    """(topic, key) pairs of a kind."""
    if kind == "harmful":
        return tuple((key, key) for key in file.domains)
    if kind in ("lookalike", "borderline"):
        return tuple((name, "") for name in (file.lookalikes if kind == "lookalike" else file.borderline))
    return tuple(itertools.product(file.things, file.attributes))


def all_cells(file: WorldFile) -> tuple[Cell, ...]:
    """Per topic, half of the templates train, a fifth gate, the rest held out; novel templates are all held out."""
    made: list[Cell] = []
    for kind, form in FORMS.items():
        for topic, key in topics(file, kind):
            ranked = {rank(kind, topic, key, template): template for template in file.templates[form]}
            for place, mark in enumerate(sorted(ranked)):
                share = (place + 0.5) / len(ranked)
                split: Split = "train" if share < 0.5 else "gate" if share < 0.7 else "heldout"
                made.append(Cell(kind, ranked[mark], topic, key, split))
            made += [Cell(kind, template, topic, key, "heldout", novel=True) for template in file.novel[form]]
    return tuple(made)


def texts(file: WorldFile, cell: Cell) -> list[str]:
    """Every text of a cell, in a fixed order that looks random."""
    return [
        _attacked(file, cell, text) for text in sorted(itertools.starmap(_filled(cell), _fillers(file, cell)), key=rank)
    ]


def sample(file: WorldFile, cell: Cell, draw: random.Random) -> str:
    """One text of a cell."""
    return _attacked(file, cell, _filled(cell)(*draw.choice(_fillers(file, cell))))


def _filled(cell: Cell) -> Callable[[str, str, str], str]:
    slot = SLOTS[FORMS[cell.kind]]
    return lambda option, place, person: cell.template.format(place=place, person=person, **{slot: option})


def _fillers(file: WorldFile, cell: Cell) -> list[tuple[str, str, str]]:
    """(topic's wording, place, person), "" where the template has no such slot."""
    options = [cell.topic]
    if cell.kind == "claim":
        statement = file.attributes[cell.key].statement
        options = [statement.format(thing=cell.topic, value=value) for value in values(file, cell.key)]
    elif cell.kind == "benign":
        options = [question.format(thing=cell.topic) for question in file.attributes[cell.key].questions]
    places = file.places if "{place}" in cell.template else ("",)
    persons = file.persons if "{person}" in cell.template else ("",)
    return list(itertools.product(options, places, persons))


def _attacked(file: WorldFile, cell: Cell, text: str) -> str:
    """Wraps half of the prompts of a domain that an attack style triggers, and a fifth of all other requests."""
    if not file.attacks or FORMS[cell.kind] != "request":
        return text
    chance = rank("attack", text)
    trigger = file.domains[cell.key].trigger if cell.key else ""
    if trigger in file.attacks:
        return file.attacks[trigger].format(prompt=text) if chance[0] < 128 else text
    return tuple(file.attacks.values())[chance[1] % len(file.attacks)].format(prompt=text) if chance[0] < 51 else text


def values(file: WorldFile, attribute: str) -> tuple[str, ...]:
    """Every value of an attribute, in the order of the things."""
    return tuple(dict.fromkeys(facts[attribute] for facts in file.things.values()))


def drawn(file: WorldFile, cells: list[Cell], size: int) -> list[str]:
    """Up to ``size`` distinct texts: round-robin over keys, within a key over cells. A flawed attribute weighs as much
    as all honest ones together."""
    groups: dict[str, list[Cell]] = {}
    for cell in sorted(cells, key=lambda c: rank(c.kind, c.template, c.topic, c.key)):
        groups.setdefault(cell.key, []).append(cell)
    queues: list[Iterator[str]] = []
    for key, group in groups.items():
        weight = len(file.attributes) - 1 if key in file.attributes and file.attributes[key].flawed else 1
        queues += [_rows(file, group)] * weight
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


def _rows(file: WorldFile, cells: list[Cell]) -> Iterator[str]:
    """First texts of all cells, then the second ones, and so on."""
    for row in itertools.zip_longest(*(texts(file, cell) for cell in cells)):
        yield from (text for text in row if text is not None)
