"""What each option of a spec means, read from its field: one source for ``charter init``, the pages and the errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import get_args

from pydantic import BaseModel


@dataclass(frozen=True)
class Option:
    """A key of a spec: its path, its value in the spec that is described, and what it means. ``section``: it holds
    further keys."""

    path: str
    value: object
    description: str
    section: bool = False


def list_options(record: BaseModel, above: str = "") -> Iterator[Option]:
    """Every option of a spec, or of a part of it that stands at ``above``; a section comes before its keys."""
    for name in type(record).model_fields:
        value, path = getattr(record, name), f"{above}{name}"
        inner = isinstance(value, BaseModel)
        yield Option(path, value, describe_field(type(record), name), inner)
        if isinstance(value, BaseModel):
            yield from list_options(value, f"{path}.")


def describe_field(model: type[BaseModel], name: str) -> str:
    """What a field means: its own description; of a section without one, what its class says first."""
    field = model.model_fields[name]
    if field.description:
        return field.description
    section = find_model(field.annotation)
    return " ".join((section.__doc__ or "").split("\n\n")[0].split()) if section else ""


def describe_path(model: type[BaseModel], place: Sequence[int | str]) -> str:
    """What the key at a place means; empty where there is no such key."""
    found, description = model, ""
    for part in place:
        if not isinstance(part, str):
            continue
        if part not in found.model_fields:
            description = ""
            continue
        description = describe_field(found, part)
        found = find_model(found.model_fields[part].annotation) or found
    return description


def list_keys(model: type[BaseModel], place: Sequence[int | str]) -> list[str]:
    """The keys that may stand at a place."""
    for part in place:
        if isinstance(part, str) and part in model.model_fields:
            model = find_model(model.model_fields[part].annotation) or model
    return list(model.model_fields)


def find_model(annotation: object) -> type[BaseModel] | None:
    """The first record in a type; None where there is none."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := find_model(part)) is not None), None)
