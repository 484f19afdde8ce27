"""The type of a step's records is found by the name that its seal gives."""

from __future__ import annotations

import inspect
import pkgutil
import typing
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import charter
from charter.errors import StoreError
from charter.jobs.notebook.record_types import find_record_type, list_record_types
from charter.records.chat import Exchange
from charter.records.record import Record
from charter.reports.provenance import RunGraph
from charter.runs.reader import RunReader


def stages() -> Iterator[Callable[..., Any]]:
    """Every public function of charter that is told of its step."""
    folder = Path(charter.__file__).parent
    for found in pkgutil.walk_packages([str(folder)], "charter."):
        module = found.name if not found.name.endswith("__main__") else "charter"
        for name, function in vars(import_module(module)).items():
            if inspect.isfunction(function) and function.__module__ == module and not name.startswith("_"):
                step = inspect.signature(function).parameters.get("step")
                if step is not None and step.kind is step.KEYWORD_ONLY:
                    yield function


def test_what_a_stage_returns_is_known() -> None:
    known, seen = list_record_types(), set()
    for stage in stages():
        hint = typing.get_type_hints(stage)["return"]
        for kind in (hint, *typing.get_args(hint)):
            if isinstance(kind, type) and issubclass(kind, Record):
                seen.add(kind.__name__)
                assert known.get(kind.__name__) is kind, stage.__qualname__
    assert len(seen) > 25


def test_the_records_of_every_step_of_a_run_are_read(golden_run: Callable[[str], Path]) -> None:
    reading = RunReader(golden_run("iteralign"))
    types = RunGraph(reading).step_types
    read = {step: list(reading.records(step, find_record_type(held, step))) for step, held in types.items()}
    assert len(read) > 40
    assert all(isinstance(found, Exchange) for found in read["001/exchanges"])


def test_a_type_of_the_users_own_has_to_be_given() -> None:
    with pytest.raises(StoreError, match="000/own holds records of a type Own") as told:
        find_record_type("Own", "000/own")
    assert "`kind`" in told.value.cure
