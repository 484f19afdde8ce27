"""Prompts of one source of a spec: published sets by name, files, data sets of the hub."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

from charter.data.sources.data_files import FileRow, read_file_rows
from charter.data.sources.hub_datasets import HubDataset, fetch_dataset, read_hub_rows, read_licence
from charter.data.sources.published_datasets import PUBLISHED, Fields, read_column, read_optional_column
from charter.errors import SpecError
from charter.records.chat import Message, Prompt, user_prompt
from charter.records.record import digest
from charter.spec import SourceSpec

Side = Literal["unsafe", "safe"]


class SourcePrompts:
    """The prompts of one source, behind ``ports.Source``. Equal texts take different ids. Where a set has a safe and an
    unsafe side (XSTest), only ``side`` is given: unsafe for red teaming, safe for ordinary questions."""

    def __init__(self, asked: SourceSpec, side: Side = "unsafe", *, offline: bool = False) -> None:
        self._spec, self._side, self._offline = asked, side, offline
        self._published = PUBLISHED[asked.name] if asked.name else None

    @property
    def identity(self) -> str:
        """The source's name and the digest of its prompts."""
        return f"{self.name}@{digest(self._prompts)[:12]}"

    @property
    def name(self) -> str:
        """The published name, the data set's id, or the name of the file or folder."""
        return self._spec.name or self._spec.hub or Path(self._spec.path).name

    def prompts(self) -> Sequence[Prompt]:
        """Every prompt (or the sample that ``limit`` asks for) in the source's order. Raises SpecError naming file and
        line."""
        return self._prompts

    @cached_property
    def _prompts(self) -> tuple[Prompt, ...]:
        seen: Counter[str] = Counter()
        read, stated, rows = self._open_rows()
        pairs = ((row, read(row)) for row in rows)
        asked = self._spec
        usual = {"language": asked.language, "licence": asked.licence or stated}
        if self._published is not None:
            usual["language"] = asked.language or self._published.language
        made = [
            self._make_prompt(row, fields, usual, seen)
            for row, fields in pairs
            if fields.get("side") in (None, self._side)
        ]
        return tuple(sample_prompts(made, asked.limit, asked.seed))

    def _open_rows(self) -> tuple[Callable[[FileRow], Fields], str, Iterator[FileRow]]:
        """How a row is read, the licence, and the rows."""
        asked, known = self._spec, self._published
        read, stated = (known.read_fields, known.licence) if known else (self._map_columns, "")
        if asked.path:
            return read, stated, read_file_rows(asked.path)
        place = self._hub_dataset()
        folder = fetch_dataset(place, offline=self._offline)
        return read, stated or read_licence(folder), read_hub_rows(place, folder)

    def _hub_dataset(self) -> HubDataset:
        """Where on the hub; what the spec says goes before what is known of a published set."""
        asked, usual = self._spec, self._published.hub if self._published else None
        if usual is None and not asked.hub:
            raise SpecError(
                f"No copy of {asked.name} is known on the hub", cure=f"Give its file: {{name: {asked.name}, path: ...}}"
            )
        if usual is None or (asked.hub and asked.hub != usual.name):
            return HubDataset(asked.hub, asked.config, asked.split, asked.revision)
        files = () if asked.config else usual.files
        return HubDataset(usual.name, asked.config or usual.config, asked.split, asked.revision, files)

    def _map_columns(self, row: FileRow) -> Fields:
        """A row of the user's own data, by the columns that the spec names."""
        columns = self._spec.columns
        named = {key: name for key, name in columns if key != "prompt" and name}
        for name in named.values():
            if not isinstance(row.value, dict) or name not in row.value:
                read_column(row, name)
        return {"prompt": read_column(row, columns.prompt)} | {
            key: read_optional_column(row, name) for key, name in named.items()
        }

    def _make_prompt(self, row: FileRow, fields: Fields, usual: dict[str, str], seen: Counter[str]) -> Prompt:
        turns = _parse_turns(row, fields["prompt"])
        text = "\n".join(turn.content for turn in turns)
        ordinal, seen[text] = seen[text], seen[text] + 1
        said = {key: str(value) for key, value in fields.items() if key != "prompt" and value not in (None, "")}
        meta = {key: value for key, value in usual.items() if value} | said
        return user_prompt(text, ordinal, self.name, **meta).model_copy(update={"messages": turns})


def sample_prompts(prompts: Sequence[Prompt], most: int | None, seed: int = 0) -> list[Prompt]:
    """At most so many prompts, drawn by hash (a prompt's chance depends on no other prompt), in the order given."""
    if most is None or len(prompts) <= most:
        return list(prompts)
    drawn = {p.id for p in sorted(prompts, key=lambda p: digest([seed, p.id]))[:most]}
    return [p for p in prompts if p.id in drawn]


def _parse_turns(row: FileRow, cell: object) -> tuple[Message, ...]:
    """A cell as turns that end with the user's. Raises SpecError."""
    try:
        given = [Message(role="user", content=cell.strip())] if isinstance(cell, str) else cell
        if not isinstance(given, list):
            raise TypeError("no list")
        turns = tuple(Message.model_validate(turn) for turn in given)
        "\n".join(turn.content for turn in turns).encode()
    except (TypeError, ValueError) as error:
        raise SpecError(
            f"{row.place}: the prompt is neither text nor a list of turns", cure="Mend that row."
        ) from error
    if not turns or turns[-1].role != "user" or not turns[-1].content.strip():
        raise SpecError(f"{row.place}: the prompt does not end with words of the user", cure="Mend or drop that row.")
    return turns
