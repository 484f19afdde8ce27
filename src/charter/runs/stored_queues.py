"""Review queues of a run: written once with their seal, named by the run's journal, and read back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from charter.errors import DamagedError, StoreError
from charter.records.record import canonical
from charter.records.reviews import ReviewItem, ReviewQueue
from charter.runs import store
from charter.runs.directory import Run
from charter.runs.reader import RunReader

GUIDELINE, QUEUE = "guideline.md", "queue.json"


class StoredQueue(NamedTuple):
    """A queue as it is kept: what it is, its items in order, and the text that raters go by."""

    queue: ReviewQueue
    items: tuple[ReviewItem, ...]
    guideline: str


def list_queues(reading: RunReader) -> list[str]:
    """The names of a run's queues, in the order in which they were made."""
    return list(store.review_seals(reading.events))


def write_queue(
    directory: Path, queue: ReviewQueue, items: Sequence[ReviewItem], guideline: str, inputs: Mapping[str, str]
) -> None:
    """Seals a queue and names it in the run's journal, last. ``inputs``: the digests of the seals of the steps that it
    was drawn from. Raises StoreError where the name is taken, LockedError while a process is at work in the run."""
    step, name = store.review_step(queue.id), store.review_log_name(queue.id)
    lines = [canonical(item).encode() for item in items]
    files = {GUIDELINE: guideline.encode(), QUEUE: f"{queue.model_dump_json()}\n".encode()}  # in the menu's order
    with Run.open(directory) as run:
        if queue.id in list_queues(RunReader(directory)):
            raise StoreError(f"{directory} has a queue {queue.id} already", "Give another name with --name.")
        count, digest = store.write_records(store.records_path(directory, step), lines)
        for file, text in files.items():
            store.write_atomic(directory / step / file, text)
        seal = store.Seal(
            step=step,
            type=ReviewItem.__name__,
            count=count,
            file=digest,
            inputs=dict(inputs),
            templates={},
            calls={},
            files={name: store.sha256(text) for name, text in files.items()},
        )
        mark = store.write_seal(directory, seal)
        store.write_atomic(directory / name, b"")
        log = store.ReviewLog(directory, queue.id)
        try:
            with log.lock():
                log.append("begun", seal=mark)
        finally:
            log.close()
        run.record_human_decision("review", queue=queue.id, seal=mark)


def read_queue(directory: Path, name: str) -> StoredQueue:
    """A queue, compared with its seal. Raises StoreError where the run has no such queue, DamagedError."""
    reading = RunReader(directory)
    marks = store.review_seals(reading.events)
    if name not in marks:
        known = ", ".join(marks) or "none yet: charter review create"
        raise StoreError(f"{directory} has no review queue {name}", f"It has: {known}")
    step = store.review_step(name)
    store.inner_path(directory, step)
    _, faults = store.find_step_faults(directory, step, marks[name])
    store.raise_first_fault(directory, faults)
    records = store.records_path(directory, step)
    if not store.is_present(directory, store.review_log_name(name)):
        raise DamagedError(f"{directory / store.review_log_name(name)} is missing", store.RESTORE_CURE)
    queue = directory / step / QUEUE
    return StoredQueue(
        queue=store.parse_records(queue, [store.read_bytes(queue, directory).rstrip(b"\n")], ReviewQueue)[0],
        items=tuple(store.parse_records(records, store.LineStream(records, directory), ReviewItem)),
        guideline=store.read_bytes(directory / step / GUIDELINE, directory).decode(errors="replace"),
    )
