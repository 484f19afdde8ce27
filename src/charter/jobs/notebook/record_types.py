"""From the name that a seal gives the records of a step to their type."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from functools import cache
from importlib import import_module

from charter import records
from charter.errors import StoreError
from charter.records.record import Record

_FURTHER_MODULES = (
    "charter.ports",
    "charter.constitution.document",
    "charter.constitution.exemplars",
    "charter.constitution.run_state",
    "charter.judging.audit_battery",
    "charter.statistics",
    "charter.stages.bandit",
    "charter.stages.benchmark_items",
    "charter.stages.efficacy",
    "charter.data.curation.curation_records",
    "charter.data.instructing.instruction_records",
)
"""Modules beside ``charter.records`` whose records stand in runs."""


@cache
def list_record_types() -> dict[str, type[Record]]:
    """Every type whose records stand in runs, by its name."""
    return {kind.__name__: kind for name in _list_modules() for kind in _records_of(name)}


def find_record_type(name: str, step: str) -> type[Record]:
    """The type with this name. Raises StoreError where charter has none, as for the records of an engine or a stage of
    the user's own."""
    if (kind := list_record_types().get(name)) is None:
        raise StoreError(f"{step} holds records of a type {name}, which is not charter's", "Give it as `kind`.")
    return kind


def _list_modules() -> Iterator[str]:
    yield from (found.name for found in pkgutil.iter_modules(records.__path__, "charter.records."))
    yield from _FURTHER_MODULES


def _records_of(module: str) -> Iterator[type[Record]]:
    for value in vars(import_module(module)).values():
        if isinstance(value, type) and issubclass(value, Record):
            yield value
