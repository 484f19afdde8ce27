"""Rows of a training set, in whatever columns it has: where its turns stand, and every other text that it holds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from charter.data.curation.curation_records import CurationRow
from charter.data.sources.chat_turns import WORDS, join_parts, read_speaker
from charter.data.sources.data_rows import DataRow, check_characters
from charter.errors import RowError

CONVERSATION_COLUMNS = ("messages", "conversations", "chosen", "text", "transcript")
"""Columns that may hold a whole conversation: a list of turns, or a text of ``Human:`` and ``Assistant:``."""
PROMPT_COLUMNS = ("prompt", "instruction", "question", "input", "text")
RESPONSE_COLUMNS = ("response", "completion", "output", "answer", "chosen")
"""Columns of a row's prompt and of its target, the first that is there."""
NAME_KEYS = ("id", "source", "licence", "license", "language", "role", "from")
"""Keys whose values are names, and no texts."""
_SPEAKERS = re.compile(r"(?:^|\n\n)(Human|Assistant):[ ]?")


class TextPlace(NamedTuple):
    """A text of a row: the keys and numbers that lead to it, and its part of what stands there."""

    keys: tuple[str | int, ...]
    start: int
    end: int
    text: str
    role: str = "user"


class LocatedTexts(NamedTuple):
    """Where a row's texts stand: its turns (``asked`` of them the prompt; 0: there is no target), and all others."""

    turns: tuple[TextPlace, ...]
    prompt_turns: int
    other_texts: tuple[TextPlace, ...]

    @property
    def all_texts(self) -> tuple[TextPlace, ...]:
        """Turns first."""
        return (*self.turns, *self.other_texts)


def parse_training_row(line: DataRow, id: str, source: str, licence: str) -> CurationRow:
    """A line on its way through the sieve; ``source`` and ``licence`` where it states none. Raises RowError."""
    value = as_mapping(line.value, line.place)
    found = locate_texts(value, line.place)
    said = {key: str(value.get(key) or "") for key in ("source", "licence", "license", "language")}
    for text in (*said.values(), *(place.text for place in found.all_texts)):
        check_characters(text, line.place)
    return CurationRow(
        id=id,
        texts=tuple(place.text for place in found.turns),
        prompt_turns=found.prompt_turns,
        other_texts=tuple(place.text for place in found.other_texts),
        source=said["source"] or source,
        licence=said["licence"] or said["license"] or licence,
        language=said["language"],
        roles=tuple(place.role for place in found.turns),
    )


def locate_texts(value: Mapping[str, Any], where: str) -> LocatedTexts:
    """Where a row's texts stand. Raises RowError where there is none that it could be trained on."""
    turns, asked = _find_turns(value)
    if not turns:
        names = ", ".join((*CONVERSATION_COLUMNS, *PROMPT_COLUMNS))
        raise RowError(where, "no text is found in it", cure=f"Give one of the columns {names}.")
    taken = {place.keys for place in turns}
    others = (
        part for keys, text in _iter_texts(value, ()) if keys not in taken for part in _split_dialogue(keys, text)
    )
    return LocatedTexts(tuple(turns), asked, tuple(others))


def replace_texts(value: Any, texts: Sequence[str]) -> Any:
    """A row in its own form with the texts as they stay, in the order of their places."""
    made: Any = as_mapping(value)
    changed = [
        (place, text) for place, text in zip(locate_texts(made, "").all_texts, texts, strict=True) if place.text != text
    ]
    for place, text in sorted(changed, key=lambda pair: -pair[0].start):
        made = _replace_text(made, place.keys, place, text)
    return made if isinstance(value, dict) else made["text"]


def as_mapping(value: Any, where: str = "") -> Mapping[str, Any]:
    """A row that is a text alone as one of a column; content in parts as one text. Raises RowError."""
    if not isinstance(value, dict):
        return {"text": value}
    return {name: _joined(value[name], where) if name in CONVERSATION_COLUMNS else value[name] for name in value}


