"""``charter verify``: is every byte of a run what its journal says, and is the journal the one whose hash was kept?

Seals name every record, the journal names every seal, result, spec and environment, each of its lines names the line
before, and HEAD names the line that finished the run. So damage is found without help. Somebody who rewrites the whole
run, hashes included, is found only by a hash kept elsewhere: without one the answer is "consistent, not anchored".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from pydantic import Field

from charter.errors import StoreError
from charter.records.record import Record
from charter.runs import Observer, store
from charter.runs.store import Event, Fault


class IntegrityReport(Record):
    """``ok``: no fault. ``anchored``: the run is the one whose hash was given. ``tip`` is the hash of the journal's
    last line: kept elsewhere, it anchors human decisions made after the end, too. ``notes`` are no faults.
    ``foreign``: files that belong to no step and that nothing reads; with ``strict`` they are faults too. ``reviews``:
    the hash of the last line of each review queue's journal: kept elsewhere, it shows whether labels are missing.
    ``erased``: rows of feedback that were erased after the run took them in, each with the time."""

    ok: bool
    anchored: bool
    finished: bool
    wording: str
    head: str | None
    tip: str
    faults: tuple[Fault, ...]
    notes: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    erased: dict[str, str] = Field(default_factory=dict, exclude_if=lambda rows: not rows)
    reviews: dict[str, str] = Field(default_factory=dict, exclude_if=lambda tips: not tips)


def verify_run(
    directory: Path | str, expect: str | None = None, strict: bool = False, observer: Observer | None = None
) -> IntegrityReport:
    """Reads the whole run and compares, holding little of it at once.

    Args:
        directory: The run.
        expect: The hash printed when the run finished, or that of any later line of its journal.
        strict: A file that belongs to no step is a fault.
        observer: Is told of each step how many of its records are compared, and of how many.

    Raises:
        StoreError: There is no run, or a file cannot be read.
    """
    directory = Path(directory)
    if not store.is_present(directory, store.JOURNAL) and not store.is_present(directory, store.HEAD):
        raise StoreError(f"{directory} holds no run", "Give a run's folder.")
    lines = store.LineStream(directory / store.JOURNAL, directory)
    events, faults = _read_journal(lines)
    head = store.expected_head(events)
    complete = head is not None or store.is_present(directory, store.HEAD)
    torn = list(_find_torn_lines(directory, lines, events))
    faults += torn if complete else []
    notes = [] if complete else [f"{line} (dropped when the run goes on)" for line in torn]
    foreign = _find_foreign_files(directory, events, complete)
    tips = _check_reviews(directory, events, faults, notes)
    faults += [
        *store.find_link_faults(directory, events),
        *_check_spec(directory, events),
        *_check_steps(directory, events, complete, observer),
        *_check_results(directory, events),
        *_check_ending(directory, events, head),
    ]
    faults += [Fault(file=name, line=None, what="belongs to no step") for name in foreign if strict]
    anchored = head is not None and expect in {event["hash"] for event in events[head.journal_lines - 1 :]}
    if expect is not None and not anchored:
        faults.append(Fault(file=store.HEAD, line=1 if complete else None, what=f"not the run with the hash {expect}"))
    return IntegrityReport(
        ok=not faults,
        anchored=anchored and not faults,
        finished=head is not None,
        wording=_verdict_text(bool(faults), head is not None, anchored),
        head=head.head if head else None,
        tip=str(events[-1]["hash"]) if events else "",
        faults=tuple(dict.fromkeys(faults)),
        notes=tuple(notes),
        foreign=tuple(foreign),
        erased=store.list_erased_rows(events),
        reviews=tips,
    )


def _verdict_text(faulty: bool, finished: bool, anchored: bool) -> str:
    if faulty:
        return "damaged"
    if anchored:
        return "intact: the run whose hash was given"
    return "consistent, not anchored" if finished else "consistent so far, not finished"


def _read_journal(lines: store.LineStream) -> tuple[list[Event], list[Fault]]:
    """The journal's events and faults; no event, and the reason, where it is missing or is no file that is read."""
    try:
        return store.read_journal(lines)
    except store.FaultError as error:
        return [], [error.fault]


def _find_torn_lines(directory: Path, journal: store.LineStream, events: Sequence[Event]) -> Iterator[Fault]:
    """Last lines without their newline; a kill may leave one in the journal and one in the step at work."""
    if journal.torn:
        yield Fault(file=store.JOURNAL, line=journal.count + 1, what="bytes after the last newline")
    for step in store.list_open_steps(events):
        with suppress(store.FaultError):  # the check of the open steps names it
            lines = store.LineStream(store.lines_path(directory, step), directory)
            deque(lines, maxlen=0)
            if lines.torn:
                yield Fault(file=f"{step}.jsonl", line=lines.count + 1, what="bytes after the last newline")


def _check_spec(directory: Path, events: Sequence[Event]) -> Iterator[Fault]:
    if not events or events[0]["event"] != "created":
        yield Fault(file=store.JOURNAL, line=1, what="not a run's beginning")
        return
    expected = {store.SPEC: events[0]["spec"], store.ENVIRONMENT: events[0]["environment"]}
    yield from _check_files(directory, expected, short=True)


def _check_files(directory: Path, expected: dict[str, str], short: bool = False) -> Iterator[Fault]:
    for name, digest in expected.items():
        if fault := store.find_file_fault(directory, name, digest, short):
            yield fault


