"""What a benchmark asks, told from the columns of its data: what a training row must not hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from charter.data.sources.chat_turns import WORDS, read_speaker
from charter.data.sources.data_files import read_files
from charter.errors import SpecError

_MAIN_COLUMNS = (
    "question",
    "questions",
    "prompt",
    "instruction",
    "query",
    "problem",
    "goal",
    "task",
    "behavior",
    "claim",
)
_CONTEXT_COLUMNS = (
    "input",
    "context",
    "contextstring",
    "ctx",
    "ctx_a",
    "text",
    "sentence",
    "premise",
    "hypothesis",
    "passage",
)
_OTHER_COLUMNS = (
    "sentence1",
    "sentence2",
    "startphrase",
    "question_stem",
    "story",
    "article",
    "document",
    "dialogue",
    "turns",
)
QUESTION_COLUMNS = (
    *_MAIN_COLUMNS,
    *_CONTEXT_COLUMNS,
    *_OTHER_COLUMNS,
    "forbidden_prompt",
    "input_text",
    "user",
    "messages",
)
"""Columns that hold what is asked, whatever their case."""


def row_questions(value: Mapping[str, Any]) -> list[str]:
    """What a row asks: the texts of its columns named in ``ASKS``, and of lists there what people say in them."""
    found = {str(key).lower(): held for key, held in value.items()}
    return [text for key in QUESTION_COLUMNS if key in found for text in _iter_user_texts(found[key])]


def read_benchmark_texts(path: str) -> list[str]:
    """What the rows of a file or folder ask; rows that are texts ask themselves. Raises SpecError where no known column
    holds a text."""
    columns: dict[str, None] = {}
    asked: dict[str, None] = {}
    plain: dict[str, None] = {}
    for row in read_files(path):
        if isinstance(row.value, Mapping):
            columns.update(dict.fromkeys(map(str, row.value)))
            asked.update(dict.fromkeys(row_questions(row.value)))
        elif isinstance(row.value, str) and row.value.strip():
            plain[row.value] = None
    if not asked and (columns or not plain):
        raise SpecError(
            f"{path} has no known column with what is asked (it has: {', '.join(columns) or 'none'!s:.200})",
            cure="Call its column `question` or `prompt`, or name the published set: NAME=FILE.",
        )
    return list(asked or plain)


def _iter_user_texts(held: Any) -> Iterator[str]:
    if isinstance(held, str):
        yield from _drop_blank([held])
    elif isinstance(held, list | tuple):
        for turn in held:
            if isinstance(turn, str):
                yield from _drop_blank([turn])
            elif isinstance(turn, Mapping) and read_speaker(turn) == "user":
                said = next((turn[key] for key in WORDS if turn.get(key)), None)
                parts = said if isinstance(said, list) else [said]
                yield from _drop_blank(part.get("text") if isinstance(part, Mapping) else part for part in parts)


def _drop_blank(texts: Iterable[Any]) -> Iterator[str]:
    return (text for text in texts if isinstance(text, str) and text.strip())
