"""A person's row is erased: what was made of it, the tombstones in its place, and the fork that does without it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from charter.errors import SpecError, StoreError
from charter.jobs.feedback_intake import open_feedback_store
from charter.reports.feedback_effects import FeedbackEffect, read_feedback_effects
from charter.reports.provenance import read_ancestry
from charter.runs import Run, store
from charter.runs.reader import RunReader


def require_without_erased(reading: RunReader, left_out: Collection[str] = ()) -> None:
    """Raises SpecError where a row was erased and a run holds what was made of it, so that nothing more is made of it.

    Args:
        reading: The run.
        left_out: Rows that whatever is made next does without.
    """
    left = [row for row in store.list_erased_rows(reading.events) if row not in left_out]
    if left:
        words = " ".join(f"--without-row {row}" for row in left)
        what = f"{', '.join(left)} was erased, and {reading.name} holds what was made of it"
        raise SpecError(what, cure=f"Train without it: charter fork {reading.directory} NEW {words}")


@dataclass(frozen=True)
class RowTrace:
    """What one run made of a row. ``erased``: when it was erased after the run took it in; empty where it was not."""

    run: Path
    effect: FeedbackEffect
    erased: str


def trace_row(directory: Path, row: str) -> list[RowTrace]:
    """What a run, and those that it goes on from, made of a row of feedback; the newest first.

    Args:
        directory: The run.
        row: The row's id.

    Raises:
        StoreError: None of them took it in.
        DamagedError: A file of a run cannot be read.
    """
    found = []
    for graph in read_ancestry(directory)[0]:
        effect = next((one for one in read_feedback_effects(graph) if one.id == row), None)
        if effect is not None:
            erased = store.list_erased_rows(graph.reading.events).get(row, "")
            found.append(RowTrace(graph.reading.directory, effect, erased))
    if not found:
        cure = "Its id stands in feedback/rows.jsonl of the run, and in what charter feedback list prints."
        raise StoreError(f"{directory} took in no row of feedback {row!r:.60}", cure)
    return found


def erase_row(traces: list[RowTrace], place: str, by: str) -> bool:
    """Puts a tombstone in the place of a row in its store, and into the journals of the runs that took it in.

    Args:
        traces: Where it went, as ``trace_row`` found it.
        place: The store by file or URL; empty: the row came from a file, and no store has it.
        by: Who erases.

    Returns:
        Whether the store had the row until now.

    Raises:
        StoreError: The store cannot be used.
        LockedError: A process is at work in one of the runs.
    """
    row, had_it = traces[0].effect.id, False
    if place:
        with open_feedback_store(place) as rows:
            had_it = rows.erase_row(row, datetime.now(UTC).isoformat(timespec="milliseconds"))
    for trace in traces:
        if not trace.erased:
            with Run.open(trace.run) as run:
                run.record_human_decision("erase", row=row, person=by)
    return had_it
