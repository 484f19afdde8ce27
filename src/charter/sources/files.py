"""Prompts from a JSONL or CSV file with a named column."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from charter.errors import SpecError
from charter.nouns import Message, Prompt, digest, user_prompt
from charter.spec import FileSpec


class FilePrompts:
    """A file's prompts, behind ``ports.Source``. A cell holds a text, or (JSONL) a list of ``{role, content}`` turns
    that ends with the user's. Equal texts take different ids."""

    def __init__(self, file: FileSpec) -> None:
        self._file = file

    @property
    def identity(self) -> str:
        """File name and digest of its prompts."""
        return f"{Path(self._file.path).name}@{digest(self._prompts)[:12]}"

    def prompts(self) -> Sequence[Prompt]:
        """Every prompt in the file's order. Raises SpecError naming file and line."""
        return self._prompts

    @cached_property
    def _prompts(self) -> tuple[Prompt, ...]:
        seen: Counter[str] = Counter()
        return tuple(self._prompt(number, row, seen) for number, row in self._rows())

    def _prompt(self, number: int, row: Any, seen: Counter[str]) -> Prompt:
        place, column = f"{self._file.path}:{number}", self._file.column
        if not isinstance(row, dict) or column not in row:
            known = ", ".join(map(str, row)) if isinstance(row, dict) else "no columns"
            message = f"{place} has no column `{column}` (it has: {known:.200})"
            raise SpecError(message, cure="Name the column with `column:`.")
        cell = row[column]
        try:
            given = [Message(role="user", content=cell.strip())] if isinstance(cell, str) else cell
            turns = tuple(Message.model_validate(turn) for turn in given)
            text = "\n".join(turn.content for turn in turns)
            text.encode()
        except (TypeError, ValueError) as error:
            raise SpecError(
                f"{place}: `{column}` is neither text nor a list of turns", cure="Mend that row."
            ) from error
        if not turns or turns[-1].role != "user" or not turns[-1].content.strip():
            raise SpecError(f"{place}: `{column}` does not end with words of the user", cure="Mend or drop that row.")
        ordinal, seen[text] = seen[text], seen[text] + 1
        return user_prompt(text, ordinal, Path(self._file.path).name).model_copy(update={"messages": turns})

    def _rows(self) -> Iterator[tuple[int, Any]]:
        path = Path(self._file.path)
        try:
            with path.open(encoding="utf-8-sig", newline="") as lines:
                if path.suffix.lower() == ".csv":
                    table = csv.DictReader(lines)
                    yield from ((table.line_num, row) for row in table)
                    return
                for number, line in enumerate(lines, 1):
                    if line.strip():
                        yield number, self._parsed(number, line)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise SpecError(f"{path} cannot be read: {error}", cure="Give a UTF-8 JSONL or CSV file.") from error

    def _parsed(self, number: int, line: str) -> Any:
        try:
            return json.loads(line)
        except (ValueError, RecursionError) as error:
            raise SpecError(f"{self._file.path}:{number} is not JSON: {error}", cure="Mend that line.") from error
