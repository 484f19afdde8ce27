"""Training rows as files: those that a spec names, and those that a run leaves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from pydantic import ValidationError

from charter.errors import RowError
from charter.records.chat import Message
from charter.records.training_rows import Example, RowOrigin
from charter.spec import Spec

if TYPE_CHECKING:
    from charter.data.sources.data_rows import DataRow
    from charter.records.row_counts import RowCount

ROWS_FILE = "rows.jsonl"
"""What a run of ``think`` leaves for others to read: a row of chat turns a line, with its id and origin."""


METHODS_ON_GIVEN_ROWS = ("self_align", "engrave")
"""Methods that tune on rows of files."""


def load_rows(spec: Spec) -> tuple[tuple[Example, ...], list[RowCount]]:
    """The rows of the files that a spec names, where its method tunes on them, and what the reading of each gave.
    Raises SpecError."""
    asked = spec.options.engrave
    return read_rows(asked.rows, asked.skip) if spec.method in METHODS_ON_GIVEN_ROWS else ((), [])


def read_rows(paths: Sequence[str], skip: int = 0) -> tuple[tuple[Example, ...], list[RowCount]]:
    """The rows of files or folders, and what the reading of each gave. A row says itself where it comes from
    (``origin``), or else was given. Of each path at most ``skip`` rows that cannot be used are left out. Raises
    SpecError naming file and line."""
    from charter.data.sources.data_files import list_files, read_files
    from charter.data.sources.data_rows import read_usable, require_rows

    found: dict[str, Example] = {}
    counts = []
    for path in paths:
        name, files = Path(path).name, [str(file) for file in list_files(path)]
        examples, count = read_usable(name, read_files(path, keep_faults=True), _to_example, skip, files)
        counts.append(require_rows(count))
        for example in examples:
            number = f"row-{len(found) + 1}"
            found[example.id if example.id and example.id not in found else number] = example
    return tuple(example.model_copy(update={"id": id}) for id, example in found.items()), counts


def rows_to_jsonl(rows: Sequence[Example]) -> str:
    """Rows as JSONL, for ``options.engrave.rows`` of another run, for ``charter curate`` and for other trainers."""
    lines = []
    for row in rows:
        turns = [*row.messages, Message(role="assistant", content=row.response)]
        said = {"messages": [turn.model_dump() for turn in turns], "id": row.id, "origin": row.origin}
        lines.append(json.dumps(said, ensure_ascii=False) + "\n")
    return "".join(lines)


def _to_example(row: DataRow) -> Example:
    """A row of chat turns; its id is empty where it has none. Raises RowError."""
    from charter.data.sources.chat_turns import is_conversation, read_turns
    from charter.data.sources.training_files import CONVERSATION_COLUMNS, as_mapping, locate_texts

    place = row.place
    said = as_mapping(row.value, place)
    for column in CONVERSATION_COLUMNS:
        if is_conversation(said.get(column)):
            read_turns(said[column], place, f"`{column}`")
    turns, asked, _ = locate_texts(said, place)
    if not asked:
        raise RowError(place, "has no answer to learn", cure="End it with the assistant's turn, or drop that row.")
    id, origin = said.get("id"), said.get("origin")
    try:
        messages = tuple(Message.model_validate({"role": turn.role, "content": turn.text}) for turn in turns[:asked])
        return Example(
            id=id if isinstance(id, str) else "",
            messages=messages,
            response=turns[-1].text,
            origin=origin if origin in get_args(RowOrigin) else "given",
        )
    except ValidationError as error:
        known = "Its roles are system, user and assistant."
        raise RowError(place, "is no row of chat turns", error.errors()[0]["msg"], known) from error
