"""A cell of a row as the turns of a conversation, under the names that writers give to keys and speakers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from charter.data.sources.data_rows import check_characters, is_nothing
from charter.errors import RowError
from charter.records.chat import Message

Speaker = Literal["system", "user", "assistant"]
SPEAKERS: dict[str, Speaker] = {
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "bot", "chatgpt", "model", "ai"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
}
"""Who speaks, by the names that are met."""
WHO, WORDS = ("role", "from", "speaker"), ("content", "value", "text")
"""Keys of a turn: who speaks, and what is said."""
_PARTS = ("text", "input_text", "output_text")


def read_prompt(cell: object, place: str, name: str = "the prompt") -> tuple[Message, ...]:
    """A cell as turns that end with the user's: a text is the user's one turn. Raises RowError."""
    if isinstance(cell, str):
        if not cell.strip():
            raise RowError(place, f"{name} is empty")
        check_characters(cell, place)
        return (Message(role="user", content=cell.strip()),)
    turns = read_turns(cell, place, name)
    if turns[-1].role != "user":
        raise RowError(place, f"{name} does not end with words of the user", f"its last turn is the {turns[-1].role}'s")
    if not turns[-1].content.strip():
        raise RowError(place, f"{name} is empty", "the user's last turn has no words")
    return turns


def read_reply(cell: object, place: str, name: str = "the response") -> str:
    """A cell as one answer: a text, or turns of which the last is the assistant's. Raises RowError."""
    if isinstance(cell, str):
        check_characters(cell, place)
        return cell
    turns = read_turns(cell, place, name)
    if turns[-1].role != "assistant":
        raise RowError(place, f"{name} does not end with the assistant's turn")
    return turns[-1].content


def read_turns(cell: object, place: str, name: str = "the prompt") -> tuple[Message, ...]:
    """A list of turns. Raises RowError where it is none, or holds what no turn can hold."""
    if is_nothing(cell):
        raise RowError(place, f"{name} is empty")
    if isinstance(cell, bool | int | float):
        raise RowError(place, f"{name} is a number, and no text", str(cell))
    if isinstance(cell, Mapping) and (rows := _by_key(cell)):
        cell = rows
    if isinstance(cell, Mapping):
        detail = "one object, and no list"
        raise RowError(place, f"{name} is neither text nor a list of turns", detail)
    if not isinstance(cell, Sequence) or isinstance(cell, bytes) or not all(isinstance(turn, Mapping) for turn in cell):
        raise RowError(place, f"{name} is neither text nor a list of turns")
    return tuple(_turn(turn, place) for turn in cell)


def is_conversation(cell: object) -> bool:
    """Whether a cell looks like a list of turns."""
    return isinstance(cell, list) and bool(cell) and all(isinstance(t, Mapping) and _held(t, WORDS) for t in cell)


def read_speaker(turn: Mapping[str, Any]) -> str:
    """Who speaks in a turn: one of the usual roles, or the name as it stands; a turn without one is the user's."""
    key = _held(turn, WHO)
    said = str(turn[key]) if key else "user"
    return SPEAKERS.get(said.strip().casefold(), said)


def join_parts(content: Any, place: str) -> str:
    """Content as one text: a text, or a list of parts that are texts. Raises RowError naming another kind of part."""
    if isinstance(content, str):
        check_characters(content, place)
        return content
    if not isinstance(content, list):
        raise RowError(place, "a turn's content is neither text nor a list of parts", type(content).__name__)
    texts = []
    for part in content:
        held = part if isinstance(part, str) else part.get("text") if isinstance(part, Mapping) else None
        kind = "text" if isinstance(part, str) else part.get("type", "text") if isinstance(part, Mapping) else "number"
        if kind not in _PARTS or not isinstance(held, str):
            raise RowError(place, f"a turn holds a part of the type `{kind}`, and only text can be used")
        texts.append(held)
    joined = "".join(texts)
    check_characters(joined, place)
    return joined


def _turn(turn: Mapping[str, Any], place: str) -> Message:
    who, words = _held(turn, WHO), _held(turn, WORDS)
    if who is None:
        raise RowError(place, "a turn does not say who speaks", f"its keys: {', '.join(map(str, turn))}")
    role = SPEAKERS.get(str(turn[who]).strip().casefold())
    if role is None:
        raise RowError(
            place, f"a turn is of `{turn[who]!s:.40}`", "the speakers are user, assistant and system, by any usual name"
        )
    others = [str(key) for key, value in turn.items() if key not in (who, words) and not is_nothing(value)]
    if others:
        raise RowError(place, f"a turn has the key `{'`, `'.join(others)}`, which cannot be used")
    if words is None and not any(key in turn for key in WORDS):
        raise RowError(place, "a turn has no words", f"its keys: {', '.join(map(str, turn))}")
    return Message(role=role, content="" if words is None else join_parts(turn[words], place))


def _held(turn: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """The first of the keys that says something."""
    return next((name for name in names if not is_nothing(turn.get(name))), None)


def _by_key(cell: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Turns that stand by key (a list of speakers beside a list of words), turn by turn."""
    held = {key: value for key, value in cell.items() if isinstance(value, list)}
    if not _held(held, WHO) or not _held(held, WORDS) or len({len(value) for value in held.values()}) != 1:
        return []
    return [dict(zip(held, row, strict=True)) for row in zip(*held.values(), strict=True)]
