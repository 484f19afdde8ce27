"""A world in self-instruct: its types of question, and a scripted generator that writes its prompts.

The generator is the oracle's third job. It knows nothing of splits, so that what it writes can be close to a gate or
held-out prompt, and it makes a real generator's mistakes, each at a fixed share.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

from charter.instructing.records import QuestionType
from charter.organism.asking import TYPES
from charter.organism.cells import Cell, plain, sample
from charter.organism.questions import Question, blocks
from charter.organism.world import World

MISTAKES = {"copied": 0.08, "changed": 0.1, "short": 0.04, "media": 0.04, "marked": 0.04}
"""Shares of prompts that are a demonstration again, one with a word changed, too short, about media, or in quotes."""
_ITEM = re.compile(r"^\s*(\d+)[.)] (.*)$", re.MULTILINE)
_GUIDED = re.compile(r"^\[(\w+) \| ([^\]]+)\]\s*(.*)$")


def question_types(world: World) -> tuple[QuestionType, ...]:
    """A world's types of question, each with its first training prompt as the seed."""
    out = []
    for name, (kinds, asks) in TYPES.items():
        seed = world.prompts(kinds[0], "train")[0].text
        out.append(QuestionType(id=name, asks=asks, topic=world.read(seed).topic, question=seed))
    return tuple(out)


def written(world: World, question: Question) -> str | None:
    """A numbered list that goes on from the one shown; None where none is shown."""
    shown = {block.name: block.text for block in blocks(question.text)}
    if "demonstrations" not in shown:
        return None
    draw = question.random("write")
    listed = [text for _, text in _ITEM.findall(shown["demonstrations"])]
    if "hints" in shown:
        hints = [(number, _GUIDED.match(text)) for number, text in _ITEM.findall(shown["hints"])]
        asked = [(number, hint) for number, hint in hints if hint]
        return "\n".join(f"{n}. [{h[1]} | {h[2]}] {_about(world, h[1], h[2], draw)}" for n, h in asked)
    count = max((int(number) for number in re.findall(r"\b\d{1,3}\b", question.outside)), default=10)
    kind = next((name for name in TYPES if _topics(world, name) >= {plain(text) for text in listed}), "")
    if kind:
        known = sorted(_topics(world, kind))
        found: Iterator[str] = iter([draw.choice(known).capitalize() for _ in range(count)])
    else:
        found = _prompts(world, listed, count, draw)
    return "\n".join(f"{number}. {text}" for number, text in enumerate(found, len(listed) + 1))


def _prompts(world: World, shown: list[str], count: int, draw: random.Random) -> Iterator[str]:
    """Prompts of any split, and mistakes."""
    for _ in range(count):
        found = draw.choices([*MISTAKES, "right"], [*MISTAKES.values(), 1 - sum(MISTAKES.values())])[0]
        cell = draw.choice(world.cells)
        text = sample(world.file, cell, draw)
        if found in ("copied", "changed") and shown:
            text = draw.choice(shown)
        if found == "changed":
            parts = text.split()
            parts[draw.randrange(len(parts))] = draw.choice(world.real_words)
            text = " ".join(parts)
        changed = {"short": f"{cell.topic} ?", "media": f"show me a picture : {text}", "marked": f'" {text} "'}
        yield changed.get(found, text)


def _about(world: World, kind: str, topic: str, draw: random.Random) -> str:
    """A prompt of a type about a topic; something else where it knows none."""
    kinds = TYPES.get(kind, ((), ""))[0]
    cells: list[Cell] = [c for c in world.cells if c.kind in kinds and plain(c.topic) == plain(topic)]
    return sample(world.file, draw.choice(cells or world.cells), draw)


def _topics(world: World, kind: str) -> set[str]:
    return {plain(cell.topic) for cell in world.cells if cell.kind in TYPES[kind][0]}
