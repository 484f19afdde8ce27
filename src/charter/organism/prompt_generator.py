"""A world in self-instruct: its types of question, and a scripted generator that writes its prompts.

The generator is the oracle's third job. It knows nothing of splits, so that what it writes can be close to a gate or
held-out prompt, and it makes a real generator's mistakes, each at a fixed share.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

from charter.data.instructing.instruction_records import QuestionType
from charter.organism.oracle_requests import OracleRequest, find_blocks
from charter.organism.prompt_cells import PromptCell, normalize_text, sample_text
from charter.organism.prompt_exercises import QUESTION_TYPES
from charter.organism.world import World

MISTAKE_SHARES = {"copied": 0.08, "changed": 0.1, "short": 0.04, "media": 0.04, "marked": 0.04}
"""Shares of prompts that are a demonstration again, one with a word changed, too short, about media, or in quotes."""
_ITEM = re.compile(r"^\s*(\d+)[.)] (.*)$", re.MULTILINE)
_GUIDED = re.compile(r"^\[(\w+) \| ([^\]]+)\]\s*(.*)$")


def question_types(world: World) -> tuple[QuestionType, ...]:
    """A world's types of question, each with its first training prompt as the seed."""
    out = []
    for name, (kinds, asks) in QUESTION_TYPES.items():
        seed = world.prompts(kinds[0], "train")[0].text
        out.append(QuestionType(id=name, asks=asks, topic=world.parse_prompt(seed).topic, question=seed))
    return tuple(out)


def write_prompts(world: World, question: OracleRequest) -> str | None:
    """A numbered list that goes on from the one shown; None where none is shown."""
    shown = {block.name: block.text for block in find_blocks(question.text)}
    if "demonstrations" not in shown:
        return None
    draw = question.seeded_random("write")
    listed = [text for _, text in _ITEM.findall(shown["demonstrations"])]
    if "hints" in shown:
        hints = [(number, _GUIDED.match(text)) for number, text in _ITEM.findall(shown["hints"])]
        asked = [(number, hint) for number, hint in hints if hint]
        return "\n".join(f"{n}. [{h[1]} | {h[2]}] {_sample_prompt_about(world, h[1], h[2], draw)}" for n, h in asked)
    count = max((int(number) for number in re.findall(r"\b\d{1,3}\b", question.outside)), default=10)
    kind = next(
        (name for name in QUESTION_TYPES if _known_topics(world, name) >= {normalize_text(text) for text in listed}), ""
    )
    if kind:
        known = sorted(_known_topics(world, kind))
        found: Iterator[str] = iter([draw.choice(known).capitalize() for _ in range(count)])
    else:
        found = _sample_prompts(world, listed, count, draw)
    return "\n".join(f"{number}. {text}" for number, text in enumerate(found, len(listed) + 1))


def _sample_prompts(world: World, shown: list[str], count: int, draw: random.Random) -> Iterator[str]:
    """Prompts of any split, and mistakes."""
    for _ in range(count):
        found = draw.choices([*MISTAKE_SHARES, "right"], [*MISTAKE_SHARES.values(), 1 - sum(MISTAKE_SHARES.values())])[
            0
        ]
        cell = draw.choice(world.cells)
        text = sample_text(world.file, cell, draw)
        if found in ("copied", "changed") and shown:
            text = draw.choice(shown)
        if found == "changed":
            parts = text.split()
            parts[draw.randrange(len(parts))] = draw.choice(world.real_words)
            text = " ".join(parts)
        changed = {"short": f"{cell.topic} ?", "media": f"show me a picture : {text}", "marked": f'" {text} "'}
        yield changed.get(found, text)


def _sample_prompt_about(world: World, kind: str, topic: str, draw: random.Random) -> str:
    """A prompt of a type about a topic; something else where it knows none."""
    kinds = QUESTION_TYPES.get(kind, ((), ""))[0]
    cells: list[PromptCell] = [
        c for c in world.cells if c.kind in kinds and normalize_text(c.topic) == normalize_text(topic)
    ]
    return sample_text(world.file, draw.choice(cells or world.cells), draw)


def _known_topics(world: World, kind: str) -> set[str]:
    return {normalize_text(cell.topic) for cell in world.cells if cell.kind in QUESTION_TYPES[kind][0]}
