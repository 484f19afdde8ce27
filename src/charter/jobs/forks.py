"""A new run from an old one: from a step or from its end, with what users said, or without a row of theirs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from charter import spec as specs
from charter.errors import SpecError
from charter.jobs.erasure import require_without_erased
from charter.jobs.feedback_snapshot import FeedbackSnapshot, narrow_rows, take_snapshot
from charter.jobs.launch import continue_run
from charter.reports.provenance import read_ancestry
from charter.runs import Run, store
from charter.runs.creation import sealed_steps_before
from charter.runs.reader import RunReader


@dataclass(frozen=True)
class ForkRequest:
    """What a fork is to be.

    Args:
        at: The first step to be made anew; None: a finished run is gone on from its end.
        constitution: A file with the amended constitution, for a run that goes on from the end.
        changes: Keys of the spec that change.
        feedback: A store, or a file of its rows, to learn from.
        without_rows: Rows of feedback that the old run took in and the new one does without, from the first step on.
    """

    at: str | None = None
    constitution: Path | None = None
    changes: Mapping[str, str] = field(default_factory=dict)
    feedback: str = ""
    without_rows: tuple[str, ...] = ()


def fork_run(directory: Path, new: Path, request: ForkRequest) -> list[str]:
    """Makes the new run; `resume` does its work.

    Args:
        directory: The old run.
        new: The new run's folder.
        request: What it is to be.

    Returns:
        What was made, in lines for its user.

    Raises:
        StoreError: There is no such run, step or row, or the folder is taken.
        SpecError: The changes do not fit, or a row was erased and the fork would carry on what was made of it.
    """
    reading = RunReader(directory)
    require_without_erased(reading, request.without_rows)
    text = specs.change_spec(reading.read_text(store.SPEC), request.changes)
    snapshot, at = _choose_snapshot(reading, request), request.at
    told = []
    if snapshot is not None:
        text = snapshot.change_spec(text)
        told = [snapshot.description]
    files = snapshot.files if snapshot is not None else {}
    if request.without_rows or (request.feedback and at is None and reading.head is None):
        at = next(iter(reading.steps), None)
    elif at is None and reading.head is not None:
        continue_run(directory, new, text, request.constitution, files)
        return [*told, f"{new} goes on from the end of {directory}. Begin: charter resume {new}"]
    if request.constitution is not None:
        raise SpecError(
            "--constitution is for a run that goes on from the end of a finished one",
            cure="Finish it first: charter resume; and leave --at out.",
        )
    with Run.open(directory) as old:
        old.fork(new, at, spec_text=text, seed=specs.parse_spec(text).seed if "seed" in request.changes else None)
    if files:
        with Run.open(new) as made:
            made.publish(files)
    if request.without_rows:
        return [*told, f"{new} begins as {directory} did, without these rows. Go on: charter resume {new}"]
    return [f"{new} holds the steps of {directory}{f' before {at}' if at else ''}. Go on: charter resume {new}", *told]


def _choose_snapshot(reading: RunReader, request: ForkRequest) -> FeedbackSnapshot | None:
    """Fresh rows where they are asked for, else those of the old run. Raises StoreError, SpecError."""
    own = reading.feedback
    if missing := sorted(set(request.without_rows) - {row.id for row in own}):
        cure = f"See what it took in: {reading.directory / 'feedback'}"
        raise SpecError(f"{reading.name} took in no row of feedback {missing[0]}", cure=cure)
    begins_anew = request.at is None or not sealed_steps_before(reading.events, request.at)
    if (request.without_rows or request.feedback) and not begins_anew:
        raise SpecError("a run takes in feedback before its first step", cure="Leave --at out, or give the first step.")
    _require_clean_ancestors(reading, request)
    if request.feedback:
        return take_snapshot(request.feedback, request.without_rows)
    return narrow_rows(own, request.without_rows) if own else None


def _require_clean_ancestors(reading: RunReader, request: ForkRequest) -> None:
    """Raises SpecError where a run that this one goes on from took in a row that is to be left out."""
    for graph in read_ancestry(reading.directory)[0][1:] if request.without_rows else ():
        if {row.id for row in graph.reading.feedback} & set(request.without_rows):
            what = f"{reading.name} goes on from {graph.reading.name}, which took in the same row"
            words = f"charter fork {graph.reading.directory} NEW --without-row ID"
            cure = f"Fork that one without the row, and go on from what it becomes: {words}"
            raise SpecError(what, cure=cure)