def _joined(talk: Any, where: str) -> Any:
    if not (isinstance(talk, list) and any(isinstance(t, dict) and isinstance(t.get("content"), list) for t in talk)):
        return talk
    return [
        {**turn, "content": join_parts(turn["content"], where)} if isinstance(turn.get("content"), list) else turn
        for turn in talk
    ]


def _find_turns(value: Mapping[str, Any]) -> tuple[list[TextPlace], int]:
    for name in CONVERSATION_COLUMNS:
        turns = _find_conversation((name,), value.get(name))
        if turns and all(turn.role == "assistant" for turn in turns):
            turns = [*_find_prompt(value.get("prompt")), *turns]
        if turns:
            return turns, len(turns) - 1 if turns[-1].role == "assistant" else 0
    prompts = [name for name in PROMPT_COLUMNS if isinstance(value.get(name), str)]
    responses = [name for name in RESPONSE_COLUMNS if isinstance(value.get(name), str)][:1]
    if not prompts:
        return [], 0
    asked = [name for name in prompts if name in ("instruction", "input")] if "instruction" in prompts else prompts[:1]
    places = [place for name in asked for place in _split_dialogue((name,), value[name])]
    answers = [TextPlace((name,), 0, len(value[name]), value[name], "assistant") for name in responses]
    return [*places, *answers], len(places) if answers else 0


def _find_prompt(prompt: Any) -> list[TextPlace]:
    """A prompt that stands beside an answer: a text, or turns."""
    return _split_dialogue(("prompt",), prompt) if isinstance(prompt, str) else _find_conversation(("prompt",), prompt)


def _find_conversation(keys: tuple[str | int, ...], value: Any) -> list[TextPlace]:
    """The turns of a conversation; none where it is none."""
    if isinstance(value, str):
        parts = _split_dialogue(keys, value)
        return parts if len(parts) > 1 else []
    if not (isinstance(value, list) and value and all(isinstance(turn, dict) for turn in value)):
        return []
    places = []
    for number, turn in enumerate(value):
        name = next((name for name in WORDS if isinstance(turn.get(name), str)), None)
        if name is None:
            return []
        places.append(TextPlace((*keys, number, name), 0, len(turn[name]), turn[name], read_speaker(turn)))
    return places


def _split_dialogue(keys: tuple[str | int, ...], text: str) -> list[TextPlace]:
    """A text, or the turns of one that is a dialogue of ``Human:`` and ``Assistant:``."""
    marks = list(_SPEAKERS.finditer(text)) if text.lstrip().startswith("Human:") else []
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    roles = {"Human": "user", "Assistant": "assistant"}
    if not marks:
        return [TextPlace(keys, 0, len(text), text)]
    spans = [(mark.end(), end, roles[mark[1]]) for mark, end in zip(marks, ends, strict=True)]
    return [TextPlace(keys, start, end, text[start:end], role) for start, end, role in spans]


def _iter_texts(value: Any, keys: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Every text of a row but names."""
    if isinstance(value, str):
        if value.strip():
            yield keys, value
    elif isinstance(value, dict):
        for key, held in value.items():
            if key not in NAME_KEYS:
                yield from _iter_texts(held, (*keys, key))
    elif isinstance(value, list):
        for number, held in enumerate(value):
            yield from _iter_texts(held, (*keys, number))


def _replace_text(value: Any, keys: tuple[str | int, ...], place: TextPlace, text: str) -> Any:
    """A copy with a part of one text replaced."""
    if not keys:
        return value[: place.start] + text + value[place.end :]
    key, rest = keys[0], keys[1:]
    if isinstance(value, dict):
        return {**value, key: _replace_text(value[key], rest, place, text)}
    assert isinstance(key, int)
    return [*value[:key], _replace_text(value[key], rest, place, text), *value[key + 1 :]]
