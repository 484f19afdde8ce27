"""Files of feedback: what users said, a row a line, in the columns of a ``Feedback``; and rows of a store."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from charter.data.sources.data_files import read_files
from charter.data.sources.data_rows import DataRow, check_characters, is_nothing
from charter.errors import RowError
from charter.records.feedback import Feedback, FeedbackRow, describe_fault

_CURE = "The columns are described in docs/feedback.md. Mend or drop that row."


def read_feedback(path: Path) -> tuple[list[tuple[str, Feedback]], list[str]]:
    """What stands in a file, each row with its place (file and line); and every fault with its place. Raises SpecError
    where the file cannot be read."""
    found, faults = list[tuple[str, Feedback]](), list[str]()
    for row in read_files(str(path), keep_faults=True):
        try:
            found.append((row.place, _parse_feedback(row)))
        except RowError as fault:
            faults.append(fault.message)
    return found, faults


def read_stored_rows(path: Path) -> list[FeedbackRow]:
    """The rows that ``charter feedback export --as rows`` wrote. Raises SpecError naming file and line."""
    rows = []
    for row in read_files(str(path)):
        try:
            rows.append(FeedbackRow.model_validate(row.value))
        except ValidationError as error:
            cure = "Give a store, or a file that charter feedback export --as rows wrote."
            raise RowError(row.place, "is no row of a store of feedback", describe_fault(error), cure) from error
    return rows


def _parse_feedback(row: DataRow) -> Feedback:
    if row.fault is not None:
        raise row.fault
    if not isinstance(row.value, Mapping):
        raise RowError(row.place, "is no row of feedback", "it has no columns", _CURE)
    given = {str(name).strip(): value for name, value in row.value.items() if not is_nothing(value)}
    for text in given.values():
        check_characters(str(text), row.place)
    try:
        return Feedback.model_validate(given)
    except ValidationError as error:
        raise RowError(row.place, "is no row of feedback", describe_fault(error), _CURE) from error
