"""``charter verify``: is every byte of a run what its journal says, and is the journal the one whose hash was kept?

Seals name every record, the journal names every seal, result, spec and environment, each of its lines names the line
before, and HEAD names the line that finished the run. So damage is found without help. Somebody who rewrites the whole
run, hashes included, is found only by a hash kept elsewhere: without one the answer is "consistent, not anchored".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from charter.errors import StoreError
from charter.records.record import Record
from charter.run import store
from charter.run.store import Event, Fault


class IntegrityReport(Record):
    """``ok``: no fault. ``anchored``: the run is the one whose hash was given. ``tip`` is the hash of the journal's
    last line: kept elsewhere, it anchors human decisions made after the end, too. ``notes`` are no faults."""

    ok: bool
    anchored: bool
    finished: bool
    wording: str
    head: str | None
    tip: str
    faults: tuple[Fault, ...]
    notes: tuple[str, ...] = ()


def verify_run(directory: Path | str, expect: str | None = None) -> IntegrityReport:
    """Reads the whole run and compares. ``expect`` is the hash printed when the run finished, or that of any later line
    of its journal. Raises StoreError where there is no run or a file cannot be read."""
    directory = Path(directory)
    if not (directory / store.JOURNAL).exists() and not (directory / store.HEAD).exists():
        raise StoreError(f"{directory} holds no run", "Give a run's folder.")
    reading = store.read_lines(directory / store.JOURNAL)
    events, faults = store.read_journal(reading)
    head = store.expected_head(events)
    complete = head is not None or (directory / store.HEAD).exists()
    notes = []
    for torn in _find_torn_lines(directory, reading, events):
        if complete:
            faults.append(torn)
        else:
            notes.append(f"{torn} (dropped when the run goes on)")
    faults += [
        *_check_spec(directory, events),
        *_check_steps(directory, events, complete),
        *_check_results(directory, events),
    ]
    faults += _check_ending(directory, events, head)
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
        faults=tuple(faults),
        notes=tuple(notes),
    )


def _verdict_text(faulty: bool, finished: bool, anchored: bool) -> str:
    if faulty:
        return "damaged"
    if anchored:
        return "intact: the run whose hash was given"
    return "consistent, not anchored" if finished else "consistent so far, not finished"


def _find_torn_lines(directory: Path, journal: store.FileLines, events: Sequence[Event]) -> Iterator[Fault]:
    """Last lines without their newline; a kill may leave one in the journal and one in the step at work."""
    if journal.torn:
        yield Fault(file=store.JOURNAL, line=len(journal.lines) + 1, what="bytes after the last newline")
    for step in _unsealed_steps(directory, events):
        reading = store.read_lines(store.records_path(directory, step))
        if reading.torn:
            yield Fault(file=f"{step}.jsonl", line=len(reading.lines) + 1, what="bytes after the last newline")


def _unsealed_steps(directory: Path, events: Sequence[Event]) -> list[str]:
    sealed = store.seal_digests(events)
    opened = dict.fromkeys(event["step"] for event in events if event["event"] == "opened")
    return [step for step in opened if step not in sealed and store.records_path(directory, step).exists()]


def _check_spec(directory: Path, events: Sequence[Event]) -> Iterator[Fault]:
    if not events or events[0]["event"] != "created":
        yield Fault(file=store.JOURNAL, line=1, what="not a run's beginning")
        return
    expected = {store.SPEC: events[0]["spec"], store.ENVIRONMENT: events[0]["environment"]}
    yield from _check_files(directory, expected)


def _check_files(directory: Path, expected: dict[str, str]) -> Iterator[Fault]:
    for name, digest in expected.items():
        if not (directory / name).is_file():
            yield Fault(file=name, line=None, what="the file is missing")
        elif store.file_digest(directory / name) != digest:
            yield Fault(file=name, line=None, what="the file was changed")


def _check_steps(directory: Path, events: Sequence[Event], complete: bool) -> Iterator[Fault]:
    sealed = store.seal_digests(events)
    for step, mark in sealed.items():
        yield from store.read_step(directory, step, mark)[2]
    working = set() if complete else {event["step"] for event in events if event["event"] == "opened"}
    known = {f"{step}{end}" for step in [*sealed, *working] for end in (".jsonl", ".seal.json")}
    known |= {store.JOURNAL, *_published_files(events)}
    folders = tuple(f"{name.split('/')[0]}/" for name in _published_files(events) if "/" in name)
    steps = tuple(f"{step}/" for step in [*sealed, *working])
    for name in store.list_files(directory):
        kept = name.endswith((".jsonl", ".seal.json")) or name.startswith(folders)
        if kept and name not in known and not name.startswith(steps):
            yield Fault(file=name, line=None, what="a file that the journal does not name")


def _published_files(events: Sequence[Event]) -> dict[str, str]:
    return {**store.published_digests(events, derived=False), **store.published_digests(events, derived=True)}


def _check_results(directory: Path, events: Sequence[Event]) -> Iterator[Fault]:
    yield from _check_files(directory, _published_files(events))


def _check_ending(directory: Path, events: Sequence[Event], head: store.Head | None) -> Iterator[Fault]:
    """HEAD, the records' hash, and that nothing but human decisions came after the end."""
    path = directory / store.HEAD
    if head is None:
        if path.exists():
            yield Fault(
                file=store.JOURNAL, line=len(events) or None, what="HEAD is there, the line that finishes is not"
            )
        return
    if not path.exists():
        yield Fault(file=store.HEAD, line=None, what="the file is missing")
    elif store.read_bytes(path) != store.head_bytes(head):
        yield Fault(file=store.HEAD, line=1, what="not what the journal says")
    if store.records_hash(events[: head.journal_lines]) != head.records:
        yield Fault(file=store.JOURNAL, line=head.journal_lines, what="the records' hash is not that of the seals")
    for number, event in enumerate(events[head.journal_lines :], head.journal_lines + 1):
        if event["event"] not in ("human", ""):
            yield Fault(file=store.JOURNAL, line=number, what="work after the end of the run")
