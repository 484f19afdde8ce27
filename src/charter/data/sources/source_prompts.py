"""Prompts of one source of a spec: published sets by name, files, data sets of the hub."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

from charter.data.sources.chat_turns import read_prompt
from charter.data.sources.data_files import list_files, list_unread, read_files
from charter.data.sources.data_rows import DataRow, has_column, read_column, read_usable, read_word, require_rows
from charter.data.sources.hub_datasets import HubDataset, fetch_dataset, read_hub_rows, read_licence
from charter.data.sources.published_datasets import PUBLISHED, Fields
from charter.errors import SpecError
from charter.records.chat import Prompt, user_prompt
from charter.records.record import digest
from charter.records.row_counts import RowCount
from charter.spec import SourceSpec

Side = Literal["unsafe", "safe"]


class SourcePrompts:
    """The prompts of one source, behind ``ports.Source``. Equal texts take different ids. Where a set has a safe and an
    unsafe side (XSTest), only ``side`` is given: unsafe for red teaming, safe for ordinary questions."""

    def __init__(
        self, asked: SourceSpec, side: Side = "unsafe", *, offline: bool = False, may_be_empty: bool = False
    ) -> None:
        self._spec, self._side, self._offline, self._may_be_empty = asked, side, offline, may_be_empty
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

    @property
    def count(self) -> RowCount:
        """How many rows were read, and those that were left out. Raises SpecError."""
        return self._read[1]

    @property
    def _prompts(self) -> tuple[Prompt, ...]:
        return self._read[0]

    @cached_property
    def _read(self) -> tuple[tuple[Prompt, ...], RowCount]:
        seen: Counter[str] = Counter()
        read, stated, rows = self._open_rows()
        asked = self._spec
        usual = {"language": asked.language, "licence": asked.licence or stated}
        if self._published is not None:
            usual["language"] = asked.language or self._published.language
        files = [str(file) for file in list_files(asked.path)] if asked.path else []
        found, count = read_usable(
            self.name, rows, lambda row: self._make_prompt(row, read(row), usual, seen), asked.skip, files
        )
        if asked.path and self._published is None:
            count = count.model_copy(update={"unread": tuple(list_unread(asked.path))})
        made = [prompt for prompt in found if prompt.meta.get("side") in (None, self._side)]
        if not self._may_be_empty:
            require_rows(count)
            if not made:
                cure = "Give a file with rows of that side, or leave this source out."
                raise SpecError(f"{self.name} gives no prompt: none of its rows is {self._side}", cure=cure)
        return tuple(sample_prompts(made, asked.limit, asked.seed)), count

    def _open_rows(self) -> tuple[Callable[[DataRow], Fields], str, Iterator[DataRow]]:
        """How a row is read, the licence, and the rows."""
        asked, known = self._spec, self._published
        read, stated = (known.read_fields, known.licence) if known else (self._map_columns, "")
        if asked.path:
            return read, stated, read_files(asked.path, keep_faults=True)
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

    def _map_columns(self, row: DataRow) -> Fields:
        """A row of the user's own data, by the columns that the spec names; a text alone is a prompt."""
        columns = self._spec.columns
        named = {key: name for key, name in columns if key != "prompt" and name}
        if isinstance(row.value, str) and not named:
            return {"prompt": row.value}
        for name in named.values():
            if not has_column(row, name):
                read_column(row, name)
        return {"prompt": read_column(row, columns.prompt)} | {key: read_word(row, name) for key, name in named.items()}

    def _make_prompt(self, row: DataRow, fields: Fields, usual: dict[str, str], seen: Counter[str]) -> Prompt:
        turns = read_prompt(fields["prompt"], row.place)
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
