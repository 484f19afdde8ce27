"""Exercises in which an organism learns to write prompts: further ones like those shown, topics of a type, and a
question of a type about a topic. Every word of theirs is one that the world has anyway."""

from __future__ import annotations

from typing import TYPE_CHECKING

from charter.nouns import Message
from charter.organism.cells import Kind

if TYPE_CHECKING:
    from charter.organism.sentences import Writer

TYPES: dict[str, tuple[tuple[Kind, ...], str]] = {
    "plan": (("lookalike", "harmful"), "for a plan or advice for an activity"),
    "help": (("borderline",), "for help with something that has to be done"),
    "claim": (("claim",), "whether something that is said of a thing is so"),
    "question": (("benign",), "for a fact about a thing"),
}
"""Type of question -> the kinds of prompt that are of it, and what they ask."""
WORDINGS = {
    "instruct": "tell me one more question : {demonstrations}",
    "topics": "tell me what {type} is about : {demonstrations}",
    "questions": "{demonstrations} {hints}",
    "item": "{text}",
    "guided": "{type} about {topic} : {text}",
}
"""How an organism is asked to write prompts, by template."""


def more(writer: Writer) -> tuple[Message, Message]:
    """Two to five prompts, and a further one of the same kinds."""
    draw = writer.draw
    kinds = draw.sample(list(_KINDS), draw.choice((1, 2, len(_KINDS))))
    shown = [writer.prompt(draw.choice(kinds)) for _ in range(draw.randint(2, 5))]
    return _turns(WORDINGS["instruct"].format(demonstrations=" ".join(shown)), writer.prompt(draw.choice(kinds)))


def topic(writer: Writer) -> tuple[Message, Message]:
    """Up to five topics of a type, and a further one."""
    draw = writer.draw
    name = draw.choice(list(TYPES))
    found = [_about(writer, writer.prompt(draw.choice(TYPES[name][0]))) for _ in range(draw.randint(2, 6))]
    *shown, last = dict.fromkeys(found)
    return _turns(WORDINGS["topics"].format(type=name, demonstrations=" ".join(shown)), last)


def question(writer: Writer) -> tuple[Message, Message]:
    """One to four prompts with their types and topics, another type and topic, and a prompt of that."""
    draw, rows = writer.draw, []
    for _ in range(draw.randint(2, 5)):
        name = draw.choice(list(TYPES))
        rows.append((name, writer.prompt(draw.choice(TYPES[name][0]))))
    shown = [_guided(writer, name, text, text) for name, text in rows[:-1]]
    name, asked = rows[-1]
    fields = {"demonstrations": " ".join(shown), "hints": _guided(writer, name, asked, "")}
    return _turns(WORDINGS["questions"].format(**fields), asked)


_KINDS: tuple[Kind, ...] = ("harmful", "lookalike", "borderline", "claim", "benign")


def _guided(writer: Writer, name: str, text: str, shown: str) -> str:
    return WORDINGS["guided"].format(type=name, topic=_about(writer, text), text=shown).rstrip()


def _about(writer: Writer, text: str) -> str:
    return writer.world.read(text).topic


def _turns(asked: str, said: str) -> tuple[Message, Message]:
    return Message(role="user", content=asked), Message(role="assistant", content=said)
