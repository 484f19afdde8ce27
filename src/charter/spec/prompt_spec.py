"""Where prompts come from, and how they are split."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from charter.records.record import Record

PublishedSet = Literal[
    "hh-rlhf",
    "harmfulqa",
    "dangerousqa",
    "advbench",
    "harmbench",
    "xstest",
    "truthfulqa",
    "bbq",
    "do-not-answer",
    "strongreject",
    "self-instruct",
    "vicuna",
]
"""The published sets whose files are understood by name."""


class Columns(Record):
    """Which column holds what. ``prompt``: a text, or a list of turns (``role`` and ``content``, or ``from`` and
    ``value``); the others are kept beside the prompt for reports, and are left out where empty."""

    prompt: str = "prompt"
    category: str = ""
    language: str = ""
    attack: str = ""
    id: str = ""


class SourceSpec(Record):
    """Prompts from one place: a published set by ``name`` (its files at ``path``, or from the hub where no path is
    given), a file or folder of your own at ``path`` (JSONL, JSON, CSV, TSV, TXT, Parquet, XLSX), or the data set
    ``hub`` (owner/name), or a source of your own, ``program`` (``python:package.module:Object``, for which that text
    alone is short).

    ``config``, ``split`` (empty: all) and ``revision`` choose from a data set of the hub. ``language`` and ``licence``
    are said of all its prompts where no column says otherwise. ``limit`` takes so many, drawn by ``seed``.
    ``skip``: so many rows that give no prompt may be left out; each is told with its reason."""

    name: PublishedSet | None = None
    path: str = ""
    hub: str = ""
    program: str = Field("", pattern=r"^(python:.+)?$")
    config: str = ""
    split: str = ""
    revision: str = ""
    columns: Columns = Columns()
    language: str = ""
    licence: str = ""
    limit: int | None = Field(None, ge=1)
    seed: int = Field(0, ge=0)
    skip: int = Field(0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _short(cls, given: Any) -> Any:
        """``column: x`` is short for ``columns: {prompt: x}``, and ``python:...`` for ``program: python:...``."""
        if isinstance(given, str):
            return {"program": given}
        if isinstance(given, Mapping) and isinstance(given.get("column"), str) and "columns" not in given:
            return {**{k: v for k, v in given.items() if k != "column"}, "columns": {"prompt": given["column"]}}
        return given

    @model_validator(mode="after")
    def _one_place(self) -> SourceSpec:
        if self.program and self.model_fields_set > {"program"}:
            raise ValueError("`program` stands alone: the source of your own says the rest")
        if not (self.name or self.path or self.hub or self.program):
            raise ValueError("names no source: give `name`, `path`, `hub` or `program`")
        if self.path and self.hub:
            raise ValueError("has both `path` and `hub`: give one")
        if self.name and self.columns != Columns():
            raise ValueError(f"`columns` is for data of your own: the columns of {self.name} are known")
        return self


class KeepOutSpec(Record):
    """One attack style and one category (each by name; empty: none) that training never sees: their prompts are scored
    on held-out alone and reported apart, as generalisation."""

    attack: str = ""
    category: str = ""


class PromptsSpec(Record):
    """Where prompts come from: ``world``, or a list of sources. Splits go by near-duplicate cluster with a fixed
    salt."""

    redteam: Literal["world"] | tuple[SourceSpec, ...] = "world"
    helpful: Literal["world"] | tuple[SourceSpec, ...] = "world"
    gate: int | None = Field(None, ge=1, description="prompts per kind on gate; null: all")
    heldout: int | None = Field(None, ge=1, description="prompts per kind on held-out; null: all")
    near_duplicate: float = Field(0.8, gt=0, le=1)
    keep_out: KeepOutSpec = KeepOutSpec()
