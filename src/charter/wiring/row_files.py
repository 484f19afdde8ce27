"""Training rows as files: those that a spec names, and those that a run leaves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import get_args

from pydantic import ValidationError

from charter.errors import SpecError
from charter.records.chat import Message
from charter.records.training_rows import Example, RowOrigin

ROWS_FILE = "rows.jsonl"
"""What a run of ``think`` leaves for others to read: a row of chat turns a line, with its id and origin."""


def read_rows(paths: Sequence[str]) -> tuple[Example, ...]:
    """The rows of files or folders. A row says itself where it comes from (``origin``), or else was given. Raises
    SpecError naming file and line."""
    from charter.data.sources.data_files import read_files

    found: dict[str, Example] = {}
    for path in paths:
        before = len(found)
        for row in read_files(path):
            example = _to_example(row.value, row.place, f"row-{len(found) + 1}")
            found[example.id if example.id not in found else f"row-{len(found) + 1}"] = example
        if len(found) == before:
            raise SpecError(f"options.engrave.rows: {path} holds no row", cure="Give a file of chat rows.")
    return tuple(example.model_copy(update={"id": id}) for id, example in found.items())


def rows_to_jsonl(rows: Sequence[Example]) -> str:
    """Rows as JSONL, for ``options.engrave.rows`` of another run, for ``charter curate`` and for other trainers."""
    lines = []
    for row in rows:
        turns = [*row.messages, Message(role="assistant", content=row.response)]
        said = {"messages": [turn.model_dump() for turn in turns], "id": row.id, "origin": row.origin}
        lines.append(json.dumps(said, ensure_ascii=False) + "\n")
    return "".join(lines)


def _to_example(value: object, place: str, name: str) -> Example:
    from charter.data.sources.chat_turns import is_conversation, read_turns
    from charter.data.sources.training_files import CONVERSATION_COLUMNS, as_mapping, locate_texts

    said = as_mapping(value, place)
    for column in CONVERSATION_COLUMNS:
        if is_conversation(said.get(column)):
            read_turns(said[column], place, f"`{column}`")
    turns, asked, _ = locate_texts(said, place)
    if not asked:
        raise SpecError(f"{place}: has no answer to learn", cure="End it with the assistant's turn, or drop that row.")
    id, origin = said.get("id"), said.get("origin")
    try:
        messages = tuple(Message.model_validate({"role": turn.role, "content": turn.text}) for turn in turns[:asked])
        return Example(
            id=id if isinstance(id, str) and id else name,
            messages=messages,
            response=turns[-1].text,
            origin=origin if origin in get_args(RowOrigin) else "given",
        )
    except ValidationError as error:
        known = "Its roles are system, user and assistant."
        raise SpecError(f"{place}: is no row of chat turns: {error.errors()[0]['msg']}", cure=known) from error
