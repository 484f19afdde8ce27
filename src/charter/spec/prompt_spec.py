"""Where prompts come from, how they are split, and how many are drawn."""

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
WORLD_SOURCE = "world"
"""What stands in a list of sources for the prompts of the test world."""


class Columns(Record):
    """Which column of a file holds what. Empty: no column does."""

    prompt: str = Field(
        "prompt",
        description="Column of the prompt: a text, or (JSONL) a list of turns with `role` and `content`.",
    )
    category: str = Field("", description="Column of the category, for reports.")
    language: str = Field("", description="Column of the language, for reports.")
    attack: str = Field("", description="Column of the attack style, for reports and for `keep_out`.")
    id: str = Field("", description="Column of the row's own id.")


class SourceSpec(Record):
    """Prompts from one place."""

    name: PublishedSet | None = Field(
        None,
        description="A published set whose columns are known. Its files are at `path`, or come from the hub.",
    )
    path: str = Field(
        "",
        description="A file or folder of your own (JSONL, JSON, CSV, TSV, TXT, Parquet, XLSX), or the files of "
        "the named set. `run:NAME` lies in the run's folder.",
    )
    hub: str = Field("", description="A data set of the hub, as owner/name.")
    program: str = Field(
        "",
        pattern=r"^(python:.+|world)?$",
        description="A source of your own, `python:package.module:Object`, or `world`: the test world's prompts. That "
        "text alone is short for it.",
    )
    config: str = Field("", description="Configuration of the hub's data set.")
    split: str = Field("", description="Split of the hub's data set. Empty: all splits.")
    revision: str = Field("", description="Branch, tag or commit of the hub's data set.")
    columns: Columns = Columns()
    language: str = Field("", description="Language of all prompts where no column tells it.")
    licence: str = Field("", description="Licence of all prompts where no column and no card tells it.")
    limit: int | None = Field(None, ge=1, description="Takes so many prompts, drawn by hash. Null: all.")
    seed: int = Field(0, ge=0, description="Seed of that draw.")
    skip: int = Field(
        0, ge=0, description="Rows without a usable prompt that may be left out. Each is listed with its reason."
    )

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
    """What training never sees: it is scored on held-out alone and reported as generalisation."""

    attack: str = Field("", description="An attack style that is kept out. Empty: none.")
    category: str = Field("", description="A category that is kept out. Empty: none.")


class PromptsSpec(Record):
    """Where prompts come from, and how they are split into train, gate and held-out."""

    redteam: Literal["world"] | tuple[SourceSpec, ...] = Field(
        "world",
        description="Attempts to bring out failures: `world`, or a list of sources.",
    )
    helpful: Literal["world"] | tuple[SourceSpec, ...] = Field(
        "world",
        description="Ordinary requests that must stay answered: `world`, or a list of sources.",
    )
    gate: int | None = Field(
        None,
        ge=1,
        description="The most prompts of a kind that decisions are measured on. Null: all.",
    )
    heldout: int | None = Field(
        None,
        ge=1,
        description="The most prompts of a kind that the scores before and after are measured on. Null: all.",
    )
    near_duplicate: float = Field(
        0.8,
        gt=0,
        le=1,
        description="Two prompts fall into the same split from this Jaccard similarity of their word trigrams on.",
    )
    keep_out: KeepOutSpec = KeepOutSpec()


class DrawSpec(Record):
    """Batches of red-team prompts."""

    batch: int = Field(160, ge=1, description="Prompts in the first iteration.")
    later: int = Field(110, ge=1, description="Prompts in each later iteration.")
    order: Literal["uniform", "file"] = Field(
        "uniform",
        description="`uniform` draws by the seed; `file` takes the prompts as they stand.",
    )
    first: str = Field(
        "",
        exclude_if=lambda name: not name,
        description="Name of a source whose prompts are drawn before all others. `charter fork --feedback` names its "
        "own.",
    )
