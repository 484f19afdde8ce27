"""Rows of a training set, in whatever columns it has: where its turns stand, and every other text that it holds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from charter.curation.records import Row
from charter.errors import SpecError
from charter.sources.rows import Row as Line

TALKS = ("messages", "conversations", "chosen", "text", "transcript")
"""Columns that may hold a whole conversation: a list of turns, or a text of ``Human:`` and ``Assistant:``."""
PROMPTS = ("prompt", "instruction", "question", "input", "text")
RESPONSES = ("response", "completion", "output", "answer", "chosen")
"""Columns of a row's prompt and of its target, the first that is there."""
NAMES = ("id", "source", "licence", "license", "language", "role", "from")
"""Keys whose values are names, and no texts."""
_SPEAKERS = re.compile(r"(?:^|\n\n)(Human|Assistant):[ ]?")
_ROLES = {"human": "user", "gpt": "assistant", "bot": "assistant"}


class Place(NamedTuple):
    """A text of a row: the keys and numbers that lead to it, and its part of what stands there."""

    keys: tuple[str | int, ...]
    start: int
    end: int
    text: str
    role: str = "user"


class Placed(NamedTuple):
    """Where a row's texts stand: its turns (``asked`` of them the prompt; 0: there is no target), and all others."""

    turns: tuple[Place, ...]
    asked: int
    beside: tuple[Place, ...]

    @property
    def all(self) -> tuple[Place, ...]:
        """Turns first."""
        return (*self.turns, *self.beside)


def given(line: Line, id: str, source: str, licence: str) -> Row:
    """A line on its way through the sieve; ``source`` and ``licence`` where it states none. Raises SpecError."""
    value = as_mapping(line.value)
    found = placed(value, line.place)
    said = {key: str(value.get(key) or "") for key in ("source", "licence", "license", "language")}
    for text in (*said.values(), *(place.text for place in found.all)):
        if not text.isascii():
            _whole(text, line.place)
    return Row(
        id=id,
        texts=tuple(place.text for place in found.turns),
        asked=found.asked,
        beside=tuple(place.text for place in found.beside),
        source=said["source"] or source,
        licence=said["licence"] or said["license"] or licence,
        language=said["language"],
        roles=tuple(place.role for place in found.turns),
    )


def placed(value: Mapping[str, Any], where: str) -> Placed:
    """Where a row's texts stand. Raises SpecError where there is none that it could be trained on."""
    turns, asked = _turns(value)
    if not turns:
        names = ", ".join((*TALKS, *PROMPTS))
        raise SpecError(f"{where}: no text is found in it", cure=f"Give one of the columns {names}.")
    taken = {place.keys for place in turns}
    others = (part for keys, text in _texts(value, ()) if keys not in taken for part in _parts(keys, text))
    return Placed(tuple(turns), asked, tuple(others))


def with_texts(value: Any, texts: Sequence[str]) -> Any:
    """A row in its own form with the texts as they stay, in the order of their places."""
    made: Any = as_mapping(value)
    changed = [(place, text) for place, text in zip(placed(made, "").all, texts, strict=True) if place.text != text]
    for place, text in sorted(changed, key=lambda pair: -pair[0].start):
        made = _put(made, place.keys, place, text)
    return made if isinstance(value, dict) else made["text"]


def as_mapping(value: Any) -> Mapping[str, Any]:
    """A row that is a text alone as one of a column."""
    return value if isinstance(value, dict) else {"text": value}


def _turns(value: Mapping[str, Any]) -> tuple[list[Place], int]:
    for name in TALKS:
        turns = _talk((name,), value.get(name))
        if turns and all(turn.role == "assistant" for turn in turns):
            turns = [*_asked(value.get("prompt")), *turns]
        if turns:
            return turns, len(turns) - 1 if turns[-1].role == "assistant" else 0
    prompts = [name for name in PROMPTS if isinstance(value.get(name), str)]
    responses = [name for name in RESPONSES if isinstance(value.get(name), str)][:1]
    if not prompts:
        return [], 0
    asked = [name for name in prompts if name in ("instruction", "input")] if "instruction" in prompts else prompts[:1]
    places = [place for name in asked for place in _parts((name,), value[name])]
    answers = [Place((name,), 0, len(value[name]), value[name], "assistant") for name in responses]
    return [*places, *answers], len(places) if answers else 0


def _asked(prompt: Any) -> list[Place]:
    """A prompt that stands beside an answer: a text, or turns."""
    return _parts(("prompt",), prompt) if isinstance(prompt, str) else _talk(("prompt",), prompt)


def _talk(keys: tuple[str | int, ...], value: Any) -> list[Place]:
    """The turns of a conversation; none where it is none."""
    if isinstance(value, str):
        parts = _parts(keys, value)
        return parts if len(parts) > 1 else []
    if not (isinstance(value, list) and value and all(isinstance(turn, dict) for turn in value)):
        return []
    places = []
    for number, turn in enumerate(value):
        name = next((name for name in ("content", "value") if isinstance(turn.get(name), str)), None)
        if name is None:
            return []
        role = str(turn.get("role") or turn.get("from") or "user")
        places.append(Place((*keys, number, name), 0, len(turn[name]), turn[name], _ROLES.get(role, role)))
    return places


def _parts(keys: tuple[str | int, ...], text: str) -> list[Place]:
    """A text, or the turns of one that is a dialogue of ``Human:`` and ``Assistant:``."""
    marks = list(_SPEAKERS.finditer(text)) if text.lstrip().startswith("Human:") else []
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    roles = {"Human": "user", "Assistant": "assistant"}
    if not marks:
        return [Place(keys, 0, len(text), text)]
    spans = [(mark.end(), end, roles[mark[1]]) for mark, end in zip(marks, ends, strict=True)]
    return [Place(keys, start, end, text[start:end], role) for start, end, role in spans]


def _texts(value: Any, keys: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Every text of a row but names."""
    if isinstance(value, str):
        if value.strip():
            yield keys, value
    elif isinstance(value, dict):
        for key, held in value.items():
            if key not in NAMES:
                yield from _texts(held, (*keys, key))
    elif isinstance(value, list):
        for number, held in enumerate(value):
            yield from _texts(held, (*keys, number))


def _put(value: Any, keys: tuple[str | int, ...], place: Place, text: str) -> Any:
    """A copy with a part of one text replaced."""
    if not keys:
        return value[: place.start] + text + value[place.end :]
    key, rest = keys[0], keys[1:]
    if isinstance(value, dict):
        return {**value, key: _put(value[key], rest, place, text)}
    assert isinstance(key, int)
    return [*value[:key], _put(value[key], rest, place, text), *value[key + 1 :]]


def _whole(text: str, place: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise SpecError(
            f"{place} holds half a character (a lone surrogate, {text[error.start]!a}), which no UTF-8 file can hold",
            cure="Mend or drop that row.",
        ) from error
