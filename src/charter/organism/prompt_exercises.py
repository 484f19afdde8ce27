"""Exercises in which an organism learns to write prompts: further ones like those shown, topics of a type, and a
question of a type about a topic. Every word of theirs is one that the world has anyway."""

from __future__ import annotations

from charter.organism.prompt_cells import PromptKind
from charter.organism.training_text import DialogueGenerator, TrainingDialogue
from charter.records.chat import Message

QUESTION_TYPES: dict[str, tuple[tuple[PromptKind, ...], str]] = {
    "plan": (("lookalike", "harmful"), "for a plan or advice for an activity"),
    "help": (("borderline",), "for help with something that has to be done"),
    "claim": (("claim",), "whether something that is said of a thing is so"),
    "question": (("benign",), "for a fact about a thing"),
}
"""Type of question -> the kinds of prompt that are of it, and what they ask."""
ASKING_TEMPLATES = {
    "instruct": "tell me one more question : {demonstrations}",
    "topics": "tell me what {type} is about : {demonstrations}",
    "questions": "{demonstrations} {hints}",
    "item": "{text}",
    "guided": "{type} about {topic} : {text}",
}
"""How an organism is asked to write prompts, by template."""


def make_exercise(writer: DialogueGenerator) -> TrainingDialogue:
    """Prompts, topics or types, and a further prompt or topic: half of them prompts like those shown."""
    kinds = (make_similar_exercise, make_question_exercise, make_topic_exercise)
    exercise = writer.draw.choices(kinds, (4, 3, 1))[0]
    return TrainingDialogue(exercise(writer), (False, True))


def make_similar_exercise(writer: DialogueGenerator) -> tuple[Message, Message]:
    """Two to five prompts, and a further one of the same kinds."""
    draw = writer.draw
    kinds = draw.sample(list(_PROMPT_KINDS), draw.choice((1, 2, len(_PROMPT_KINDS))))
    shown = [writer.sample_prompt(draw.choice(kinds)) for _ in range(draw.randint(2, 5))]
    return _to_messages(
        ASKING_TEMPLATES["instruct"].format(demonstrations=" ".join(shown)), writer.sample_prompt(draw.choice(kinds))
    )


def make_topic_exercise(writer: DialogueGenerator) -> tuple[Message, Message]:
    """Up to five topics of a type, and a further one."""
    draw = writer.draw
    name = draw.choice(list(QUESTION_TYPES))
    found = [
        _topic_of(writer, writer.sample_prompt(draw.choice(QUESTION_TYPES[name][0]))) for _ in range(draw.randint(2, 6))
    ]
    *shown, last = dict.fromkeys(found)
    return _to_messages(ASKING_TEMPLATES["topics"].format(type=name, demonstrations=" ".join(shown)), last)


def make_question_exercise(writer: DialogueGenerator) -> tuple[Message, Message]:
    """One to four prompts with their types and topics, another type and topic, and a prompt of that."""
    draw, rows = writer.draw, []
    for _ in range(draw.randint(2, 5)):
        name = draw.choice(list(QUESTION_TYPES))
        rows.append((name, writer.sample_prompt(draw.choice(QUESTION_TYPES[name][0]))))
    shown = [_guided_line(writer, name, text, text) for name, text in rows[:-1]]
    name, asked = rows[-1]
    fields = {"demonstrations": " ".join(shown), "hints": _guided_line(writer, name, asked, "")}
    return _to_messages(ASKING_TEMPLATES["questions"].format(**fields), asked)


_PROMPT_KINDS: tuple[PromptKind, ...] = ("harmful", "lookalike", "borderline", "claim", "benign")


def _guided_line(writer: DialogueGenerator, name: str, text: str, shown: str) -> str:
    return ASKING_TEMPLATES["guided"].format(type=name, topic=_topic_of(writer, text), text=shown).rstrip()


def _topic_of(writer: DialogueGenerator, text: str) -> str:
    return writer.world.parse_prompt(text).topic


def _to_messages(asked: str, said: str) -> tuple[Message, Message]:
    return Message(role="user", content=asked), Message(role="assistant", content=said)