def _check_steps(
    directory: Path, events: Sequence[Event], complete: bool, observer: Observer | None
) -> Iterator[Fault]:
    counts = {event["step"]: event["items"] or 1 for event in events if event["event"] == "opened"}
    packed = store.packed_digests(events)
    for step, mark in store.seal_digests(events).items():
        total = counts.get(step, 1)
        watch = partial(_tell, observer, step, total)
        watch(0)
        yield from store.find_step_faults(directory, step, mark, packed.get(step), watch)[1]
        watch(total)
    for step in store.list_open_steps(events):
        yield from _check_open_step(directory, step)
    kept = _kept_folders(events)
    for name in _unnamed_files(directory, events, complete):
        if _looks_kept(name, kept):
            yield Fault(file=name, line=None, what="a file that the journal does not name")


def _tell(observer: Observer | None, step: str, total: int, done: int) -> None:
    if observer is not None:
        observer(step, min(done, total), total)


def _check_reviews(directory: Path, events: Sequence[Event], faults: list[Fault], notes: list[str]) -> dict[str, str]:
    """The hash of the last line of each queue's journal; faults and notes are added to those given."""
    tips = {}
    for queue, mark in store.review_seals(events).items():
        found, note, tips[queue] = store.find_queue_faults(directory, queue, mark)
        faults += found
        notes += [note] if note else []
    return tips


def _check_open_step(directory: Path, step: str) -> Iterator[Fault]:
    """A step at work has no seal yet, so its lines are compared with nothing; they must be JSON."""
    lines = store.LineStream(store.lines_path(directory, step), directory)
    try:
        for line in lines:
            try:
                store.parse_json(line, finite=False)
            except ValueError as error:
                yield Fault(file=f"{step}.jsonl", line=lines.count, what=f"not JSON that is read: {error}")
    except store.FaultError as error:
        yield error.fault


def _find_foreign_files(directory: Path, events: Sequence[Event], complete: bool) -> list[str]:
    """Files that belong to no step, but for those that ``_check_steps`` names. Only a run at work has scratch files."""
    kept = _kept_folders(events)
    found = []
    for name in _unnamed_files(directory, events, complete):
        if not _looks_kept(name, kept):
            found.append(name)
    return found


def _looks_kept(name: str, kept: tuple[str, ...]) -> bool:
    """Whether a file looks as if the run had kept it. A queue that a kill kept from the journal is read by nobody."""
    if name.startswith(f"{store.REVIEWS}/"):
        return False
    return name.endswith((".jsonl", store.PARQUET, ".seal.json")) or name.startswith(kept)


def _unnamed_files(directory: Path, events: Sequence[Event], complete: bool) -> list[str]:
    """Files of a run that neither the journal nor a seal names."""
    queues = list(store.review_seals(events))
    open_steps = [] if complete else store.list_open_steps(events)
    steps = [*store.seal_digests(events), *open_steps, *map(store.review_step, queues)]
    named = {store.review_log_name(queue) for queue in queues}
    packed = store.packed_digests(events)
    named |= {f"{step}{store.PARQUET if step in packed else '.jsonl'}" for step in steps}
    named |= {f"{step}.seal.json" for step in steps} | {f"{step}{store.PARQUET}" for step in open_steps}
    named |= {store.JOURNAL, store.HEAD, store.SPEC, store.ENVIRONMENT, store.LOCK, *_published_files(events)}
    if not complete:
        named |= {store.temporary_name(name) for name in named}
    inside = tuple(f"{folder}/" for folder in (*steps, *(() if complete else store.SCRATCH)))
    files = store.list_files(directory)
    return [name for name in files if name not in named and not name.startswith(inside)]


def _kept_folders(events: Sequence[Event]) -> tuple[str, ...]:
    """The folders of published results."""
    return tuple({f"{name.split('/')[0]}/" for name in _published_files(events) if "/" in name})


def _published_files(events: Sequence[Event]) -> dict[str, str]:
    return {**store.published_digests(events, derived=False), **store.published_digests(events, derived=True)}


def _check_results(directory: Path, events: Sequence[Event]) -> Iterator[Fault]:
    yield from _check_files(directory, _published_files(events))


def _check_ending(directory: Path, events: Sequence[Event], head: store.Head | None) -> Iterator[Fault]:
    """HEAD, the records' hash, and that nothing but human decisions came after the end."""
    if head is None:
        if store.is_present(directory, store.HEAD):
            yield Fault(
                file=store.JOURNAL, line=len(events) or None, what="HEAD is there, the line that finishes is not"
            )
        return
    fault = store.find_file_fault(directory, store.HEAD, store.sha256(store.head_bytes(head)), short=True)
    if fault is not None and fault.what == "the file was changed":
        fault = Fault(file=store.HEAD, line=1, what="not what the journal says")
    if fault is not None:
        yield fault
    if store.records_hash(events[: head.journal_lines]) != head.records:
        yield Fault(file=store.JOURNAL, line=head.journal_lines, what="the records' hash is not that of the seals")
    for number, event in enumerate(events[head.journal_lines :], head.journal_lines + 1):
        if event["event"] not in ("human", ""):
            yield Fault(file=store.JOURNAL, line=number, what="work after the end of the run")
